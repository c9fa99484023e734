"""The verbs that inspect a model, `logits`, `generate`, `perplexity` and `bench`, on tiny models:
output, options, exit codes."""

import json
import os
import pathlib
import subprocess
import tempfile
import unittest

MODELS = pathlib.Path(__file__).parent.parent / "data" / "models"
MODEL = str(MODELS / "qwen3.gguf")
GOLDEN = json.loads((MODELS / "qwen3.json").read_text())


def run(*arguments: str, ids: object = None, environment: dict | None = None):
    command = [os.environ["SLUICE_BINARY"], *arguments]
    text = b"" if ids is None else json.dumps(ids).encode()
    variables = {**os.environ, **(environment or {})}
    return subprocess.run(command, input=text, capture_output=True, check=False, env=variables)


class Inspect(unittest.TestCase):
    def greedy(self, count: int, ids: object) -> dict:
        return self.json_of(
            "generate", MODEL, "--ids", "-", "-n", str(count), "--greedy", ids=ids
        )

    def json_of(self, *arguments: str, ids: object = None):
        done = run(*arguments, "-o", "json", ids=ids)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def refused(self, code: int, message: str, *arguments: str, ids: object = None):
        done = run(*arguments, ids=ids)
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertIn(message.encode(), done.stdout + done.stderr)

    def test_logits_are_the_references(self):
        for position, expected in zip(GOLDEN["positions"], GOLDEN["logits"], strict=True):
            ids = GOLDEN["ids"][: position + 1]
            found = self.json_of("logits", MODEL, "--ids", "-", "--top", "64", "--exact", ids=ids)
            self.assertEqual(len(found["top"]), 64)
            scores = [score for _, score in found["top"]]
            self.assertEqual(scores, sorted(scores, reverse=True))
            for token_id, score in found["top"]:
                self.assertAlmostEqual(score, expected[token_id], delta=1e-3)
            self.assertAlmostEqual(found["mean"], sum(expected) / len(expected), delta=1e-3)

    def test_hidden_states_are_there_where_asked(self):
        found = self.json_of("logits", MODEL, "--ids", "-", "--hidden", ids=[1, 2, 3])["hidden"]
        self.assertEqual([len(state) for state in found["after_layer"]], [32, 32])
        self.assertEqual(len(found["embedding"]), 32)
        self.assertEqual(len(found["after_final_norm"]), 32)

    def test_greedy_ids_are_the_best_of_each_step(self):
        ids = GOLDEN["ids"][:10]
        generated = self.greedy(4, ids)["ids"]
        self.assertEqual(len(generated), 4)
        for step, token_id in enumerate(generated):
            before = ids + generated[:step]
            best = self.json_of("logits", MODEL, "--ids", "-", "--top", "1", ids=before)
            self.assertEqual(best["top"][0][0], token_id)

    def test_a_seed_gives_the_same_ids(self):
        def sample(seed: str):
            arguments = ("--ids", "-", "-n", "32", "--seed", seed)
            return self.json_of("generate", MODEL, *arguments, ids=[1])

        self.assertEqual(sample("1"), sample("1"))
        self.assertNotEqual(sample("1"), sample("2"))

    def test_what_generate_prints_can_be_given_back(self):
        self.assertEqual(len(self.greedy(4, self.greedy(4, [1]))["ids"]), 4)

    def test_ids_that_are_none_are_named(self):
        for ids, message in (
            ([], "at least one"),
            ({"a": 1}, "expected a JSON array"),
            ([1, -2], "item 1 is -2"),
            ([1, 2.5], "item 1 is 2.5"),
            ([64], "the model's ids are 0 to 63"),
        ):
            self.refused(1, message, "logits", MODEL, "--ids", "-", "--top", "1", ids=ids)
        self.refused(1, "cannot open", "logits", MODEL, "--ids", "no-such-file.json")

    def test_perplexity_needs_a_vocabulary_and_a_text(self):
        self.refused(1, "tokenizer.ggml", "perplexity", MODEL, "-f", __file__)

    def test_bench_says_what_the_machine_reached(self):
        with tempfile.TemporaryDirectory() as cache:
            options = "-p 16 -n 4 -d 8 --streams 2 -t 1 -r 1 -o json".split()
            done = run("bench", MODEL, *options, environment={"XDG_CACHE_HOME": cache})
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertTrue((pathlib.Path(cache) / "sluice" / "roof.json").exists())
        prefill, decode = json.loads(done.stdout)
        for row in (prefill, decode):
            self.assertEqual((row["n_depth"], row["n_streams"]), (8, 2))
            self.assertGreater(row["avg_ts"], 0)
            self.assertGreater(row["roof_share"], 0)
        self.assertEqual((prefill["n_prompt"], prefill["n_gen"]), (16, 0))
        self.assertGreater(prefill["tops"], 0)
        self.assertEqual((decode["n_prompt"], decode["n_gen"]), (0, 4))
        read_gb_s = decode["bytes_per_token"] * decode["avg_ts"] * 1e-9
        self.assertAlmostEqual(decode["read_gb_s"], read_gb_s)

    def test_each_kernel_table_has_the_roof_of_its_own_units(self):
        with tempfile.TemporaryDirectory() as cache:
            for table in ("avx2", "ref", "avx2"):
                options = f"-p 16 -n 0 -t 1 -r 1 -o json --kernels {table}".split()
                done = run("bench", MODEL, *options, environment={"XDG_CACHE_HOME": cache})
                self.assertEqual(done.returncode, 0, done.stderr)
            roofs = json.loads((pathlib.Path(cache) / "sluice" / "roof.json").read_text())
        by_table = {machine.split(", ")[-1]: roof for machine, roof in roofs.items()}
        self.assertEqual(set(by_table), {"avx2", "ref"})
        # The weights are floats, and avx2 has no products of bf16; the last run took what was kept.
        self.assertEqual(json.loads(done.stdout)[0]["roof_tops"], by_table["avx2"]["bf16_tflops"])

    def test_exit_codes(self):
        for verb in ("logits", "generate", "perplexity", "bench"):
            self.refused(0, "Example", verb, "--help")
            self.refused(2, "", verb)
            self.refused(2, "", verb, MODEL, "--no-such-option")
        self.refused(1, "no-such-file.gguf", "bench", "no-such-file.gguf")
        self.refused(1, "abacus", "bench", MODEL, "--kernels", "abacus")
        self.refused(2, "", "generate", MODEL, "--ids", "-", "--greedy", "--temperature", "2")

    def test_help_fits_a_terminal_and_shows_defaults(self):
        for words in (["up"], ["bench"], ["bench", "report"], ["bench", "op"], ["keys", "create"]):
            for line in run(*words, "--help").stdout.decode().splitlines():
                self.assertTrue(len(line) <= 100 or "Excludes" in line or "{" in line, line)
                self.assertNotRegex(line, "INT:|TEXT:|FLOAT:")
        self.assertIn("--n-prompt INT in [0 - 1048576]=512", run("bench", "--help").stdout.decode())

    def test_options_that_would_do_nothing_are_wrong_usage(self):
        for option in ("--layers", "--dense-layers", "--vocab", "--expert-count", "--seed",
                       "--router-skew"):  # fmt: skip
            self.refused(2, option, "bench", MODEL, option, "32")
        for option in ("--type", "--experts", "--output-matrix"):
            self.refused(2, option, "bench", MODEL, option, "Q8_0")
        self.refused(2, "--synth", "bench", MODEL, "--synth", "llama3-8b")
        for verb in ("bench", "generate", "serve"):
            self.refused(2, "--place", verb, MODEL, "--place", "experts=cpu")
        for option in ("--layers", "--dense-layers", "--vocab", "--expert-count"):
            self.refused(2, option, "plan", MODEL, option, "64")
        for option in ("--type", "--experts"):
            self.refused(2, option, "plan", MODEL, option, "INT4")
        for arguments in (["--exact"], ["--kernels", "ref"], ["-p", "64"]):
            for model in (["deepseek-v3"], [MODEL, "--memory-gb-s", "100"]):
                self.refused(2, "nothing is timed", "plan", *model, *arguments)
        for option in ("--gpus", "--gpu-gb-s", "--gpu-memory-gb", "--gpu-expert-hits"):
            self.refused(2, option, "plan", "deepseek-v3", option, "1")
        for option in ("--device", "--place", "--kv-type"):
            self.refused(2, option, "plan", MODEL, option, "x")

    def test_a_plan_counts_what_loading_takes(self):
        plan = self.json_of("plan", MODEL, "--context", "256", "-p", "64", "-t", "1")
        bench = self.json_of("bench", MODEL, "-p", "8", "-n", "2", "-r", "1", "-t", "1")
        self.assertEqual(plan["file_bytes"], bench[0]["model_size"])
        self.assertEqual(plan["context"], 256)
        self.assertEqual(
            plan["memory_bytes"],
            plan["weight_bytes"] + 256 * plan["kv_bytes_per_token"] + plan["activation_bytes"],
        )
        self.assertLessEqual(plan["sampled_layers"], plan["layers"])
        for speed in ("decode_tok_s", "prefill_tok_s", "decode_limit_tok_s"):
            self.assertGreater(plan[speed], 0)
        self.refused(1, "No such file", "plan", "/nowhere.gguf")

    def test_a_plan_of_experts_and_drafts_counts_what_a_token_reads(self):
        def plan_of(*arguments: str) -> dict:
            with tempfile.TemporaryDirectory() as folder:
                file = os.path.join(folder, "m.gguf")
                shape = ["--layers", "2", "--dense-layers", "1", "--expert-count", "16"]
                done = run("synth", "deepseek-v3", file, *shape, "--vocab", "1024", *arguments)
                self.assertEqual(done.returncode, 0, done.stderr)
                return self.json_of("plan", file, "-p", "16", "--context", "64")

        plan = plan_of()
        # 8 of 16 experts, of one layer, in 18 bytes for 32 weights.
        unread = 8 * 3 * 7168 * 2048 * 18 // 32 + 1024 * 7168 * 34 // 32
        self.assertEqual(plan["step_bytes"], plan["file_bytes"] - unread)
        drafts = plan_of("--draft-layer")
        self.assertGreater(drafts["file_bytes"], plan["file_bytes"])
        for name in ("step_bytes", "layers", "sampled_layers", "kv_bytes_per_token"):
            self.assertEqual(drafts[name], plan[name], name)
        self.assertEqual(drafts["traffic"], plan["traffic"] | {"name": drafts["name"]})


if __name__ == "__main__":
    unittest.main()
