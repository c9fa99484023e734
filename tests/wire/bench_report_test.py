"""`sluice bench report` at size 1: every field, numbers that agree with each other, both forms made
from the same data, and the load over HTTP. `bench --prompt-file`: drafts beside none."""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

from running_server import binary, model

TINY = pathlib.Path(__file__).parent.parent / "data" / "models" / "qwen3moe.gguf"
INPUT, OUTPUT = 70, 12
SIZE = ["-p", str(INPUT), "-n", str(OUTPUT), "-r", "2", "-t", "1"]
DEADLINE_S = 120

TOP = {"title", "date", "version", "command", "machine", "model", "load", "rows", "http"}
MACHINE = {"cpu", "cores", "threads", "features", "memory_bytes", "system", "limits_from",
           "read_gb_s", "int8_tops", "bf16_tflops", "f32_tflops", "device"}  # fmt: skip
MODEL = {"name", "architecture", "weights", "synthetic", "digest", "layers", "experts",
         "experts_used", "parameters", "file_bytes", "weight_bytes", "kv_bytes_per_token",
         "kernels", "placement", "load_s"}  # fmt: skip
ROW = {"n_streams", "ttft_cold_ms", "ttft_cached_ms", "cached_tokens", "tpot_ms",
       "generated_tokens", "wall_s", "output_tok_s", "prefill_s", "prefill_tok_s",
       "prefill_roof_share", "decode"}  # fmt: skip
DECODE = {"steps", "step_us", "tok_s", "bytes_per_step", "host_read_gb_s", "limit_us",
          "roof_share", "experts_per_step", "experts_expected", "resident_hits",
          "fixed_us_per_layer", "reads", "profiled_step_us", "times"}  # fmt: skip


