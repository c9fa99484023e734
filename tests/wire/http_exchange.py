"""HTTP without a client's good manners: any bytes out, the answer back, and /metrics as numbers."""

import json
import re
import socket
import time
import urllib.request

DEADLINE_S = 60


def exchange(port: int, request: bytes) -> tuple[int, dict, bytes]:
    """Status, headers (lower case) and body of the answer to these bytes on a new connection."""
    with socket.create_connection(("127.0.0.1", port), DEADLINE_S) as connection:
        connection.settimeout(DEADLINE_S)
        connection.sendall(request)
        return read_answer(connection)


def read_answer(connection: socket.socket) -> tuple[int, dict, bytes]:
    received = b""
    while b"\r\n\r\n" not in received:
        received += receive(connection)
    head, body = received.split(b"\r\n\r\n", 1)
    status_line, *lines = head.decode("latin-1").split("\r\n")
    headers = {k.strip().lower(): v.strip() for k, v in (line.split(":", 1) for line in lines)}
    while len(body) < int(headers.get("content-length", 0)):
        body += receive(connection)
    return int(status_line.split()[1]), headers, body


def receive(connection: socket.socket) -> bytes:
    data = connection.recv(65536)
    if not data:
        raise ConnectionError("closed before the answer was complete")
    return data


def post(path: str, body: bytes, *headers: str) -> bytes:
    """The bytes of a POST request with a correct length."""
    lines = [f"POST {path} HTTP/1.1", "Host: test", "Content-Type: application/json",
             f"Content-Length: {len(body)}", *headers]  # fmt: skip
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def post_json(path: str, body, *headers: str) -> bytes:
    return post(path, json.dumps(body).encode(), *headers)


def metrics(url: str) -> dict[str, float]:
    """Samples by name and labels other than model_name: 'sluice:kv_pages{state="used"}'."""
    samples = {}
    with urllib.request.urlopen(url + "/metrics", timeout=DEADLINE_S) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith("#"):
                continue
            name, value = line.rsplit(" ", 1)
            name = re.sub(r'model_name="[^"]*",?', "", name).replace("{}", "")
            samples[name] = float(value)
    return samples


def wait_for_metrics(url: str, what: str, condition) -> dict[str, float]:
    """Asks until the metrics meet the condition; fails after DEADLINE_S."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        samples = metrics(url)
        if condition(samples):
            return samples
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {DEADLINE_S} s: {what}; {samples}")


def is_idle(samples: dict[str, float]) -> bool:
    return (
        samples["vllm:num_requests_running"] == 0
        and samples["vllm:num_requests_waiting"] == 0
        and samples['sluice:kv_pages{state="used"}'] == 0
    )
