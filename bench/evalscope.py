#!/usr/bin/env python3
"""Appends a table of evalscope's to a report of `sluice bench report`: 2048 + 128 and 128 + 512
tokens, 1, 2 and 4 requests at once, against a `sluice serve` of its own.

    sluice bench report model.gguf --to report
    tools/python bench/evalscope.py model.gguf report.md [--evalscope evalscope]
        [--binary build/release/bin/sluice] [--sizes 2048:128 128:512] [--parallel 1 2 4]
        [--serve='--device cuda']

evalscope (from PyPI) is installed apart, and named with --evalscope where it is not in PATH; the
tokenizer that it wants is written from the model's own. Four requests for each stream.
"""

import argparse
import json
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
REQUESTS_PER_STREAM = 4
HEAD = """
## evalscope

`{command}`

| input | output | streams | requests | success | tok/s | TTFT p50, ms | TPOT p50, ms |
|---|---|---|---|---|---|---|---|
"""


def command_of(args, url: str, size: tuple[int, int], tokenizer: str, outputs: str) -> list[str]:
    prompt, answer = size
    numbers = [str(n * REQUESTS_PER_STREAM) for n in args.parallel]
    return [
        args.evalscope, "perf", "--parallel", *map(str, args.parallel), "--number", *numbers,
        "--url", f"{url}/v1/chat/completions", "--api", "openai", "--model", "default",
        "--tokenizer-path", tokenizer, "--dataset", "random", "--min-prompt-length", str(prompt),
        "--max-prompt-length", str(prompt), "--min-tokens", str(answer), "--max-tokens",
        str(answer), "--extra-args", '{"ignore_eos": true}', "--outputs-dir", outputs,
    ]  # fmt: skip


def row_of(folder: pathlib.Path, size: tuple[int, int]) -> str:
    """Of what one number of streams left in `folder`."""
    summary = json.loads((folder / "benchmark_summary.json").read_text())
    percentiles = json.loads((folder / "benchmark_percentile.json").read_text())
    (middle,) = (row for row in percentiles if row["Percentiles"] == "50%")
    requests = summary["Total Requests"]
    return (
        f"| {size[0]} | {size[1]} | {summary['Concurrency']} | {requests} "
        f"| {100 * summary['Success Requests'] / requests:.0f} % "
        f"| {summary['Output Throughput (tok/s)']:.1f} | {middle['TTFT (ms)']:.0f} "
        f"| {middle['TPOT (ms)']:.1f} |\n"
    )


def measure(args, url: str, tokenizer: str) -> str:
    rows = []
    for size in args.sizes:
        with tempfile.TemporaryDirectory() as outputs:
            command = command_of(args, url, size, tokenizer, outputs)
            subprocess.run(command, check=True, stdout=sys.stderr)
            summaries = pathlib.Path(outputs).rglob("benchmark_summary.json")
            found = {json.loads(s.read_text())["Concurrency"]: s.parent for s in summaries}
            rows += [row_of(found[streams], size) for streams in args.parallel]
    shown = command_of(args, "http://…", args.sizes[0], "TOKENIZER", "OUT")
    return HEAD.format(command=shlex.join(["evalscope", *shown[1:]])) + "".join(rows)


def size(text: str) -> tuple[int, int]:
    prompt, answer = text.split(":")
    return int(prompt), int(answer)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("report", type=pathlib.Path, help="Markdown file to append to")
    parser.add_argument("--evalscope", default="evalscope")
    parser.add_argument("--binary", default=str(ROOT / "build/release/bin/sluice"))
    parser.add_argument("--sizes", type=size, nargs="+", default=[(2048, 128), (128, 512)])
    parser.add_argument("--parallel", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--serve", default="", help="options for `sluice serve`")
    args = parser.parse_args()
    if shutil.which(args.evalscope) is None:
        parser.error(f"'{args.evalscope}' is not installed: pip install 'evalscope[perf]'")
    serve = [args.binary, "serve", args.model, "--port", "0", *shlex.split(args.serve)]
    with tempfile.TemporaryDirectory() as tokenizer:
        writer = ROOT / "tools" / "write_hf_tokenizer.py"
        subprocess.run([sys.executable, writer, args.model, tokenizer], check=True)
        with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True) as server:
            try:
                found = re.search(r"listening on (http\S+)", server.stdout.readline())
                if not found:
                    return 1  # it has said why
                table = measure(args, found.group(1), tokenizer)
            finally:
                server.terminate()
    with args.report.open("a", encoding="utf-8") as report:
        report.write(table)
    print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
