#!/usr/bin/env python3
"""The same greedy text from Sluice and from llama.cpp, of a Hugging Face folder that
`sluice quantize` made a GGUF file. Both round activations, each in its own way, so where the best
two logits are closer than TIE the two may part.

    tools/python tools/peers/greedy_text.py --sluice build/release/bin/sluice \
        --llama-server llama.cpp/build/bin/llama-server FOLDER
"""

import argparse
import json
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

PROMPTS = (
    "Once upon a time there was a small",
    "The capital of France is",
    "<｜User｜>Explain how a bicycle works.<｜Assistant｜>",
    "1 2 3 4 5",
)
TOKENS = 48
TIE = 0.05
START_SECONDS_MAX = 60


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def post(url: str, body: dict) -> dict:
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)


def wait_until_ready(url: str, server: subprocess.Popen) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while True:
        try:
            with urllib.request.urlopen(url + "/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            if server.poll() is not None:
                sys.exit(f"llama-server ended with {server.returncode} instead of loading the file")
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def run_sluice(sluice: str, verb: str, model: str, ids: list[int], *options: str) -> dict:
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(ids, file)
        file.flush()
        command = [sluice, verb, model, "--ids", file.name, "-o", "json", *options]
        return json.loads(subprocess.check_output(command))


def verdict(sluice: str, model: str, prompt: list[int], own: list[int], peer: list[int]) -> str:
    """"same", "tie at token N" or "DIFFERENT"."""
    if own == peer:
        return "same"
    at = next(i for i, pair in enumerate(zip(own, peer)) if pair[0] != pair[1])
    top = run_sluice(sluice, "logits", model, prompt + own[:at], "--top", "2")["top"]
    gap = top[0][1] - top[1][1]
    if gap <= TIE and {own[at], peer[at]} == {top[0][0], top[1][0]}:
        return f"same to token {at}, a tie ({gap:.4f} apart)"
    return f"DIFFERENT from token {at} on ({gap:.4f} apart)"


def compare(arguments: argparse.Namespace, kind: str, folder: pathlib.Path) -> int:
    """The number of prompts whose continuations differ."""
    model = str(folder / f"{kind}.gguf")
    subprocess.check_call(
        [arguments.sluice, "quantize", arguments.folder, model, "--type", kind],
        stdout=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{free_port()}"
    port = url.rsplit(":", 1)[1]
    server = subprocess.Popen(
        [arguments.llama_server, "-m", model, "--host", "127.0.0.1", "--port", port, "-c", "1024",
         "--no-repack"],  # its repacked experts abort on processors with AMX
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    different = 0
    try:
        wait_until_ready(url, server)
        for prompt in PROMPTS:
            ids = post(url + "/tokenize", {"content": prompt, "add_special": True})["tokens"]
            own_ids = json.loads(
                subprocess.check_output(
                    [arguments.sluice, "tokenize", model, "--add-special", "-o", "json"],
                    input=prompt.encode(),
                )
            )
            if ids != own_ids:
                print(f"{kind}: {prompt!r} is {own_ids} to sluice, {ids} to llama.cpp")
                different += 1
                continue
            answer = post(url + "/completion", {
                "prompt": ids, "n_predict": TOKENS, "temperature": 0, "ignore_eos": True,
                "cache_prompt": False, "return_tokens": True,
            })  # fmt: skip
            found = run_sluice(arguments.sluice, "generate", model, ids, "-n", str(TOKENS),
                               "--greedy")["ids"]  # fmt: skip
            word = verdict(arguments.sluice, model, ids, found, answer["tokens"])
            different += word.startswith("DIFFERENT")
            print(f"{kind}: {prompt!r}: {word}: {answer['content'][:60]!r}")
    finally:
        server.terminate()
        server.wait()
    return different


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sluice", required=True)
    parser.add_argument("--llama-server", required=True)
    parser.add_argument("folder")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        different = sum(compare(arguments, kind, pathlib.Path(name)) for kind in ("BF16", "F16"))
    sys.exit(f"{different} continuations differ" if different else 0)


if __name__ == "__main__":
    main()
