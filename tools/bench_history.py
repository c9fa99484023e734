#!/usr/bin/env python3
"""Measures a model with `sluice bench` and appends a line per test to a history file.

    tools/bench_history.py MODEL.gguf [-p 512] [-n 128] [-d 0] [--streams 1] [-r 5]
        [--kv-type auto] [--binary build/release/bin/sluice] [--file bench/history/cpu.jsonl]
        [--commit NAME]

A line holds the date, commit, machine, kernels, command, median and spread (lowest, highest) of
the samples in tok/s, and the share of the machine's measured limit. Nothing else should run.
"""

import argparse
import datetime
import json
import pathlib
import statistics
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent


def output_of(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout


def commit_of_tree():
    """HEAD, "-dirty" where a tracked file differs: lines added to a history do not count."""
    head = output_of("git", "describe", "--always").strip()
    changes = output_of("git", "status", "--porcelain", "--untracked-files=no", "--", ".",
                        ":(exclude)bench/history")  # fmt: skip
    return head + ("-dirty" if changes else "")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("-p", default="512")
    parser.add_argument("-n", default="128")
    parser.add_argument("-d", default="0")
    parser.add_argument("--streams", default="1")
    parser.add_argument("-r", default="5")
    parser.add_argument("--kv-type", default="auto")
    parser.add_argument("--binary", default="build/release/bin/sluice")
    parser.add_argument("--file", default="bench/history/cpu.jsonl")
    parser.add_argument("--commit", help="of the binary; the tree's if not given")
    args = parser.parse_args()

    options = ["-p", args.p, "-n", args.n, "-d", args.d, "--streams", args.streams, "-r", args.r]
    options += ["--kv-type", args.kv_type] if args.kv_type != "auto" else []
    rows = json.loads(output_of(args.binary, "bench", args.model, *options, "-o", "json"))
    commit = args.commit or commit_of_tree()
    command = " ".join(["sluice bench", pathlib.Path(args.model).name, *options])
    history = ROOT / args.file
    history.parent.mkdir(parents=True, exist_ok=True)
    with history.open("a", encoding="utf-8") as out:
        for row in rows:
            samples = row["samples_ts"]
            line = {
                "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
                "commit": commit,
                "machine": f"{row['cpu_info']}, {row['n_threads']} threads",
                "kernels": row["kernels"],
                "model": row["model_name"],
                "command": command,
                "test": f"pp{row['n_prompt']}" if row["n_prompt"] else f"tg{row['n_gen']}",
                "median_tok_s": round(statistics.median(samples), 2),
                "spread_tok_s": [round(min(samples), 2), round(max(samples), 2)],
                "roof_share": round(row["roof_share"], 3),
            }
            print(json.dumps(line), file=out)
            print(json.dumps(line))


if __name__ == "__main__":
    main()
