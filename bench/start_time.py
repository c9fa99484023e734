"""How long `sluice serve` takes from the start of the process to its first token.

    tools/python bench/start_time.py build/release/bin/sluice model.gguf --runs 5

Each run starts the process, asks for one streamed chat completion over a connection that is tried
until it is accepted, and reads up to the first text. Prints milliseconds: until "listening on", and
until the first token; the middle of the runs and their ends.
"""

import argparse
import json
import re
import socket
import statistics
import subprocess
import time

BODY = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1, "stream": True}


def first_token_s(port: int) -> float:
    body = json.dumps(BODY).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(head.encode() + body)
        received = b""
        while not re.search(rb'"content":"[^"]', received):
            more = connection.recv(65536)
            if not more:
                raise RuntimeError(f"no token came: {received.decode()}")
            received += more
    return time.monotonic()


def run(command: list[str]) -> tuple[float, float]:
    begin = time.monotonic()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            line = process.stdout.readline()
            listening = time.monotonic()
            port = int(line.rsplit(":", 1)[1])
            return listening - begin, first_token_s(port) - begin
        finally:
            process.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary")
    parser.add_argument("model")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("options", nargs="*", help="of serve, behind --")
    asked = parser.parse_args()
    command = [asked.binary, "serve", asked.model, "--port", "0", *asked.options]
    runs = [run(command) for _ in range(asked.runs)]
    for name, values in zip(("listening", "first token"), zip(*runs)):
        ms = [round(1000 * value) for value in values]
        print(f"{name:12} median {statistics.median(ms)} ms, {min(ms)} to {max(ms)}")


if __name__ == "__main__":
    main()
