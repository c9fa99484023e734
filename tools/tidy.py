"""Keeps the tree's habits: format, sizes, banned calls, documents that name what exists, limits
that are documented.

tools/tidy.py [ROOT] prints "path:line: what is wrong" for each fault and exits 1 if there is one.
Layers are tools/check_layers.py's.
"""

import dataclasses
import pathlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterator

from source_text import (
    blank_comments_and_literals,
    cpp_functions,
    line_finder,
    python_functions,
)

FORMATTER = "clang-format-14"
FUNCTION_LINES_MAX = 70
HEADER_LINES_MAX = 300
FILE_LINES_MAX = 600

SKIPPED_FOLDERS = {".git", "build", ".venv", ".cache", "__pycache__"}
CPP = (".h", ".cpp", ".cu", ".cuh", ".inc")
SCRIPTS = (".py", ".sh", ".js", ".mjs")
TEXT = (*CPP, *SCRIPTS, ".md", ".txt", ".cmake", ".json", ".html", ".css", ".toml", "")


def in_libraries(path: str) -> bool:
    return path.startswith("src/") and not path.startswith("src/apps/")


def in_libraries_above_core(path: str) -> bool:
    return in_libraries(path) and not path.startswith("src/core/")


def in_tests(path: str) -> bool:
    return path.startswith("tests/")


def in_headers(path: str) -> bool:
    return path.endswith((".h", ".cuh"))


def anywhere(path: str) -> bool:
    return True


@dataclasses.dataclass(frozen=True)
class Banned:
    pattern: str
    where: Callable[[str], bool]
    why: str


SLEEP = r"\b(?:sleep_for|sleep_until|(?:u|nano)?sleep)\s*\("

# Looked for in C++ without comments and literals.
BANNED_CODE = [
    Banned(r"\b(?:secure_)?getenv\s*\(|\benviron\b", in_libraries,
           "only apps/ read the environment"),
    Banned(r"\bs?rand\s*\(", anywhere, "chance is a parameter: core/rng.h"),
    Banned(r"\brandom_device\b", in_libraries, "chance is a parameter: core/rng.h"),
    Banned(r"_clock::now\b", in_libraries_above_core, "time is a parameter: core/clock.h"),
    Banned(SLEEP, in_tests, "a test does not sleep"),
    Banned(SLEEP, in_libraries_above_core, "a library waits for an event, not for time to pass"),
    Banned(r"\b(?:printf|fprintf|puts|fputs|perror)\s*\(|\bstd::(?:cout|cerr|clog)\b"
           r"|\bfmt::print\b", in_libraries_above_core, "libraries log through core/log.h"),
    Banned(r"\bthrow\b", in_libraries, "errors are values: core/result.h"),
    Banned(r"\bstd::(?:exit|_Exit|quick_exit|abort|terminate)\b|(?<![\w.>])_exit\(",
           in_libraries_above_core, "use ASSERT or Result"),
    Banned(r"\bdelete\b(?!\s*;)", lambda p: p.startswith("src/"),
           "values and unique_ptr own"),
    Banned(r"\busing\s+namespace\b", in_headers, "no using namespace in a header"),
    Banned(r"\bDISABLED_\w", in_tests, "a test that does not run shows nothing"),
]  # fmt: skip

# Looked for in every line of every text file. Split so that this file does not find itself.
BANNED_TEXT = [
    Banned(r"\b(?:TO(?:DO)|FIX(?:ME)|XX(?:X)|HA(?:CK))\b", anywhere, "nothing is left for later"),
    Banned(r"(?<![\w.~}$)/-])/(?:home|Users|work|mnt)/\w", anywhere, "a path of one machine"),
    Banned(r"(?<![\w.~}$)/-])/(?:root)/\w", lambda p: p != "tools/fresh_machine.sh",
           "a path of one machine"),
]  # fmt: skip

LIMITS_PAGE = "docs/limits.md"
LIMITS_STRUCT = re.compile(r"^struct \w+Limits \{(.*?)^\};", re.DOTALL | re.MULTILINE)
LIMIT_FIELD = re.compile(r"(\w+(?:_max|_min|_timeout_ns)) = (?!0;)")

DOC_PATH = re.compile(r"`([\w.*-]+(?:/[\w.*-]*)+|[A-Z]\w+\.(?:md|txt|json)|Makefile)`")
DOC_LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")
BUILT_FOLDERS = {"build", "data"}


def tree_files(root: pathlib.Path) -> Iterator[tuple[str, pathlib.Path]]:
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root)
        if path.is_file() and not SKIPPED_FOLDERS & set(name.parts) and path.suffix in TEXT:
            if not str(name).startswith("tests/data/"):
                yield str(name), path


