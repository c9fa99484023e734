"""tools/tidy.py accepts a tidy tree and names each planted fault, one rule at a time."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).parents[2]

CLEAN = {
    ".clang-format": (ROOT / ".clang-format").read_text(),
    "src/core/a.h": "#pragma once\n\nint one();\n",
    "src/core/a.cpp": '#include "core/a.h"\n\nint one() {\n  return 1;\n}\n',
    "src/apps/main.cpp": "#include <cstdlib>\n\nint main() {\n  return std::getenv(nullptr) != "
    "nullptr;\n}\n",
    "docs/page.md": "`core/a.h`, `src/core/a.cpp`, `src/core/*.h`, `build/x/y.h`, `text/plain`, "
    "[page](page.md)\n",
    "docs/limits.md": "`a_max`\n",
    "src/net/l.h": "#pragma once\n\nstruct ALimits {\n  int a_max = 1;\n  int b_max = 0;\n};\n",
    "tools/t.py": "def f():\n    return '~/home/x'\n",
}


def function(lines: int) -> str:
    return "void f() {\n" + "  g();\n" * (lines - 2) + "}\n"


# File, what it holds, what the report must say.
PLANTED = [
    ("src/net/x.cpp", "int  f();\n", "not as clang-format"),
    ("src/net/x.h", "int f();\n", "no #pragma once"),
    ("src/net/x.h", "#pragma once\n" + "int f();\n" * 300, "301 lines, at most 300"),
    ("src/net/x.cpp", "int f();\n" * 601, "601 lines, at most 600"),
    ("src/net/x.cpp", function(71), "x.cpp:1: a function of 71 lines"),
    ("src/net/x.cpp", "namespace a {\nclass B {\n" + function(71) + "};\n}\n", "function of 71"),
    ("tests/net/x_test.cpp", "TEST(A, B) " + function(71)[9:], "a function of 71 lines"),
    ("tools/x.py", "def f():\n" + "    pass\n" * 70, "a function of 71 lines"),
    ("tools/x.py", "x = '" + "x" * 100 + "'\n", "106 columns"),
    ("src/net/x.cpp", 'auto x = getenv("A");\n', "only apps/ read the environment"),
    ("src/core/x.cpp", 'auto x = std::getenv("A");\n', "only apps/ read the environment"),
    ("src/net/x.cpp", "int x = std::rand();\n", "chance is a parameter"),
    ("src/net/x.cpp", "std::random_device x;\n", "chance is a parameter"),
    ("src/net/x.cpp", "auto x = std::chrono::steady_clock::now();\n", "time is a parameter"),
    ("tests/net/x_test.cpp", "auto x = (sleep_for(1), 1);\n", "a test does not sleep"),
    ("tests/wire/x_test.py", "time." + "sleep(1)\n", "a test does not sleep"),
    ("src/net/x.cpp", "auto x = (std::this_thread::sleep_for(y), 1);\n", "waits for an event"),
    ("src/net/x.cpp", "auto x = std::fprintf(stderr, y);\n", "log through core/log.h"),
    ("src/net/x.cpp", "auto& x = std::cout;\n", "log through core/log.h"),
    ("src/net/x.cpp", "void f() { throw 1; }\n", "errors are values"),
    ("src/net/x.cpp", "void f() { std::abort(); }\n", "use ASSERT or Result"),
    ("src/net/x.cpp", "void f(int* x) { delete x; }\n", "values and unique_ptr own"),
    ("src/net/x.h", "#pragma once\n\nusing namespace std;\n", "no using namespace in a header"),
    ("tests/net/x_test.cpp", "TEST(A, DISABLED_B) {}\n", "a test that does not run"),
    ("src/net/x.cpp", "// TO" "DO: more\n", "nothing is left for later"),
    ("docs/x.md", "see /ho" "me/me/file\n", "a path of one machine"),
    ("docs/x.md", "see /ro" "ot/file\n", "a path of one machine"),
    ("docs/x.md", "`src/net/gone.cpp`\n", "names src/net/gone.cpp"),
    ("docs/x.md", "`core/gone.h`\n", "names core/gone.h"),
    ("docs/x.md", "`src/core/*.py`\n", "names src/core/*.py"),
    ("docs/x.md", "`Makefile`\n", "names Makefile"),
    ("src/net/x.h", "#pragma once\n\nstruct BLimits {\n  int c_max = 1;\n};\n", "the limit c_max"),
    ("docs/x.md", "[x](gone.md)\n", "links to gone.md"),
]  # fmt: skip

ALLOWED = [
    ("src/net/x.cpp", "// std::rand(), throw\n" + 'auto x = "printf(";\n'),
    ("src/net/x.cpp", function(70)),
    ("src/kernels/x.cpp", function(71)),
    ("src/core/x.cpp", "auto x = std::chrono::steady_clock::now();\n"),
    ("src/net/x.h", "#pragma once\n\nstruct A {\n  A(const A&) = delete;\n};\n"),
    ("src/net/x.h", "#pragma once\n\nstruct A {\n  int a[2] = {1, 2};\n};\n" + function(70)),
]


def run_tidy(planted: dict[str, str]) -> subprocess.CompletedProcess:
    with tempfile.TemporaryDirectory() as folder:
        for name, text in (CLEAN | planted).items():
            path = pathlib.Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        command = [sys.executable, str(ROOT / "tools/tidy.py"), folder]
        return subprocess.run(command, capture_output=True, text=True, check=False)


class Tidy(unittest.TestCase):
    def test_accepts_a_tidy_tree(self):
        done = run_tidy({})
        self.assertEqual((done.returncode, done.stdout.strip()), (0, ""))

    def test_names_each_planted_fault(self):
        for name, text, expected in PLANTED:
            with self.subTest(expected, file=name):
                done = run_tidy({name: text})
                self.assertEqual(done.returncode, 1)
                self.assertIn(expected, done.stdout)
                self.assertIn(name, done.stdout)

    def test_lets_what_is_no_fault_pass(self):
        for name, text in ALLOWED:
            with self.subTest(file=name, text=text[:40]):
                self.assertEqual(run_tidy({name: text}).stdout.strip(), "")


if __name__ == "__main__":
    unittest.main()
