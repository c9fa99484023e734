"""tools/check_headers.py accepts headers that stand alone and names one that does not."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

CHECK = pathlib.Path(__file__).parents[2] / "tools/check_headers.py"


CMAKE = """set(avx2_flags -mavx2 -mfma)
set(avx512_flags ${avx2_flags} -mavx512f)
sluice_kernel_flags(cpu/avx2/*.cpp ${avx2_flags})
sluice_kernel_flags(cpu/avx512/*.cpp ${avx512_flags} -mavx512bw)
"""


def run_check(
    text: str, name: str = "core/x.h", source: str | None = None
) -> subprocess.CompletedProcess:
    with tempfile.TemporaryDirectory() as folder:
        header = pathlib.Path(folder, "src", name)
        header.parent.mkdir(parents=True)
        header.write_text(text)
        if source is not None:
            header.with_suffix(".cpp").write_text(source)
        pathlib.Path(folder, "src/CMakeLists.txt").write_text(CMAKE)
        command = [sys.executable, str(CHECK), folder]
        return subprocess.run(command, capture_output=True, text=True, check=False)


class CheckHeaders(unittest.TestCase):
    def test_accepts_a_header_that_stands_alone(self):
        done = run_check("#pragma once\n#include <cstdint>\nstd::int64_t f();\n")
        self.assertEqual((done.returncode, done.stdout.strip()), (0, ""))

    def test_gives_a_kernel_folder_its_flags(self):
        text = "#pragma once\n#ifndef __AVX2__\n#error flags\n#endif\n"
        self.assertEqual(run_check(text, "kernels/cpu/avx2/x.h").returncode, 0)
        self.assertEqual(run_check(text, "kernels/cpu/avx512/x.h").returncode, 0)
        self.assertEqual(run_check(text, "kernels/cpu/x.h").returncode, 1)

    def test_names_a_header_that_needs_another(self):
        done = run_check("#pragma once\nstd::int64_t f();\n")
        self.assertEqual(done.returncode, 1)
        self.assertIn("core/x.h", done.stdout)

    def test_names_a_header_without_guard(self):
        done = run_check("struct A {};\n")
        self.assertEqual(done.returncode, 1)
        self.assertIn("no #pragma once", done.stdout)

    def test_leaves_to_the_build_what_a_source_includes_first(self):
        text = "#pragma once\nstd::int64_t f();\n"
        first = '// x\n#include "core/x.h"\n\n#include <cstdint>\n'
        of_card = first.replace("core", "kernels/cuda")
        second = '#include <cstdint>\n\n#include "core/x.h"\n'
        self.assertEqual(run_check(text, source=first).returncode, 0)
        self.assertEqual(run_check(text, source=second).returncode, 1)
        self.assertEqual(run_check(text, "kernels/cuda/x.h", of_card).returncode, 1)


if __name__ == "__main__":
    unittest.main()
