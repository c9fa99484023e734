"""What only a gateway may ask of an engine, with the default model: resumed streams, salts, events;
and the same over TLS."""

import http.client
import json
import pathlib
import signal
import ssl
import subprocess
import tempfile
import time
import unittest

from http_exchange import DEADLINE_S
from running_server import RunningServer, binary

KEY = "a key of sixteen bytes and more"
SMALL = ("--kv-budget", "256MiB")
CHAT = "/v1/chat/completions"
QUESTION = [{"role": "user", "content": "Name three colours and say why the sky is blue."}]


class Keyed(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.key_file = pathlib.Path(cls.folder.name, "key")
        cls.key_file.write_text(KEY + "\n")
        cls.server = RunningServer(*SMALL, "--gateway-key-file", str(cls.key_file))

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__(None, None, None)
        cls.folder.cleanup()

    def post(self, body: dict, key: str = KEY) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=DEADLINE_S)
        self.addCleanup(connection.close)
        connection.request("POST", CHAT, json.dumps(body), {"x-sluice-key": key})
        return connection.getresponse()

    def stream(self, body: dict, extension: dict):
        """Events with a choice, and the usage."""
        extension = {"token_ids": True} | extension
        options = {"stream": True, "stream_options": {"include_usage": True}, "sluice": extension}
        lines = self.post(body | options).read().decode().splitlines()
        events = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
        self.assertFalse([event for event in events if "error" in event])
        return [e["choices"][0] for e in events if e["choices"]], events[-1]["usage"]


def text(choices) -> str:
    return "".join(choice["delta"].get("content", "") for choice in choices)


def ids(choices) -> list[int]:
    return [token for choice in choices for token in choice.get("token_ids", [])]


class Resume(Keyed):
    def test_a_stream_goes_on_where_it_was_cut(self):
        for sampling in (
            {"temperature": 0},
            {"temperature": 1.0, "seed": 5, "stop": ["the sun", ". "]},
            {"temperature": 1.2, "seed": 9, "top_p": 0.9, "frequency_penalty": 0.8},
        ):
            body = {"messages": QUESTION, "max_tokens": 24} | sampling
            whole, usage = self.stream(body, {})
            self.assertEqual(len(ids(whole)), usage["completion_tokens"])
            for cut in range(1, len(whole)):
                before = ids(whole[:cut])
                if not before:
                    continue
                rest, rest_usage = self.stream(body, {"resume_ids": before})
                with self.subTest(sampling=sampling, cut=cut):
                    self.assertEqual(text(whole[:cut]) + text(rest), text(whole))
                    self.assertEqual(before + ids(rest), ids(whole))
                    self.assertEqual(rest[-1]["finish_reason"], whole[-1]["finish_reason"])
                    for count in ("prompt_tokens", "completion_tokens"):
                        self.assertEqual(rest_usage[count], usage[count])

    def test_tenants_do_not_see_each_other(self):
        words = " ".join(f"word{i}" for i in range(60))
        body = {"messages": [{"role": "user", "content": words}], "max_tokens": 1}

        def cached(salt: str) -> int:
            answer = json.load(self.post(body | {"sluice": {"cache_salt": salt}}))
            return answer["usage"]["prompt_tokens_details"]["cached_tokens"]

        self.assertEqual(cached("one"), 0)
        self.assertGreater(cached("one"), 0)
        self.assertEqual(cached("two"), 0)

    def test_the_key_is_asked_for(self):
        body = {"messages": QUESTION, "max_tokens": 1, "sluice": {}}
        self.assertEqual(self.post(body).status, 200)
        self.assertEqual(self.post(body, "wrong").status, 401)
        self.assertNotIn(KEY, self.server.log())


class Tls(unittest.TestCase):
    def certificate(self, name: str, folder: str) -> list[str]:
        files = [f"{folder}/cert.pem", f"{folder}/key.pem"]
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-nodes", "-days", "1", "-subj", "/CN=test",
             "-addext", f"subjectAltName=DNS:{name},IP:127.0.0.1",
             "-out", files[0], "-keyout", files[1]], check=True, capture_output=True)  # fmt: skip
        return files

    def names(self, port: int, folder: str) -> list[str]:
        """Of the certificate that a new connection is shown, which is trusted; asks for health."""
        context = ssl.create_default_context(cafile=f"{folder}/cert.pem")
        connection = http.client.HTTPSConnection(
            "127.0.0.1", port, timeout=DEADLINE_S, context=context
        )
        connection.request("GET", "/health")
        known = connection.sock.getpeercert()["subjectAltName"]
        names = [name for kind, name in known if kind == "DNS"]
        self.assertEqual(connection.getresponse().status, 200)
        connection.close()
        return names

    def test_a_certificate_can_be_changed_while_it_serves(self):
        for verb in ("serve", "up"):
            with self.subTest(verb), tempfile.TemporaryDirectory() as folder:
                cert, key = self.certificate("first.test", folder)
                options = (*SMALL, "--tls-cert", cert, "--tls-key", key)
                with RunningServer(*options, verb=verb) as server:
                    self.assertTrue(server.url.startswith("https://"))
                    self.assertEqual(self.names(server.port, folder), ["first.test"])
                    self.certificate("second.test", folder)
                    server.process.send_signal(signal.SIGHUP)
                    deadline = time.monotonic() + DEADLINE_S
                    while "read again" not in server.log():
                        self.assertLess(time.monotonic(), deadline)
                    self.assertEqual(self.names(server.port, folder), ["second.test"])

    def bench(self, url: str, *options: str) -> int:
        words = ["--url", url, "-c", "1", "-r", "1", "-p", "8", "-n", "2", *options]
        command = [binary(), "bench", "serve", *words]
        return subprocess.run(command, capture_output=True, timeout=DEADLINE_S).returncode

    def test_bench_believes_whom_it_is_told_to(self):
        with tempfile.TemporaryDirectory() as folder:
            cert, key = self.certificate("first.test", folder)
            with RunningServer(*SMALL, "--tls-cert", cert, "--tls-key", key) as server:
                self.assertEqual(self.bench(server.url, "--ca-file", cert), 0)
                self.assertNotEqual(self.bench(server.url), 0)


if __name__ == "__main__":
    unittest.main()
