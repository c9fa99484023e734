"""The scripts of bench/gateway say what is missing instead of measuring nothing."""

import os
import pathlib
import subprocess
import tempfile
import unittest

FOLDER = pathlib.Path(__file__).parents[2] / "bench" / "gateway"
# What each needs of a build besides the binary.
PROGRAMS = {
    "added_delay.sh": ["floor_proxy", "open_loop"],
    "change_delay.sh": ["open_loop"],
    "compare.sh": [],
    "sixty_seconds.sh": [],
    "stalls.sh": [],
    "streams.sh": ["streams_bench"],
}


def run(script: str, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["sh", str(FOLDER / script), *arguments], capture_output=True, text=True, timeout=60
    )


class BenchGatewayTest(unittest.TestCase):
    def test_every_script_is_known_here(self):
        scripts = {path.name for path in FOLDER.glob("*.sh")} - {"gateway.sh"}
        self.assertEqual(scripts, set(PROGRAMS))

    def test_a_build_without_the_programs_is_named(self):
        for script, programs in PROGRAMS.items():
            for missing in ["sluice", *programs]:
                with self.subTest(script=script, missing=missing):
                    with tempfile.TemporaryDirectory() as build:
                        binaries = pathlib.Path(build) / "bin"
                        binaries.mkdir()
                        for name in {"sluice", *programs} - {missing}:
                            (binaries / name).write_text("#!/bin/sh\nexit 0\n")
                            os.chmod(binaries / name, 0o755)
                        ended = run(script, build)
                    self.assertEqual(ended.returncode, 1, ended)
                    self.assertIn(f"bin/{missing} is missing", ended.stderr)
                    self.assertIn("-DSLUICE_BENCH=ON", ended.stderr)
                    self.assertNotIn("No such process", ended.stdout + ended.stderr)

    def test_without_a_build_it_says_how_it_is_called(self):
        for script in PROGRAMS:
            ended = run(script)
            self.assertEqual(ended.returncode, 2, ended)
            self.assertIn("usage: ", ended.stderr)


if __name__ == "__main__":
    unittest.main()
