"""The life of an engine's server: keys, names, browsers, limits, drain, thoughts."""

import http.client
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
import unittest

import openai

from http_exchange import DEADLINE_S, exchange, post_json
from running_server import RunningServer, binary, model

CHAT = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "Count to a hundred."}]
SMALL = ("--kv-budget", "256MiB")


def client_of(server, **options):
    return openai.OpenAI(
        base_url=server.url + "/v1", **({"api_key": "-", "max_retries": 0} | options)
    )


def stream_of(client, tokens, **fields):
    return client.chat.completions.create(
        model=client.models.list().data[0].id, messages=MESSAGES, max_tokens=tokens, stream=True,
        extra_body={"ignore_eos": True}, **fields,
    )  # fmt: skip


def get(server, path, *headers):
    lines = [f"GET {path} HTTP/1.1", "Host: x", *headers, "", ""]
    return exchange(server.port, "\r\n".join(lines).encode())


class Settings(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        os.environ["SLUICE_API_KEY"] = "from-environment"
        cls.addClassCleanup(os.environ.pop, "SLUICE_API_KEY")
        cls.server = RunningServer(
            *SMALL, "--api-key", "secret", "--served-model-name", "a/b", "--served-model-name", "c",
            "--n-max", "2",
            "--context-length", "100", "--body-max", "4KiB", "--header-max", "1KiB",
            "--stops-max", "2", "--idle-timeout", "0.3",
        ).__enter__()  # fmt: skip
        cls.addClassCleanup(cls.server.__exit__, None, None, None)

    def post(self, body, *headers, path=CHAT, key="secret"):
        request = post_json(path, body, f"Authorization: Bearer {key}", *headers)
        status, head, answer = exchange(self.server.port, request)
        return status, head, json.loads(answer)

    def test_key(self):
        for key in ("secret", "from-environment"):
            self.assertEqual(len(client_of(self.server, api_key=key).models.list().data), 2)
        for key in ("Secret", "secret2", "secre", "-"):
            with self.assertRaises(openai.AuthenticationError) as refused:
                client_of(self.server, api_key=key).models.list()
            self.assertEqual(refused.exception.code, "invalid_api_key")
        for path in ("/v1/models", "/server_info"):
            self.assertEqual(get(self.server, path)[0], 401)
        for path in ("/health", "/ping", "/metrics", "/version", "/livez", "/readyz"):
            self.assertEqual(get(self.server, path)[0], 200, path)

    def test_wrong_method_names_the_right_ones(self):
        status, headers, _ = get(self.server, CHAT)
        self.assertEqual((status, headers["allow"]), (405, "POST"))
        self.assertEqual(exchange(self.server.port, post_json("/health", {}))[1]["allow"], "GET")

    def test_names(self):
        body = {"messages": MESSAGES, "max_tokens": 1}
        self.assertEqual(self.post(body)[2]["model"], "a/b")
        self.assertEqual(self.post(body | {"model": "c"})[2]["model"], "c")
        self.assertEqual(self.post(body | {"model": "d"})[0], 404)
        status, _, answer = get(self.server, "/v1/models/a%2Fb", "Authorization: Bearer secret")
        self.assertEqual((status, json.loads(answer)["max_model_len"]), (200, 100))

    def test_browsers(self):
        request = b"OPTIONS " + CHAT.encode() + (
            b" HTTP/1.1\r\nHost: x\r\nOrigin: http://page\r\n"
            b"Access-Control-Request-Method: POST\r\n"
            b"Access-Control-Request-Headers: authorization,content-type\r\n\r\n"
        )  # fmt: skip
        status, headers, _ = exchange(self.server.port, request)
        self.assertEqual(status, 204)
        self.assertEqual(headers["access-control-allow-origin"], "*")
        self.assertIn("POST", headers["access-control-allow-methods"])
        self.assertEqual(headers["access-control-allow-headers"], "authorization,content-type")
        self.assertEqual(get(self.server, "/v1/models")[1]["access-control-allow-origin"], "*")

    def test_limits_at_their_edge(self):
        body = {"messages": MESSAGES, "max_tokens": 1}
        self.assertEqual(self.post(body | {"n": 2})[0], 200)
        self.assertEqual(self.post(body | {"n": 3})[0], 400)
        self.assertEqual(self.post(body | {"stop": ["x", "y"]})[0], 200)
        self.assertEqual(self.post(body | {"stop": ["x", "y", "z"]})[0], 400)
        ids = {"prompt": [5] * 99, "max_tokens": 1}
        self.assertEqual(self.post(ids, path="/v1/completions")[0], 200)
        status, _, answer = self.post(ids | {"max_tokens": 2}, path="/v1/completions")
        self.assertEqual((status, answer["error"]["code"]), (400, "context_length_exceeded"))

    def test_body_and_header_at_their_edge(self):
        body = {"messages": MESSAGES, "max_tokens": 1, "user": ""}
        rest = 4096 - len(json.dumps(body))
        self.assertEqual(self.post(body | {"user": "u" * rest})[0], 200)
        self.assertEqual(self.post(body | {"user": "u" * (rest + 1)})[0], 413)
        head = len("GET /health HTTP/1.1\r\nHost: x\r\nA: \r\n\r\n")
        self.assertEqual(get(self.server, "/health", "A: " + "a" * (1024 - head))[0], 200)
        self.assertEqual(get(self.server, "/health", "A: " + "a" * (1025 - head))[0], 431)

    def test_an_idle_connection_is_closed(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, DEADLINE_S)
        self.addCleanup(connection.close)
        connection.request("GET", "/livez")
        connection.getresponse().read()
        self.assertEqual(connection.sock.recv(1), b"")


class Starts(unittest.TestCase):
    def test_a_port_in_use_is_said_before_the_model_is_loaded(self):
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = str(other.getsockname()[1])
            done = subprocess.run([binary(), "serve", model(), "--port", port],
                                  capture_output=True, text=True, timeout=DEADLINE_S)  # fmt: skip
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, rf"\Asluice serve: cannot listen on 127.0.0.1 port {port}: ")

    def test_more_memory_than_there_is_gets_a_warning(self):
        there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        with RunningServer("--kv-budget", str(there)) as server:
            self.assertIn("warning  this machine has", server.log())
        with RunningServer(*SMALL) as server:
            self.assertNotIn("warning", server.log())


