"""What must not hang, leak or be taken for something else, for `serve` and for `up`."""

import concurrent.futures
import http.client
import json
import os
import pathlib
import resource
import signal
import socket
import time
import unittest

from http_exchange import DEADLINE_S, exchange, post_json, read_answer
from running_server import RunningServer

SMALL = ("--kv-budget", "256MiB")
COMPLETIONS = "/v1/completions"
VERBS = ("serve", "up")


def get(server, path, *headers):
    lines = [f"GET {path} HTTP/1.1", "Host: x", *headers, "", ""]
    return exchange(server.port, "\r\n".join(lines).encode())


def wait_until(condition, what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, what


class Stop(unittest.TestCase):
    def unread_answers(self, server):
        """A client that asks for much and reads nothing."""
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(DEADLINE_S)
        client.connect(("127.0.0.1", server.port))
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 3000)
        self.addCleanup(client.close)
        return client

    def test_a_client_that_reads_nothing_does_not_hold_it_up(self):
        for verb in VERBS:
            with self.subTest(verb), RunningServer(
                *SMALL, "--drain-timeout", "0.3", verb=verb
            ) as server:
                client = self.unread_answers(server)
                get(server, "/metrics")
                server.process.send_signal(signal.SIGTERM)
                begin = time.monotonic()
                self.assertEqual(server.process.wait(DEADLINE_S), 0)
                self.assertLess(time.monotonic() - begin, 10)
                client.close()

    def test_a_client_that_leaves_its_answer_does_not_hold_it_up(self):
        with RunningServer(*SMALL) as server:
            client = self.unread_answers(server)
            get(server, "/metrics")
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: "draining" in server.log(), "the drain begins")
            client.close()
            self.assertEqual(server.process.wait(DEADLINE_S), 0)

    def test_a_second_signal_ends_it_at_once(self):
        for verb in VERBS:
            with self.subTest(verb), RunningServer(*SMALL, verb=verb) as server:
                request = post_json(COMPLETIONS, {
                    "prompt": "a", "max_tokens": 5000, "stream": True,
                    "ignore_eos": True})  # fmt: skip
                with socket.create_connection(("127.0.0.1", server.port), DEADLINE_S) as client:
                    client.sendall(request)
                    self.assertIn(b"200", client.recv(4096))
                    server.process.send_signal(signal.SIGTERM)
                    wait_until(lambda: self.is_draining(server), "the drain begins")
                    server.process.send_signal(signal.SIGTERM)
                    self.assertEqual(server.process.wait(DEADLINE_S), 0)

    def is_draining(self, server):
        try:
            return get(server, "/health")[0] == 503
        except ConnectionError:
            return True  # `up` takes no connection any more


class Limits(unittest.TestCase):
    def test_connections_are_not_limited_by_the_soft_limit_of_descriptors(self):
        def few_descriptors():
            _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))

        for verb in VERBS:
            with self.subTest(verb), RunningServer(
                *SMALL, verb=verb, before_exec=few_descriptors
            ) as server:
                clients = [
                    socket.create_connection(("127.0.0.1", server.port), DEADLINE_S)
                    for _ in range(100)
                ]
                for client in clients:
                    client.sendall(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n")
                for client in clients:
                    self.assertEqual(read_answer(client)[0], 200)
                    client.close()

    def test_choices_at_their_edge(self):
        with RunningServer(*SMALL, "--choices-max", "4") as server:
            for n, expected in ((2, 200), (3, 400)):
                body = {"prompt": ["a", "b"], "n": n, "max_tokens": 1}
                status, _, answer = exchange(server.port, post_json(COMPLETIONS, body))
                self.assertEqual(status, expected, answer)

    def test_requests_that_wait_for_the_worker_at_their_edge(self):
        # Small ones never wait for it: a body of inline_body_bytes_max is read on the loop.
        many = {"prompt": "x", "unknown": [1] * 1_000_000}

        def ask(body):
            status, headers, answer = exchange(server.port, post_json("/tokenize", body))
            if status == 503:
                self.assertGreaterEqual(int(headers["retry-after"]), 1)
                self.assertIn(b"large requests", answer)
            return status

        for most, allowed in ((1, {200, 503}), (8, {200})):
            with RunningServer(*SMALL, "--prepare-queue-max", str(most)) as server:
                with concurrent.futures.ThreadPoolExecutor(8) as pool:
                    large = [pool.submit(ask, many) for _ in range(8)]
                    small = [pool.submit(ask, {"prompt": "x"}) for _ in range(8)]
                self.assertEqual({one.result() for one in large}, allowed)
                self.assertEqual({one.result() for one in small}, {200})

    def test_a_stranger_is_refused_before_the_body(self):
        for verb in VERBS:
            with self.subTest(verb), RunningServer(*SMALL, "--api-key", "k", verb=verb) as server:
                head = (f"POST {COMPLETIONS} HTTP/1.1\r\nHost: x\r\nContent-Length: 30000000\r\n"
                        "x-request-id: mine\r\n\r\n")  # fmt: skip
                status, headers, body = exchange(server.port, head.encode())
                self.assertEqual(status, 401)
                self.assertIn("x-request-id", headers)
                self.assertEqual(json.loads(body)["error"]["code"], "invalid_api_key")

    def test_refusals_of_the_http_layer_look_like_all_others(self):
        for verb in VERBS:
            with self.subTest(verb), RunningServer(
                *SMALL, "--body-max", "1KiB", verb=verb
            ) as server:
                post = f"POST {COMPLETIONS} HTTP/1.1\r\nHost: x\r\n"
                for request, expected in (
                    (post + "Content-Length: 1025\r\n\r\n", 413),
                    ("GET / HTTP/1.1\r\nHost: x\r\nA: " + "a" * 70000 + "\r\n\r\n", 431),
                ):
                    status, headers, body = exchange(server.port, request.encode())
                    self.assertEqual(status, expected)
                    self.assertTrue(headers["x-request-id"].startswith("req"))
                    self.assertEqual(headers["access-control-allow-origin"], "*")
                    self.assertIn("error", json.loads(body))


if __name__ == "__main__":
    unittest.main(verbosity=2)
