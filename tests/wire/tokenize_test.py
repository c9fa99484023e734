"""The verb `tokenize`: its output, its options, its exit codes."""

import json
import os
import pathlib
import subprocess
import unittest

DATA = pathlib.Path(__file__).parent.parent / "data" / "tokenizer"
VOCABULARY = DATA / "tiny-deepseek-v3.tokenizer.json"


def tokenize(*arguments: str, text: str) -> subprocess.CompletedProcess:
    command = [os.environ["SLUICE_BINARY"], "tokenize", *arguments]
    return subprocess.run(command, input=text.encode(), capture_output=True, check=False)


class Tokenize(unittest.TestCase):
    def test_output_that_is_lost_is_a_failure(self):
        for options in (["-o", "json"], [], ["-o", "json", "--batch"]):
            with open("/dev/full", "w") as full:
                command = [os.environ["SLUICE_BINARY"], "tokenize", str(VOCABULARY), *options]
                done = subprocess.run(command, input=b'"a"\n', stdout=full, stderr=subprocess.PIPE)
            self.assertEqual(done.returncode, 1, options)
            self.assertIn(b"could not be written", done.stderr)

    def setUp(self):
        self.pairs = json.loads((DATA / "tokenizer-tiny-deepseek-v3.json").read_text())["strings"]

    def test_text_becomes_an_array_of_ids(self):
        for pair in self.pairs[:5] + self.pairs[-5:]:
            done = tokenize(str(VOCABULARY), "-o", "json", text=pair["text"])
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(json.loads(done.stdout), pair["ids"])

    def test_batch_gives_a_line_for_a_line(self):
        lines = "".join(json.dumps(pair["text"]) + "\n" for pair in self.pairs)
        done = tokenize(str(VOCABULARY), "-o", "json", "--batch", text=lines)
        found = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual(found, [pair["ids"] for pair in self.pairs])

    def test_special_tokens_are_text_where_asked(self):
        text = "<｜end▁of▁sentence｜>"
        self.assertEqual(tokenize(str(VOCABULARY), "-o", "json", text=text).stdout, b"[1]\n")
        plain = tokenize(str(VOCABULARY), "-o", "json", "--no-special", text=text).stdout
        self.assertGreater(len(json.loads(plain)), 1)

    def test_a_line_an_id_for_people(self):
        self.assertEqual(tokenize(str(VOCABULARY), text="<think>").stdout.split(),
                         [b"4089", b'"<think>"'])  # fmt: skip

    def test_the_batch_names_a_line_that_is_no_string(self):
        done = tokenize(str(VOCABULARY), "--batch", text='"a"\n[1]\n')
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"line 2 is not a JSON string", done.stderr)

    def test_exit_codes(self):
        self.assertEqual(tokenize(text="").returncode, 2)
        self.assertEqual(tokenize(str(VOCABULARY), "-o", "xml", text="").returncode, 2)
        self.assertEqual(tokenize("--help", text="").returncode, 0)
        unknown = tokenize(str(VOCABULARY), "--data", "/path", "more", text="")
        self.assertEqual(unknown.returncode, 2)
        self.assertIn(b"not expected: --data /path more\n", unknown.stderr)  # as typed
        missing = tokenize("no-such-file.gguf", text="")
        self.assertEqual(missing.returncode, 1)
        self.assertIn(b"no-such-file.gguf", missing.stderr)


if __name__ == "__main__":
    unittest.main()