class Connections(unittest.TestCase):
    def test_at_their_edge(self):
        with RunningServer(*SMALL, "--connections-max", "8") as server:
            open_ones = []
            for _ in range(8):
                connection = http.client.HTTPConnection("127.0.0.1", server.port, DEADLINE_S)
                connection.request("GET", "/livez")
                self.assertEqual(connection.getresponse().read(), b'{"status":"ok"}')
                open_ones.append(connection)
            status, headers, answer = get(server, "/livez")
            self.assertEqual(status, 503)
            self.assertGreaterEqual(int(headers["retry-after"]), 1)
            self.assertIn("error", json.loads(answer))
            for connection in open_ones:
                connection.close()


class Queue(unittest.TestCase):
    def test_full_queue_answers_503_with_retry_after(self):
        with RunningServer(*SMALL, "--max-sequences", "1", "--queue-max", "1") as server:
            client = client_of(server)
            streams = [stream_of(client, 3000), stream_of(client, 10)]
            with self.assertRaises(openai.InternalServerError) as refused:
                stream_of(client, 10)
            self.assertEqual(refused.exception.status_code, 503)
            self.assertEqual(refused.exception.code, "overloaded")
            self.assertGreaterEqual(int(refused.exception.response.headers["retry-after"]), 1)
            streams[0].response.close()
            self.assertEqual(len([c for c in streams[1] if c.choices[0].finish_reason]), 1)


