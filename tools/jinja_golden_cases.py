"""The small templates of make_jinja_goldens.py. All are rendered with CONTEXT."""

import pathlib

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "tests" / "data" / "jinja"

CONTEXT = {
    "s": "Hello World",
    "empty": "",
    "spaced": "  \t padded \n",
    "lines": "one\ntwo\n\nfour",
    "uni": "Grüße, 世界! ß 🤖 İ",
    "quotes": "it's \"so\" <b>&\\ \x01\u200b\u00a0",
    "csv": "a,b,,c",
    "num": "42",
    "i": 7,
    "neg": -3,
    "zero": 0,
    "f": 2.5,
    "tiny": 1e-7,
    "huge": 1.5e300,
    "third": 0.1,
    "yes": True,
    "no": False,
    "nil": None,
    "list": [3, 1, 2],
    "words": ["pear", "Apple", "fig", "apple"],
    "mixed": [1, "a", None, 2.5, True, [1], {"k": 1}],
    "nested": [[1, 2], [3, [4, 5]]],
    "none_list": [],
    "d": {"b": 2, "a": 1, "C": 3},
    "shadow": {"items": [1], "keys": "k", "name": "n", "get": 5},
    "deep": {"x": {"y": [{"z": "bottom"}]}},
    "none_dict": {},
    "users": [
        {"name": "Ann", "age": 31, "admin": True, "tags": ["x", "y"]},
        {"name": "bob", "age": 25, "admin": False, "tags": []},
        {"name": "Cid", "age": 31, "tags": ["z"]},
    ],
}

# Every filter, test and operator meets every kind of value.
VALUES = ["s", "empty", "spaced", "lines", "uni", "quotes", "num", "i", "neg", "zero", "f", "tiny",
          "huge", "yes", "no", "nil", "list", "words", "mixed", "none_list", "d", "none_dict",
          "users", "missing", "(1, 'b')", "range(4)", "d.items()", "words|map('upper')",
          "'<b>'|safe", "namespace(a=1)"]  # fmt: skip

PLAIN_FILTERS = ["abs", "capitalize", "count", "d", "default('x')", "default('x', true)",
                 "default(boolean=true)", "dictsort|list", "e", "escape", "first", "float",
                 "float(1.5)", "forceescape", "int", "int(5)", "join", "join(', ')", "last",
                 "length", "list", "lower", "max", "min", "items|list", "replace('l', 'L')",
                 "reverse|list", "round", "round(1)", "safe", "select|list", "reject|list", "sort",
                 "sort(reverse=true)", "string", "sum", "title", "tojson", "tojson(indent=2)",
                 "trim", "trim('Hd ')", "unique|list", "upper", "urlencode", "wordcount",
                 "indent", "indent(2, true)", "truncate(9)", "center(21)", "batch(2)|list",
                 "slice(2)|list", "map('string')|list", "attr('upper')", "first|upper",
                 "filesizeformat", "tojson(sort_keys=true)"]  # fmt: skip

PLAIN_TESTS = ["boolean", "callable", "defined", "escaped", "even", "false", "float", "integer",
               "iterable", "lower", "mapping", "none", "number", "odd", "sequence", "string",
               "true", "undefined", "upper", "filter", "test", "divisibleby 3", "divisibleby(2)",
               "eq 7", "== 'Hello World'", "ne(none)", "gt 2", "> 2", "ge 7", "lt 3", "le 2.5",
               "greaterthan 1", "lessthan 1", "equalto true", "sameas none", "sameas true",
               "in [7, 'a', none]", "in s", "not none", "not in d"]  # fmt: skip

OPERANDS = ["7", "-3", "0", "2.5", "-0.5", "true", "'ab'", "''", "[1, 2]", "[]", "(1,)", "{'a': 1}",
            "none", "missing", "1e3"]  # fmt: skip
BINARY = ["+", "-", "*", "/", "//", "%", "**", "~", "==", "!=", "<", "<=", ">", ">=", "in",
          "not in", "and", "or"]  # fmt: skip



def lines(name):
    text = (FOLDER / name).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("# ")]


def expressions():
    """Each as {{ expression }}."""
    found = lines("expressions.txt")
    found += [f"{operand(value)}|{name}" for name in PLAIN_FILTERS for value in VALUES]
    found += [f"{operand(value)} is {name}" for name in PLAIN_TESTS for value in VALUES]
    found += [f"{a} {op} {b}" for op in BINARY for a in OPERANDS for b in OPERANDS]
    return ["{{ " + expression + " }}" for expression in found if is_comparable(expression)]


def operand(value):
    return value if value.isidentifier() or value[0] == "(" else f"({value})"


def is_comparable(expression):
    """Within 64 bits, without complex numbers and without the printed address of an object."""
    apart = ("huge|int", "huge|filesize", "huge|round", "huge % ", "(words|map('upper'))|wordcount")
    if any(part in expression for part in apart):
        return False
    return not (expression.startswith("-") and expression.endswith(("** 2.5", "** -0.5")))


def statements():
    signs = str.maketrans({"⏎": "\n", "␍": "\r", "⇥": "\t"})
    return [line.translate(signs) for line in lines("statements.txt")]