def size_faults(name: str, text: str) -> Iterator[str]:
    lines = text.count("\n")
    limit = HEADER_LINES_MAX if in_headers(name) else FILE_LINES_MAX
    if name.endswith(CPP + SCRIPTS) and lines > limit:
        yield f"{name}: {lines} lines, at most {limit}"
    if name.startswith("src/kernels/"):
        return
    functions = cpp_functions(text) if name.endswith(CPP) else []
    functions += python_functions(text) if name.endswith(".py") else []
    for line, length in functions:
        if length > FUNCTION_LINES_MAX:
            yield f"{name}:{line}: a function of {length} lines, at most {FUNCTION_LINES_MAX}"


def banned_faults(name: str, text: str) -> Iterator[str]:
    line_of = line_finder(text)
    code = blank_comments_and_literals(text) if name.endswith(CPP) else ""
    for rules, searched in ((BANNED_CODE, code), (BANNED_TEXT, text)):
        for rule in rules:
            if rule.where(name):
                for match in re.finditer(rule.pattern, searched):
                    yield f"{name}:{line_of(match.start())}: {match.group().strip()}: {rule.why}"


def cpp_faults(name: str, text: str) -> Iterator[str]:
    if in_headers(name) and "#pragma once\n" not in text:
        yield f"{name}: no #pragma once"


def python_faults(name: str, text: str) -> Iterator[str]:
    if name.endswith(".py"):
        for number, line in enumerate(text.splitlines(), 1):
            if len(line) > 100:
                yield f"{name}:{number}: {len(line)} columns, at most 100"
            if in_tests(name) and re.search(r"\btime\.sleep\(", line):
                yield f"{name}:{number}: time.sleep: a test does not sleep"


def doc_faults(root: pathlib.Path, name: str, text: str) -> Iterator[str]:
    """Paths in backticks, from the root, from src/ or from the page; and links between pages."""
    if not name.endswith(".md") or name == "CHANGELOG.md":
        return
    line_of = line_finder(text)
    page = (root / name).parent
    top_level = {path.name for base in (root, root / "src") for path in base.glob("*")}
    for match in DOC_PATH.finditer(text):
        target = match.group(1)
        first = target.split("/", 1)[0]
        no_path = "/" in target and "." not in target and first not in top_level  # a/b as "a or b"
        if no_path or first in BUILT_FOLDERS:
            continue
        if not any(any(base.glob(target)) for base in (root, root / "src", page)):
            yield f"{name}:{line_of(match.start())}: names {target}, which does not exist"
    for match in DOC_LINK.finditer(text):
        if not (page / match.group(1)).exists():
            line = line_of(match.start())
            yield f"{name}:{line}: links to {match.group(1)}, which does not exist"


def limit_faults(root: pathlib.Path, name: str, text: str) -> Iterator[str]:
    """Every field with a default in a struct of limits stands in the page of limits."""
    if not name.startswith("src/") or not in_headers(name):
        return
    page = root / LIMITS_PAGE
    documented = page.read_text() if page.exists() else ""
    for fields in LIMITS_STRUCT.findall(text):
        for field in LIMIT_FIELD.findall(fields):
            if f"`{field}`" not in documented:
                yield f"{name}: the limit {field} is not in {LIMITS_PAGE}"


def format_faults(root: pathlib.Path, names: list[str]) -> Iterator[str]:
    if names:
        command = [FORMATTER, "--dry-run", "--Werror", *names]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
        wrong = re.findall(r"^([^:\n]+:\d+):\d+: error", done.stderr, re.MULTILINE)
        yield from (f"{place}: not as {FORMATTER} writes it (make format)" for place in wrong)
        if done.returncode and not wrong:
            yield f"{FORMATTER}: {done.stderr.strip()}"


def check(root: pathlib.Path) -> list[str]:
    faults, formatted = [], []
    for name, path in tree_files(root):
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        faults += size_faults(name, text)
        faults += banned_faults(name, text)
        faults += cpp_faults(name, text)
        faults += python_faults(name, text)
        faults += doc_faults(root, name, text)
        faults += limit_faults(root, name, text)
        formatted += [name] if name.endswith(CPP) else []
    return faults + list(format_faults(root, formatted))


def main() -> None:
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).parents[1]
    faults = check(root.resolve())
    print(*faults, sep="\n")
    if faults:
        sys.exit(f"{len(faults)} faults")


if __name__ == "__main__":
    main()
