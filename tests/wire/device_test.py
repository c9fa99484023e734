"""--device cuda where there is no card: one line says so, and the processor gives the same ids."""

import json
import pathlib
import subprocess
import tempfile
import unittest

from running_server import binary

MODEL = pathlib.Path(__file__).parents[1] / "data" / "models" / "llama.gguf"


def generate(ids: str, *options: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [binary(), "generate", str(MODEL), "--ids", ids, "-n", "8", "--greedy", "-o", "json",
         *options],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip


class DeviceTest(unittest.TestCase):
    def test_without_a_card_the_processor_runs(self):
        with tempfile.NamedTemporaryFile("w", suffix=".json") as ids:
            json.dump([1, 2, 3], ids)
            ids.flush()
            on_card, on_processor = generate(ids.name, "--device", "cuda"), generate(ids.name)
        if on_card.stderr == "":
            self.skipTest("this machine has a card")
        self.assertEqual(on_card.returncode, 0, on_card.stderr)
        self.assertRegex(on_card.stderr, r"\A--device cuda: .+; running on the processor\n\Z")
        self.assertEqual(on_card.stdout, on_processor.stdout)

    def test_an_unknown_device_lists_the_choices(self):
        done = generate("x.json", "--device", "abacus")
        self.assertEqual(done.returncode, 2)
        self.assertIn("cuda", done.stderr + done.stdout)


if __name__ == "__main__":
    unittest.main()
