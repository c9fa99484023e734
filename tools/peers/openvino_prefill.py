#!/usr/bin/env python3
"""Prefill of `sluice bench` and of OpenVINO GenAI on one GGUF file, in turn, and their ratio.

    ENV/bin/python tools/peers/openvino_prefill.py build/release/bin/sluice MODEL.gguf
        [-p 512] [-t 2] [-r 5] [--pairs 3]

ENV is an environment with the package openvino-genai. Each run has other random ids and makes one
token more. Nothing else should run.
"""

import argparse
import json
import random
import statistics
import subprocess
import time

import numpy
import openvino
import openvino_genai


def seconds_of_prompt(pipe, tokens):
    ids = [random.randrange(1000, 40000) for _ in range(tokens)]
    inputs = openvino_genai.TokenizedInputs(
        openvino.Tensor(numpy.array([ids], dtype=numpy.int64)),
        openvino.Tensor(numpy.ones((1, tokens), dtype=numpy.int64)),
    )
    config = openvino_genai.GenerationConfig()
    config.max_new_tokens, config.ignore_eos, config.do_sample = 1, True, False
    begin_s = time.perf_counter()
    pipe.generate(inputs, config)
    return time.perf_counter() - begin_s


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("binary")
    parser.add_argument("model")
    parser.add_argument("-p", type=int, default=512)
    parser.add_argument("-t", type=int, default=2)
    parser.add_argument("-r", type=int, default=5)
    parser.add_argument("--pairs", type=int, default=3)
    asked = parser.parse_args()
    bench = [asked.binary, "bench", asked.model, "-p", str(asked.p), "-n", "0", "-t",
             str(asked.t), "-r", str(asked.r), "-o", "json"]  # fmt: skip
    ratios = []
    for _ in range(asked.pairs):
        (ours,) = json.loads(subprocess.run(bench, check=True, capture_output=True).stdout)
        pipe = openvino_genai.LLMPipeline(asked.model, "CPU", INFERENCE_NUM_THREADS=asked.t)
        seconds_of_prompt(pipe, asked.p)  # warms up
        theirs = asked.p / statistics.median(
            seconds_of_prompt(pipe, asked.p) for _ in range(asked.r)
        )
        del pipe
        ratios.append(ours["avg_ts"] / theirs)
        print(f"sluice {ours['avg_ts']:.0f}, OpenVINO {theirs:.0f} tok/s: {ratios[-1]:.2f}")
    print(f"median ratio {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