class Drain(unittest.TestCase):
    def test_running_ones_finish_new_ones_are_refused(self):
        with RunningServer(*SMALL, "--drain-timeout", str(DEADLINE_S)) as server:
            client = client_of(server)
            stream = stream_of(client, 100)
            events = iter(stream)
            next(events)
            server.process.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + DEADLINE_S
            while get(server, "/health")[0] == 200:
                self.assertLess(time.monotonic(), deadline)
            with self.assertRaises(openai.InternalServerError) as refused:
                stream_of(client, 10)
            self.assertEqual(refused.exception.status_code, 503)
            self.assertGreaterEqual(int(refused.exception.response.headers["retry-after"]), 1)
            self.assertEqual([e.choices[0].finish_reason for e in events][-1], "length")
            self.assertEqual(server.process.wait(DEADLINE_S), 0)

    def test_after_the_limit_they_get_an_error(self):
        with RunningServer(*SMALL, "--drain-timeout", "0.3") as server:
            events = iter(stream_of(client_of(server), 7000))
            next(events)
            server.process.send_signal(signal.SIGTERM)
            with self.assertRaisesRegex(openai.APIError, "shutting down"):
                list(events)
            self.assertEqual(server.process.wait(DEADLINE_S), 0)


class Pace(unittest.TestCase):
    def test_steps_take_their_time(self):
        with RunningServer(*SMALL, "--step-ms-min", "40", "--speculation", "off") as server:
            begun_s = time.monotonic()
            list(stream_of(client_of(server), 10))
            self.assertGreaterEqual(time.monotonic() - begun_s, 10 * 0.040)


class Silence(unittest.TestCase):
    def test_a_silent_stream_gets_pings(self):
        with RunningServer(*SMALL, "--max-sequences", "1", "--ping-after", "0.1") as server:
            running = stream_of(client_of(server), 3000)
            next(iter(running))
            connection = http.client.HTTPConnection("127.0.0.1", server.port, DEADLINE_S)
            body = {"messages": MESSAGES, "max_tokens": 1, "stream": True}
            connection.request("POST", CHAT, json.dumps(body))
            answer = connection.getresponse()
            self.assertEqual(answer.getheader("content-type"), "text/event-stream; charset=utf-8")
            self.assertEqual(answer.readline(), b": ping\n")
            running.response.close()
            self.assertIn(b"data: [DONE]", answer.read())
            connection.close()


class Thoughts(unittest.TestCase):
    def test_a_prompt_that_opens_them(self):
        template = (
            "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
            "{% endfor %}"
            "<|im_start|>assistant\n{% if enable_thinking is not defined or enable_thinking %}"
            "<think>\n{% endif %}"
        )
        with tempfile.NamedTemporaryFile("w", suffix=".jinja") as file:
            file.write(template)
            file.flush()
            with RunningServer(*SMALL, "--chat-template", file.name) as server:
                client = client_of(server)
                model = client.models.list().data[0].id

                def ask(**fields):
                    return client.chat.completions.create(
                        model=model, messages=MESSAGES, max_tokens=8, temperature=0, **fields
                    )

                answer = ask()
                message = answer.choices[0].message
                self.assertEqual(message.content, "")
                self.assertTrue(message.reasoning_content)
                details = answer.usage.completion_tokens_details
                self.assertEqual(details.reasoning_tokens, answer.usage.completion_tokens)
                streamed = "".join(
                    getattr(c.choices[0].delta, "reasoning_content", None) or ""
                    for c in ask(stream=True)
                )
                self.assertEqual(streamed, message.reasoning_content)
                for off in ({"enable_thinking": False},
                            {"chat_template_kwargs": {"enable_thinking": False}}):  # fmt: skip
                    plain = ask(extra_body=off).choices[0].message
                    self.assertTrue(plain.content)
                    self.assertFalse(hasattr(plain, "reasoning_content"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