class BenchReport(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.base = pathlib.Path(folder.name) / "found"

    def run_bench(self, *arguments: str):
        command = [binary(), "bench", "report", *arguments, "--to", str(self.base)]
        return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S,
                              check=False)  # fmt: skip

    def report(self, *arguments: str) -> dict:
        done = self.run_bench(*arguments, "-o", "json")
        self.assertEqual(done.returncode, 0, done.stderr)
        printed = json.loads(done.stdout)
        self.assertEqual(printed, json.loads(self.base.with_suffix(".json").read_text()))
        return printed

    def check_row(self, row: dict, streams: int):
        self.assertEqual(set(row), ROW)
        self.assertEqual(row["n_streams"], streams)
        self.assertEqual(row["generated_tokens"], streams * OUTPUT)
        self.assertAlmostEqual(row["output_tok_s"] * row["wall_s"], streams * OUTPUT)
        self.assertAlmostEqual(row["prefill_tok_s"] * row["prefill_s"], streams * INPUT)
        self.assertLess(row["prefill_s"], row["wall_s"])
        for name in ("ttft_cold_ms", "ttft_cached_ms", "tpot_ms"):
            spread = row[name]
            self.assertLess(0, spread["least"])
            self.assertLessEqual(spread["least"], spread["median"])
            self.assertLessEqual(spread["median"], spread["most"])
            if streams == 1:  # two values
                between = (spread["least"] + spread["most"]) / 2
                self.assertAlmostEqual(spread["median"], between)
        self.assertGreater(row["cached_tokens"], 0)
        self.assertLess(row["cached_tokens"], INPUT)

    def check_decode(self, decode: dict, streams: int, layers: int):
        self.assertEqual(set(decode), DECODE)
        self.assertTrue(0 < decode["steps"] < OUTPUT)
        self.assertAlmostEqual(decode["tok_s"] * decode["step_us"] * 1e-6, streams)
        self.assertAlmostEqual(sum(r["bytes"] for r in decode["reads"]), decode["bytes_per_step"])
        self.assertAlmostEqual(sum(r["limit_us"] for r in decode["reads"]), decode["limit_us"])
        limit_us = decode["bytes_per_step"] / (decode["host_read_gb_s"] * 1e3)
        self.assertAlmostEqual(decode["limit_us"], limit_us)
        self.assertAlmostEqual(decode["roof_share"], decode["limit_us"] / decode["step_us"])
        self.assertEqual({t["place"] for t in decode["times"]}, {"processor", "engine"})
        self.assertAlmostEqual(sum(t["us"] for t in decode["times"]), decode["profiled_step_us"])
        parts = {read["part"] for read in decode["reads"]}
        self.assertLessEqual({"attention", "experts", "output", "keys and values"}, parts)
        counted = sum(t.get("bytes", 0) for t in decode["times"])
        self.assertAlmostEqual(counted, decode["bytes_per_step"])
        self.assertAlmostEqual(decode["fixed_us_per_layer"] * layers,
                               decode["step_us"] - decode["limit_us"])  # fmt: skip
        self.assertIsNone(decode["resident_hits"])  # of a hybrid placement

    def test_every_number_agrees_with_the_others(self):
        found = self.report(str(TINY), *SIZE, "--streams", "1,3")
        self.assertEqual(set(found), TOP)
        self.assertEqual(set(found["machine"]), MACHINE)
        self.assertEqual(set(found["model"]), MODEL)
        self.assertEqual(found["load"]["input_tokens"], INPUT)
        self.assertIsNone(found["machine"]["device"])
        self.assertFalse(found["model"]["synthetic"])
        self.assertNotIn("ynthetic", found["title"])
        self.assertIn("bench report", found["command"])
        self.assertIn("no vocabulary", found["http"]["note"])
        self.assertEqual([row["n_streams"] for row in found["rows"]], [1, 3])
        for row in found["rows"]:
            self.check_row(row, row["n_streams"])
            self.check_decode(row["decode"], row["n_streams"], found["model"]["layers"])
        one, three = (row["decode"] for row in found["rows"])
        self.assertEqual(one["experts_per_step"], found["model"]["experts_used"])
        self.assertTrue(one["experts_per_step"] < three["experts_per_step"] <= 8)
        self.assertTrue(3 < three["experts_expected"] < 8)

    def test_markdown_has_the_numbers_of_the_json(self):
        found = self.report(str(TINY), *SIZE, "--streams", "2")
        text = self.base.with_suffix(".md").read_text()
        (row,) = found["rows"]
        cold, decode = row["ttft_cold_ms"], row["decode"]
        for line in (
            f"# {found['title']}\n",
            f"| processor | {found['machine']['read_gb_s']:.1f} |",
            f"digest `{found['model']['digest']}`",
            f"| 2 | {cold['median']:.1f} ({cold['least']:.1f}–{cold['most']:.1f}) |",
            f"| {row['output_tok_s']:.1f} | {row['prefill_tok_s']:.1f} |",
            f"| 2 | {decode['step_us']:.1f} | {decode['bytes_per_step'] / 1e6:.1f} |",
            f" {decode['host_read_gb_s']:.1f} | {decode['limit_us']:.1f} |"
            f" {decode['fixed_us_per_layer']:.1f} |",
            f" {decode['experts_per_step']:.1f} ({decode['experts_expected']:.1f}) |",
            found["command"],
        ):
            self.assertIn(line, text)
        clocks = f"{decode['profiled_step_us']:.1f} µs a step with clocks, {decode['step_us']:.1f}"
        self.assertIn(clocks, text)
        for time in decode["times"]:
            part = f"| 2 | {time['part']} | {time['place']} | {time['us']:.1f} |"
            self.assertIn(part, text)

    def test_random_weights_are_named_so(self):
        shape = "--synth qwen2-1.5b --layers 1 --vocab 64".split()
        found = self.report(*shape, *SIZE, "--streams", "1")
        self.assertTrue(found["model"]["synthetic"])
        self.assertIn("Synthetic weights", found["title"])
        self.assertIn("# Synthetic weights", self.base.with_suffix(".md").read_text())
        self.assertIn("at random", found["model"]["weights"])

    def test_the_same_load_over_http(self):
        self.addCleanup(os.environ.pop, "SLUICE_API_KEY")
        os.environ["SLUICE_API_KEY"] = "of-another-server"
        more = ["--temperature", "0.7", "--device", "cuda", "--defer-experts", "0"]
        found = self.report(model(), *SIZE, *more, "--streams", "1,2")
        self.assertEqual(found["load"]["temperature"], 0.7)
        http = found["http"]
        self.assertEqual([row["concurrency"] for row in http["rows"]], [1, 2])
        for row in http["rows"]:
            self.assertEqual((row["completed"], row["failed"]), (4, 0))
            self.assertIsNone(row["first_failure"])
            self.assertEqual(row["output_tokens"], 4 * OUTPUT)
            self.assertAlmostEqual(row["output_tok_s"] * row["wall_s"], 4 * OUTPUT)
            self.assertAlmostEqual(row["prompt_tokens"], INPUT, delta=0.15 * INPUT)
        self.assertIn("sluice serve", http["serve_command"])
        self.assertIn("--threads 1", http["serve_command"])
        self.assertIn("--device cuda --defer-experts 0", http["serve_command"])
        text = self.base.with_suffix(".md").read_text()
        for key in ("serve_command", "bench_command"):
            self.assertIn(http[key], text)
        without = self.report(model(), *SIZE, "--streams", "1", "--no-http")
        self.assertEqual(without["http"]["rows"], [])

    def test_what_the_server_did_not_do_costs_only_its_part(self):
        own = self.base.with_name("sluice")
        shutil.copy2(binary(), own)
        command = [own, "bench", "report", model(), *SIZE, "--streams", "1", "--to", self.base]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                              text=True) as running:  # fmt: skip
            own.unlink()  # so that it cannot be started again
            said = running.communicate(timeout=DEADLINE_S)[1]
        self.assertEqual(running.returncode, 1, said)
        self.assertIn("sluice bench report: over HTTP: ", said)
        found = json.loads(self.base.with_suffix(".json").read_text())
        self.check_row(found["rows"][0], 1)
        self.assertEqual(found["http"]["rows"], [])
        self.assertIn("Not measured: ", found["http"]["note"])
        self.assertIn(found["http"]["note"], self.base.with_suffix(".md").read_text())

    def test_a_path_that_cannot_be_written_is_refused_first(self):
        self.base = self.base / "in" / "no" / "folder"
        done = self.run_bench(str(TINY), *SIZE, "--streams", "1")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)  # nothing was measured
        self.assertIn(str(self.base), done.stderr)

    def test_wrong_usage(self):
        for arguments, message in (
            ([], "MODEL"),
            ([str(TINY), "-n", "1"], "n-gen"),
            ([str(TINY), "--streams", "0"], "streams"),
            ([str(TINY), "--layers", "2"], "--layers requires --synth"),
        ):
            done = self.run_bench(*arguments)
            self.assertEqual(done.returncode, 2, arguments)
            self.assertIn(message, done.stdout + done.stderr)
        done = self.run_bench("no-such-file.gguf")
        self.assertEqual(done.returncode, 1)
        self.assertIn("no-such-file.gguf", done.stderr)


