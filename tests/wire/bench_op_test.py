"""`sluice bench op` at size 1: every op on every table that this machine runs."""

import json
import subprocess
import unittest

from running_server import binary

DEADLINE_S = 120
SMALL = "--rows 2 --outputs 64 --inputs 64 --depth 40 --ms 1 -t 1".split()


def bench(*arguments):
    return subprocess.run([binary(), "bench", "op", *arguments], capture_output=True, text=True,
                          timeout=DEADLINE_S, check=False)  # fmt: skip


class BenchOp(unittest.TestCase):
    def test_every_op_on_every_table(self):
        lines = bench("--list").stdout.splitlines()
        tables = [line.split()[1] for line in lines if line.endswith("runs here")]
        ops = [line.split()[0] for line in lines if not line.startswith("--kernels")]
        self.assertIn("ref", tables)
        self.assertIn("linear", ops)
        for table in tables:
            for op in ops:
                done = bench(op, "--kernels", table, "-o", "json", *SMALL)
                self.assertEqual(done.returncode, 0, done.stderr)
                (row,) = json.loads(done.stdout)
                self.assertEqual((row["op"], row["kernels"], row["n_threads"]), (op, table, 1))
                self.assertGreater(row["median_us"], 0)
                self.assertGreater(row["roof_gb_s"], 0)
                if op == "quantize_activations":  # its result has no other form to compare with
                    self.assertNotIn("error", row)
                else:
                    self.assertLess(row["error"], 0.02, f"{op} on {table}")

    def test_a_product_stands_beside_the_limit_of_its_own_numbers(self):
        if "--kernels amx runs here" not in " ".join(bench("--list").stdout.split()):
            self.skipTest("no AMX here: bf16 products have the limit of float ones")
        roof_of = {}
        for number in ("F32", "BF16", "Q8_0"):
            done = bench("linear", "--kernels", "amx", "--type", number, "-o", "json", *SMALL)
            roof_of[number] = json.loads(done.stdout)[0]["roof_tops"]
        self.assertLess(2 * roof_of["F32"], roof_of["BF16"])
        self.assertLess(1.5 * roof_of["BF16"], roof_of["Q8_0"])

    def test_wrong_usage(self):
        for arguments, message in (
            (["nosuch"], "linear"),
            (["linear", "--type", "Q9"], "Q4_1"),
            (["linear", "--rows", "0"], "rows"),
        ):
            done = bench(*arguments)
            self.assertEqual(done.returncode, 2, arguments)
            self.assertIn(message, done.stdout + done.stderr)
        self.assertEqual(bench().returncode, 2)

    def test_what_cannot_run_says_why(self):
        for arguments, message in (
            (["linear", "--inputs", "33"], "33 inputs"),
            (["attention", "--heads", "5", "--kv-heads", "2"], "5 heads"),
            (["linear", "--kernels", "sse9"], "sse9"),
        ):
            done = bench(*arguments)
            self.assertEqual(done.returncode, 1, arguments)
            self.assertIn(message, done.stderr)


if __name__ == "__main__":
    unittest.main()
