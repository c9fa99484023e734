"""Reads source files for the checks: C++ without comments and literals, and where functions are.

Knows the tree's own style (clang-format's Google layout), not all of C++.
"""

import ast
import bisect
import re

_BLANKED = re.compile(
    r'//[^\n]*|/\*.*?\*/|R"([^(\s"]*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"'
    r"|(?<![0-9a-fA-F])'(?:\\.|[^'\\\n])+'",
    re.DOTALL,
)
_DIRECTIVE = re.compile(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", re.MULTILINE)
_SCOPE = re.compile(r"\b(namespace|extern|class|struct|union|enum)\b")


def blank_comments_and_literals(text: str) -> str:
    """The text with each comment, string and character as blanks; every line keeps its place."""
    return _BLANKED.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), text)


def line_finder(text: str):
    """A function from an offset in the text to its line number, from 1."""
    starts = [0] + [match.end() for match in re.finditer(r"\n", text)]
    return lambda offset: bisect.bisect_right(starts, offset)


def _opens_scope(head: str) -> bool:
    """Whether `head {` opens a namespace or a type, whose members are looked at in turn."""
    found = _SCOPE.search(re.sub(r"^\s*template\s*<.*?>\s", "", head, flags=re.DOTALL))
    return bool(found) and ")" not in head[: found.start()] and "=" not in head


def cpp_functions(text: str) -> list[tuple[int, int]]:
    """(first line, line count) of each function's body at namespace or class level."""
    code = _DIRECTIVE.sub(_keep_lines, blank_comments_and_literals(text))
    line_of = line_finder(code)
    functions, scopes, head_start, depth, body_start = [], [], 0, 0, 0
    for match in re.finditer(r"[{};]", code):
        symbol, offset = match.group(), match.start()
        if depth:  # inside a body or an initialiser: only its end matters
            depth += {"{": 1, "}": -1, ";": 0}[symbol]
            if depth == 0 and body_start:
                functions.append((body_start, line_of(offset) - body_start + 1))
        elif symbol == "{":
            head = code[head_start:offset]
            if _opens_scope(head):
                scopes.append(offset)
            else:
                depth, body_start = 1, line_of(offset) if ")" in head else 0
        elif symbol == "}" and scopes:
            scopes.pop()
        head_start = offset + 1 if depth == 0 else head_start
    return functions


def _keep_lines(match: re.Match) -> str:
    return "\n" * match.group().count("\n")


def python_functions(text: str) -> list[tuple[int, int]]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    found = [node for node in ast.walk(ast.parse(text)) if isinstance(node, kinds)]
    return [(node.lineno, node.end_lineno - node.lineno + 1) for node in found]
