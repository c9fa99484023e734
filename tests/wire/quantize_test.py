"""The verbs that write and size models without running them: `quantize`, `synth`, `plan` of a
geometry, and `perplexity --kl-against`."""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

MODELS = pathlib.Path(__file__).parent.parent / "data" / "models"
TOKENIZERS = MODELS.parent / "tokenizer"
MODEL = str(MODELS / "llama.gguf")


def run(*arguments: str):
    command = [os.environ["SLUICE_BINARY"], *arguments]
    return subprocess.run(command, capture_output=True, check=False)


class Quantize(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def json_of(self, *arguments: str):
        done = run(*arguments, "-o", "json")
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def refused(self, code: int, message: str, *arguments: str):
        done = run(*arguments)
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertIn(message.encode(), done.stdout + done.stderr)

    def test_a_converted_model_runs_and_has_its_checksums(self):
        out = str(self.folder / "q8.gguf")
        report = self.json_of("quantize", MODEL, out, "--type", "Q8_0", "--attention", "F16")
        types = {tensor["name"]: tensor["type"] for tensor in report["tensors"]}
        self.assertEqual(types["blk.0.attn_q.weight"], "F16")
        self.assertEqual(types["blk.0.ffn_up.weight"], "Q8_0")
        self.assertEqual(types["blk.0.attn_norm.weight"], "F32")
        self.assertEqual(run("quantize", out, "--verify").returncode, 0)
        bench = self.json_of("bench", out, "-p", "4", "-n", "4", "-r", "1")
        self.assertEqual(bench[0]["n_prompt"], 4)

    def test_a_folder_becomes_a_file_with_the_folders_logits(self):
        for name in ("hf-llama", "hf-qwen3", "hf-deepseek", "hf-deepseek-fp8"):
            with self.subTest(name):
                out = str(self.folder / f"{name}.gguf")
                self.json_of("quantize", str(MODELS / name), out, "--type", "F32")
                golden = json.loads((MODELS / f"{name}.json").read_text())
                ids = self.folder / "ids.json"
                for position, expected in zip(golden["positions"], golden["logits"], strict=True):
                    ids.write_text(json.dumps(golden["ids"][: position + 1]))
                    found = self.json_of("logits", out, "--ids", str(ids), "--top", "64", "--exact")
                    span = max(expected) - min(expected)
                    for token_id, score in found["top"]:
                        self.assertAlmostEqual(score, expected[token_id], delta=1e-3 * span)

    def test_a_file_becomes_a_folder_with_its_tokens(self):
        """Folder, file, folder: the same ids, the embedding's values as they were."""
        source, file, folder = (self.folder / name for name in ("source", "file.gguf", "folder"))
        shutil.copytree(MODELS / "hf-deepseek", source)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(TOKENIZERS / f"tiny-deepseek-v3.{name}", source / name)
        self.json_of("quantize", str(source), str(file), "--type", "BF16")
        report = self.json_of("quantize", str(file), str(folder), "--type", "int4")
        types = {tensor["name"]: tensor["type"] for tensor in report["tensors"]}
        self.assertEqual(types["model.layers.1.mlp.experts.7.up_proj.weight"], "int4 g32")
        self.assertEqual(types["lm_head.weight"], "BF16")
        golden = (TOKENIZERS / "tokenizer-tiny-deepseek-v3.json").read_text()
        strings = json.loads(golden)["strings"]
        lines = "".join(json.dumps(entry["text"]) + "\n" for entry in strings)
        command = [os.environ["SLUICE_BINARY"], "tokenize", str(folder), "--batch", "-o", "json"]
        done = subprocess.run(command, input=lines.encode(), capture_output=True, check=True)
        found = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual(found, [entry["ids"] for entry in strings])
        self.assertEqual(run("quantize", str(folder), "--verify").returncode, 0)

    def test_odd_rows_are_printed(self):
        done = run("quantize", MODEL, "--dry-run", "--type", "Q4_K_M")
        self.assertIn(b"rows of 32 are no whole blocks of Q4_K (256 values)", done.stdout)
        self.assertIn(b"get Q5_0", done.stdout)

    def test_wrong_types_and_files_without_checksums_are_refused(self):
        self.refused(1, "known: F32, F16", "quantize", MODEL, "x.gguf", "--type", "Q9_9")
        q8 = ("quantize", MODEL, "--type", "Q8_0")
        self.refused(1, "--experts: type 'Q9'", *q8, "--experts", "Q9")
        self.refused(1, "sluice.tensor_xxh3", "quantize", MODEL, "--verify")

    def test_a_synthetic_model_is_a_function_of_its_seed(self):
        paths = [self.folder / name for name in ("a.gguf", "b.gguf", "c.gguf")]
        for path, seed in zip(paths, ("1", "1", "2"), strict=True):
            self.json_of("synth", "smollm2-135m", str(path), "--layers", "1", "--vocab", "256",
                         "--type", "Q4_0", "--seed", seed)  # fmt: skip
        bytes_of = [path.read_bytes() for path in paths]
        self.assertEqual(bytes_of[0], bytes_of[1])
        self.assertNotEqual(bytes_of[0], bytes_of[2])
        bench = self.json_of("bench", str(paths[0]), "-p", "4", "-n", "4", "-r", "1")
        self.assertGreater(bench[0]["avg_ts"], 0)

    def test_synthetic_folders_run_and_are_planned(self):
        geometry = ("smollm2-135m", "--layers", "1", "--vocab", "256")
        kinds = [(kind,) for kind in ("int4", "w8a8", "awq", "gptq", "gptq-act-order", "mxfp4")]
        kinds += [(kind, "--folder") for kind in ("bf16", "f16", "f32")]
        for kind in kinds:
            with self.subTest(kind[0]):
                path = str(self.folder / kind[0])
                made = self.json_of("synth", *geometry[:1], path, *geometry[1:], "--type", *kind)
                bench = self.json_of("bench", path, "-p", "4", "-n", "4", "-r", "1")
                self.assertGreater(bench[0]["avg_ts"], 0)
                plan = self.json_of("plan", path, "--context", "16", "-p", "4")
                self.assertEqual(plan["parameters"], made["parameters"])
                self.assertGreater(plan["decode_tok_s"], 0)
        bench = self.json_of("bench", "--synth", *geometry, "--type", "int4", "-p", "4", "-n", "4",
                             "-r", "1")  # fmt: skip
        self.assertGreater(bench[0]["avg_ts"], 0)
        mxfp4 = str(self.folder / "m.gguf")
        self.json_of("synth", "smollm2-135m", mxfp4, *geometry[1:], "--type", "MXFP4")
        self.assertEqual(pathlib.Path(mxfp4).read_bytes()[:4], b"GGUF")
        for kind in (("mxfp4",), ("MXFP4", "--folder")):
            self.refused(1, "names a file", "synth", "smollm2-135m", mxfp4, "--type", *kind)
        self.refused(1, "written of random models alone", "quantize", MODEL,
                     str(self.folder / "new"), "--type", "awq")  # fmt: skip

    def test_a_plan_keeps_the_biases_of_zeros_that_its_architecture_needs(self):
        path = str(self.folder / "qwen2.gguf")
        made = self.json_of("synth", "qwen2-1.5b", path, "--layers", "1", "--vocab", "256",
                            "--type", "Q4_0")  # fmt: skip
        plan = self.json_of("plan", path, "--context", "16", "-p", "4")
        self.assertEqual(plan["parameters"], made["parameters"])

    def test_a_broken_folder_is_refused_with_everything_that_is_wrong(self):
        folder = self.folder / "broken"
        shutil.copytree(MODELS / "hf-deepseek", folder)
        (folder / "model-00002-of-00002.safetensors").unlink()
        config = json.loads((folder / "config.json").read_text()) | {"n_routed_experts": 16}
        (folder / "config.json").write_text(json.dumps(config))
        for verb in (("quantize", str(folder), "x.gguf", "--type", "Q8_0"), ("plan", str(folder))):
            with self.subTest(verb[0]):
                self.refused(1, "model-00002-of-00002.safetensors", *verb)
                self.refused(1, "mlp.experts.12.up_proj.weight' is missing", *verb)

    def test_a_geometrys_limits_are_the_published_ones(self):
        plan = self.json_of("plan", "deepseek-v3", "--type", "FP8", "--experts", "INT4",
                            "--memory-gb-s", "600", "--gpu", "h100")  # fmt: skip
        self.assertEqual(plan["placement"], "hybrid")
        self.assertAlmostEqual(plan["serial_limit_tok_s"], 46.2, delta=0.02 * 46.2)
        self.assertAlmostEqual(plan["overlapped_limit_tok_s"], 56.9, delta=0.02 * 56.9)
        self.assertEqual(plan["parts"]["experts"]["device"], "cpu")

    def test_fewer_experts_take_less_memory_and_a_token_reads_as_many(self):
        whole = self.json_of("plan", "deepseek-v3", "--memory-gb-s", "30")
        half = self.json_of("plan", "deepseek-v3", "--memory-gb-s", "30", "--expert-count", "128")
        self.assertEqual(2 * half["parts"]["experts"]["bytes"], whole["parts"]["experts"]["bytes"])
        self.assertAlmostEqual(half["serial_limit_tok_s"], whole["serial_limit_tok_s"], delta=0.1)
        for count in ("12", "8"):
            self.refused(1, "a multiple of 8 groups of which 4 hold at least 8", "plan",
                         "deepseek-v3", "--expert-count", count)  # fmt: skip
        self.refused(1, "geometries: smollm2-135m", "plan", "deepseekv3")
        for number in ("nan", "inf", "0", "-5"):
            self.refused(2, "is no number over 0", "plan", "deepseek-v3", "--memory-gb-s", number)
        self.refused(2, "nan is no number", "synth", "kimi-k2", "x.gguf", "--router-skew", "nan")
        self.refused(1, "has no experts", "plan", "llama3-8b", "--expert-count", "8")

    def test_a_cache_leaves_room_for_sixteen_requests(self):
        plan = self.json_of("plan", "gpt3-175b", "--type", "F16", "--context", "2048",
                            "--memory-gb-s", "600", "--gpu", "h100", "--gpus", "8",
                            "--gpu-memory-gb", "64")  # fmt: skip
        self.assertEqual(plan["kv_bytes_per_token"], 12288 * 96 * 2 * 2)
        self.assertEqual(plan["requests_that_fit"], 16)

    def test_a_file_is_planned_for_another_machine(self):
        plan = self.json_of("plan", MODEL, "--memory-gb-s", "100", "--context", "16")
        self.assertEqual(plan["parts"]["attention"]["device"], "cpu")
        self.assertGreater(plan["serial_limit_tok_s"], 0)


if __name__ == "__main__":
    unittest.main()
