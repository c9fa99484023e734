"""tools/check_layers.py accepts a layered tree and names each planted fault."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

CHECK = pathlib.Path(__file__).parents[2] / "tools/check_layers.py"

CLEAN = {
    "docs/architecture.md": "| folder | is | may include |\n|---|---|---|\n| `core/` | base | – |\n"
    "| `kernels/` | ops | core |\n| `net/` | net | core |\n| `server/` | routes | core net |\n"
    "| `apps/` | joins | all |\n",
    "src/CMakeLists.txt": "sluice_folder(core LIBRARIES fmt::fmt)\nsluice_folder(net USES core)\n",
    "src/core/a.h": "#pragma once\n",
    "src/kernels/k.cpp": "#include <immintrin.h>\n",
    "src/net/n.h": '#include "core/a.h"\n',
    "src/net/n.cpp": '#include <boost/asio.hpp>\n\n#include "net/private.h"\n',
    "src/net/private.h": "#include <boost/asio.hpp>\n",
    "src/apps/main.cpp": '#include "core/a.h"\n#include "net/n.h"\n#include "server/s.h"\n',
    "src/server/s.h": '#include "net/n.h"\n',
}

# Files that replace or join the clean ones, what the report must say.
PLANTED = [
    ({"src/core/a.h": '#include "net/n.h"\n'}, "core/ may not include net/ (net/n.h)"),
    ({"src/kernels/k.cpp": '#include "net/n.h"\n'}, "kernels/ may not include net/"),
    ({"src/net/n.h": '#include "core/gone.h"\n'}, '"core/gone.h" is no file'),
    ({"src/other/o.h": "#pragma once\n"}, "folder 'other' has no row"),
    ({"src/CMakeLists.txt": "sluice_folder(net USES core\n server)\n"}, "net USES server"),
    ({"src/server/s.h": '#include "net/private.h"\n'}, "brings <boost/asio.hpp> across folders"),
    (
        {"src/net/n.h": '#include "net/private.h"\n'},
        "src/server/s.h: net/n.h brings <boost/asio.hpp> across folders",
    ),
    ({"src/net/n.cpp": "#include <immintrin.h>\n"}, "<immintrin.h> belongs in kernels/ (or core/)"),
]


def run_check(planted: dict[str, str]) -> subprocess.CompletedProcess:
    with tempfile.TemporaryDirectory() as folder:
        for name, text in (CLEAN | planted).items():
            path = pathlib.Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        command = [sys.executable, str(CHECK), folder]
        return subprocess.run(command, capture_output=True, text=True, check=False)


class CheckLayers(unittest.TestCase):
    def test_accepts_a_layered_tree(self):
        done = run_check({})
        self.assertEqual((done.returncode, done.stdout.strip()), (0, ""))

    def test_names_each_planted_fault(self):
        for planted, expected in PLANTED:
            with self.subTest(expected):
                done = run_check(planted)
                self.assertEqual(done.returncode, 1)
                self.assertIn(expected, done.stdout)


if __name__ == "__main__":
    unittest.main()
