#!/usr/bin/env python3
"""Runs lm-eval (EleutherAI's evaluation harness) against `sluice serve` with its model kind
`local-completions`: a choice between four ends of a sentence (echo with logprobs), perplexity of
paragraphs, generated answers. The tasks are made of the tests' English text; nothing is fetched.
Then the first choices' log-likelihoods are computed again with `sluice logits --exact`.

    pip install 'lm_eval[api]' transformers       into an environment of its own, without torch
    tools/python tools/peers/lm_eval.py MODEL.gguf --lm-eval ENVIRONMENT/bin/lm_eval

Fails where a request fails or a log-likelihood is further from the exact one than 1 %.
"""

import argparse
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TEXT = ROOT / "tests" / "data" / "text" / "english.txt"
SENTENCES, PARAGRAPHS, SUMS = 120, 40, 40
CHOICES = 4
CHECKED = 4
TOLERANCE = 0.01

CLOZE = {
    "output_type": "multiple_choice",
    "doc_to_text": "{{begin}}",
    "doc_to_choice": "{{ends}}",
    "doc_to_target": "{{label}}",
    "metric_list": [{"metric": m, "aggregation": "mean"} for m in ("acc", "acc_norm")],
}
ROLLING = {
    "output_type": "loglikelihood_rolling",
    "doc_to_text": "",
    "doc_to_target": "{{text}}",
    "metric_list": [{"metric": m} for m in ("word_perplexity", "bits_per_byte")],
}
GENERATE = {
    "output_type": "generate_until",
    "doc_to_text": "{{question}}",
    "doc_to_target": "{{answer}}",
    "generation_kwargs": {"until": ["\n"], "max_gen_toks": 32, "do_sample": False},
    "metric_list": [{"metric": "exact_match", "aggregation": "mean", "ignore_case": True}],
}


def halves(sentence: str) -> tuple[str, str]:
    words = sentence.split()
    middle = len(words) // 2
    return " ".join(words[:middle]), " ".join(words[middle:])


def cloze_rows(text: str, rng: random.Random) -> list[dict]:
    sentences = re.split(r"(?<=[.!?])\s+", " ".join(text.split()))
    sentences = [s for s in sentences if 8 <= len(s.split()) <= 40]
    rows = []
    for sentence in sentences[:SENTENCES]:
        begin, end = halves(sentence)
        others = rng.sample([s for s in sentences if s != sentence], CHOICES - 1)
        ends = [end] + [halves(s)[1] for s in others]
        order = rng.sample(range(CHOICES), CHOICES)
        rows.append({"begin": begin, "ends": [ends[k] for k in order], "label": order.index(0)})
    return rows


def rolling_rows(text: str) -> list[dict]:
    paragraphs = [p.strip() for p in re.split(r"\n\s*\n", text)]
    return [{"text": p} for p in paragraphs if len(p.split()) > 40][:PARAGRAPHS]


def sum_rows(rng: random.Random) -> list[dict]:
    rows = []
    for _ in range(SUMS):
        a, b = rng.randrange(2, 50), rng.randrange(2, 50)
        shown = f"Q: What is {a} plus {b}?\nA: {a} plus {b} is {a + b}.\n\n"
        rows.append({"question": f"{shown}Q: What is {b} plus {a}?\nA:",
                     "answer": f" {b} plus {a} is {a + b}."})  # fmt: skip
    return rows


def write_tasks(folder: pathlib.Path) -> list[str]:
    rng = random.Random(3)
    text = TEXT.read_text(encoding="utf-8")
    tasks = {
        "sluice_cloze": (CLOZE, cloze_rows(text, rng)),
        "sluice_paragraphs": (ROLLING, rolling_rows(text)),
        "sluice_sums": (GENERATE, sum_rows(rng)),
    }
    for name, (task, rows) in tasks.items():
        data = folder / f"{name}.jsonl"
        data.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        whole = {"task": name, "dataset_path": "json", "test_split": "test",
                 "dataset_kwargs": {"data_files": {"test": str(data)}}, **task}  # fmt: skip
        (folder / f"{name}.yaml").write_text(json.dumps(whole), encoding="utf-8")  # JSON is YAML
    return list(tasks)


def evaluate(args, url: str, folder: pathlib.Path, tasks: list[str]) -> None:
    model = f"model=default,base_url={url}/v1/completions,num_concurrent=4,max_length=2048"
    model += f",tokenizer_backend=huggingface,tokenizer={folder / 'tokenizer'}"
    command = [args.lm_eval, "run", "--model", "local-completions", "--model_args", model,
               "--tasks", ",".join(tasks), "--include_path", str(folder),
               "--output_path", str(folder / "out"), "--log_samples"]  # fmt: skip
    offline = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1",
               "HF_HOME": str(folder / "hf")}  # fmt: skip
    subprocess.run(command, check=True, env=offline)


def ids_of(url: str, text: str) -> list[int]:
    body = json.dumps({"prompt": text, "add_special_tokens": False}).encode()
    request = urllib.request.Request(
        f"{url}/tokenize", body, headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["tokens"]


def exact_log_likelihood(args, ids: list[int], begin: int, vocabulary: int) -> float:
    total = 0.0
    for k in range(begin, len(ids)):
        command = [args.binary, "logits", args.model, "--exact", "--ids", "-",
                   "--top", str(vocabulary), "-o", "json"]  # fmt: skip
        run = subprocess.run(
            command, input=json.dumps(ids[:k]), capture_output=True, text=True, check=True
        )
        logits = json.loads(run.stdout)
        total += dict(logits["top"])[ids[k]] - logits["logsumexp"]
    return total


def check(args, url: str, folder: pathlib.Path) -> bool:
    (samples,) = (folder / "out").rglob("samples_sluice_cloze*.jsonl")
    rows = [json.loads(line) for line in samples.read_text().splitlines()][:CHECKED]
    good = len(rows) == CHECKED
    tokenizer = json.loads((folder / "tokenizer" / "tokenizer.json").read_text())
    vocabulary = len(tokenizer["model"]["vocab"])
    for row in rows:
        sent = row["arguments"]["gen_args_0"]
        ids = ids_of(url, sent["arg_0"] + sent["arg_1"])
        begin = len(ids_of(url, sent["arg_0"]))
        ours = float(row["resps"][0][0][0])
        exact = exact_log_likelihood(args, ids, begin, vocabulary)
        good = good and abs(ours - exact) <= TOLERANCE * abs(exact)
        print(f"{len(ids) - begin} tokens: log-likelihood {ours:.3f} by lm-eval, {exact:.3f} exact")
    return good


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("--lm-eval", default="lm_eval")
    parser.add_argument("--binary", default=str(ROOT / "build/release/bin/sluice"))
    args = parser.parse_args()
    if shutil.which(args.lm_eval) is None:
        parser.error(f"'{args.lm_eval}' is not installed: pip install 'lm_eval[api]' transformers")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        writer = ROOT / "tools" / "write_hf_tokenizer.py"
        subprocess.run([sys.executable, writer, args.model, folder / "tokenizer"], check=True)
        tasks = write_tasks(folder)
        serve = [args.binary, "serve", args.model, "--port", "0", "--served-model-name", "default"]
        with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True) as server:
            try:
                found = re.search(r"listening on (http\S+)", server.stdout.readline())
                if not found:
                    return 1  # it has said why
                evaluate(args, found.group(1), folder, tasks)
                good = check(args, found.group(1), folder)
            finally:
                server.terminate()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