class BenchDrafts(unittest.TestCase):
    """A text that repeats itself, so that its own words are good drafts."""

    def setUp(self):
        self.file = tempfile.NamedTemporaryFile("w", suffix=".txt")
        self.addCleanup(self.file.close)
        self.file.write("The quick brown fox jumps over the lazy dog. " * 12)
        self.file.flush()

    def run_bench(self, *arguments: str):
        command = [binary(), "bench", model(), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S,
                              check=False)  # fmt: skip

    def rows(self, *arguments: str) -> list:
        done = self.run_bench("--prompt-file", self.file.name, "-n", "40", "-r", "2", *arguments,
                              "-o", "json")  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def test_drafts_are_counted_and_change_no_answer(self):
        for row in self.rows("--speculation", "ngram", "--streams", "1,3"):
            drafts = row["drafts"]["ngram"]
            self.assertTrue(0 < drafts["accepted"] <= drafts["drafted"], drafts)
            self.assertEqual(row["drafts"]["mtp"], {"drafted": 0, "accepted": 0})
            self.assertEqual(row["tokens"], 2 * 40 * row["n_streams"])
            self.assertLess(row["steps"], 2 * 40 + 10)
            self.assertIs(row["same_answers"], True)
            for name in ("median_ts", "median_ts_off", "ratio"):
                self.assertGreater(row[name], 0)
            self.assertEqual(len(row["samples_ts"]), 2)

    def test_without_speculation_nothing_is_drafted(self):
        (row,) = self.rows("--speculation", "off")
        for drafts in row["drafts"].values():
            self.assertEqual(drafts, {"drafted": 0, "accepted": 0})
        self.assertGreaterEqual(row["steps"], row["tokens"])

    def test_what_cannot_be_is_refused(self):
        text = ["--prompt-file", self.file.name]
        for code, arguments, message in (
            (2, ["--speculation", "ngram"], "--prompt-file"),
            (2, [*text, "-p", "8"], "--prompt-file"),
            (2, [*text, "--depth", "8"], "--prompt-file"),
            (2, [*text, "--speculation", "magic"], "ngram"),
            (1, [*text, "--speculation", "mtp"], "no draft layer"),
            (1, [*text, "-n", "1"], "--n-gen"),
        ):
            done = self.run_bench(*arguments)
            self.assertEqual(done.returncode, code, arguments)
            self.assertIn(message, done.stdout + done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
