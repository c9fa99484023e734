"""`sluice bench serve` at size 1 against `sluice serve`."""

import json
import subprocess
import unittest

from running_server import RunningServer, binary

DEADLINE_S = 60


def bench(*arguments):
    return subprocess.run([binary(), "bench", "serve", *arguments], capture_output=True, text=True,
                          timeout=DEADLINE_S)  # fmt: skip


class BenchServe(unittest.TestCase):
    def test_rows(self):
        with RunningServer("--kv-budget", "128MiB", "--api-key", "k") as server:
            common = ["--url", server.url, "-c", "1", "2", "-r", "3", "-p", "20", "-n", "4"]
            done = bench(*common, "--api-key", "k", "-o", "json")
            self.assertEqual(done.returncode, 0, done.stderr)
            rows = json.loads(done.stdout)
            self.assertEqual([r["concurrency"] for r in rows], [1, 2])
            for row in rows:
                self.assertEqual((row["completed"], row["failed"]), (3, 0))
                self.assertGreater(row["output_tok_s"], 0)
                self.assertGreater(row["ttft_p50_ms"], 0)
                self.assertGreater(row["tpot_p50_ms"], 0)
            refused = bench(*common)
            self.assertEqual(refused.returncode, 1)
            self.assertIn("401", refused.stderr)

    def test_nobody_listens(self):
        done = bench("--url", "http://127.0.0.1:1")
        self.assertEqual(done.returncode, 1)
        self.assertIn("127.0.0.1:1", done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
