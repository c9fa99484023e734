"""Bad input: each request gets the right status and an error object that says what is wrong, and
the server then answers a good one."""

import json
import socket
import unittest

from http_exchange import DEADLINE_S, exchange, post, post_json, receive
from running_server import RunningServer

CHAT = "/v1/chat/completions"
TEXT = "/v1/completions"
GOOD = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}


def chat(**fields) -> bytes:
    return post_json(CHAT, GOOD | fields)


def message(**fields) -> bytes:
    return post_json(CHAT, {"messages": [fields]})


def text(**fields) -> bytes:
    return post_json(TEXT, {"prompt": "Hi", "max_tokens": 1} | fields)


def raw(body: bytes) -> bytes:
    return post(CHAT, body)


def http(*lines: str, body: bytes = b"") -> bytes:
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


# name, bytes, status, text that the error object holds (its message, param or code)
ROWS = [
    # No JSON.
    ("empty body", raw(b""), 400, "empty"),
    ("half an object", raw(b'{"messages":'), 400, "not valid JSON"),
    ("not an object", raw(b"[1,2]"), 400, "must be a JSON object"),
    ("a lone string", raw(b'"hello"'), 400, "must be a JSON object"),
    ("text after the object", raw(b'{"a":1} x'), 400, "not valid JSON"),
    ("single quotes", raw(b"{'messages': []}"), 400, "not valid JSON"),
    ("trailing comma", raw(b'{"messages":[],}'), 400, "not valid JSON"),
    ("NaN", raw(b'{"temperature":NaN}'), 400, "not valid JSON"),
    ("Infinity", raw(b'{"temperature":-Infinity}'), 400, "not valid JSON"),
    ("number beyond double", raw(b'{"temperature":1e999}'), 400, "number"),
    ("leading zero", raw(b'{"n":01}'), 400, "not valid JSON"),
    ("invalid UTF-8", raw(b'{"messages":[{"role":"user","content":"\xff"}]}'), 400, "UTF-8"),
    ("UTF-8 surrogate", raw(b'{"a":"\xed\xa0\x80"}'), 400, "UTF-8"),
    ("overlong UTF-8", raw(b'{"a":"\xc0\xaf"}'), 400, "UTF-8"),
    ("lone \\u surrogate", raw(b'{"a":"\\ud800"}'), 400, "not valid JSON"),
    ("control character", raw(b'{"a":"\x01"}'), 400, "not valid JSON"),
    ("deep nesting", raw(b"[" * 100_000), 400, "JSON|deeper"),
    ("nesting one too deep", raw(b'{"a":' + b"[" * 64 + b"]" * 64 + b"}"), 400, "deeper than 64"),
    ("duplicate key", raw(b'{"model":"a","model":"b"}'), 400, "'model' occurs twice"),
    # Wrong types and ranges.
    ("messages missing", raw(b"{}"), 400, "'messages' is missing"),
    ("messages empty", chat(messages=[]), 400, "at least one message"),
    ("messages an object", chat(messages={"role": "user"}), 400, "'messages' must be"),
    ("message a string", chat(messages=["hi"]), 400, "messages[0]"),
    ("role missing", message(content="hi"), 400, "messages[0].role"),
    ("role unknown", message(role="boss", content="hi"), 400, "'boss'"),
    ("content missing", message(role="user"), 400, "messages[0].content"),
    ("content a number", message(role="user", content=5), 400, "messages[0].content"),
    ("image", message(role="user", content=[{"type": "image_url"}]), 400, "image_url"),
    ("part without text", message(role="user", content=[{"type": "text"}]), 400, "is missing"),
    ("temperature text", chat(temperature="hot"), 400, "temperature"),
    ("temperature negative", chat(temperature=-1), 400, "temperature"),
    ("temperature huge", chat(temperature=1e300), 400, "temperature"),
    ("top_p zero", chat(top_p=0), 400, "top_p"),
    ("top_k fraction", chat(top_k=1.5), 400, "top_k"),
    ("min_p above one", chat(min_p=1.01), 400, "min_p"),
    ("presence_penalty", chat(presence_penalty=2.5), 400, "presence_penalty"),
    ("repetition_penalty zero", chat(repetition_penalty=0), 400, "repetition_penalty"),
    ("max_tokens zero", chat(max_tokens=0), 400, "max_tokens"),
    ("max_tokens negative", chat(max_tokens=-1), 400, "max_tokens"),
    ("max_tokens huge", chat(max_tokens=10**18), 400, "max_tokens"),
    ("an integer beyond 64 bits", chat(max_tokens=10**30), 400, "out of range"),
    ("max_tokens text", chat(max_tokens="5"), 400, "max_tokens"),
    ("max_tokens over context", chat(max_tokens=2**31 - 1), 400, "context_length_exceeded"),
    ("min_tokens over max", chat(min_tokens=2), 400, "min_tokens"),
    ("n zero", chat(n=0), 400, "'n' must be from 1"),
    ("n over limit", chat(n=17), 400, "'n' must be from 1 to 16"),
    ("seed beyond 63 bits", chat(seed=2**63), 400, "seed"),
    ("stop a number", chat(stop=3), 400, "stop"),
    ("stop empty", chat(stop=[""]), 400, "stop"),
    ("too many stops", chat(stop=["a"] * 17), 400, "at most 16"),
    ("stop too long", chat(stop="a" * 1025), 400, "at most 1024"),
    ("stop_token_ids outside", chat(stop_token_ids=[10**6]), 400, "stop_token_ids"),
    ("logit_bias a list", chat(logit_bias=[1]), 400, "logit_bias"),
    ("logit_bias key", chat(logit_bias={"one": 1}), 400, "'one'"),
    ("logit_bias outside", chat(logit_bias={"1000000": 1}), 400, "logit_bias"),
    ("logit_bias value", chat(logit_bias={"1": 1000}), 400, "logit_bias"),
    ("logprobs a number", chat(logprobs=1), 400, "logprobs"),
    ("top_logprobs alone", chat(top_logprobs=1), 400, "top_logprobs"),
    ("top_logprobs over limit", chat(logprobs=True, top_logprobs=21), 400, "top_logprobs"),
    ("stream a text", chat(stream="true"), 400, "stream"),
    ("stream_options alone", chat(stream_options={}), 400, "stream_options"),
    ("cache_salt a number", chat(cache_salt=1), 400, "cache_salt"),
    ("kwargs a list", chat(chat_template_kwargs=[]), 400, "chat_template_kwargs"),
    # Not supported yet, and not dropped in silence.
    ("tools", chat(tools=[{"type": "function"}]), 400, "tools"),
    ("tool_choice", chat(tool_choice="auto"), 400, "tool_choice"),
    ("functions", chat(functions=[{}]), 400, "functions"),
    ("tool message", message(role="tool", content="x"), 400, "tool calls"),
    ("response_format", chat(response_format={"type": "json_object"}), 400, "response_format"),
    ("audio", chat(audio={"voice": "x"}), 400, "audio"),
    ("modalities", chat(modalities=["text", "audio"]), 400, "modalities"),
    ("best_of", text(best_of=2), 400, "best_of"),
    ("suffix", text(suffix="x"), 400, "suffix"),
    ("guided_json", chat(guided_json={}), 400, "guided_json"),
    # Prompts.
    ("prompt missing", post_json(TEXT, {"max_tokens": 1}), 400, "prompt"),
    ("prompt empty", text(prompt=""), 400, "prompt"),
    ("prompt an empty list", text(prompt=[]), 400, "prompt"),
    ("prompt mixed", text(prompt=[1, "a"]), 400, "prompt"),
    ("prompt id negative", text(prompt=[-1]), 400, "prompt"),
    ("prompt id outside", text(prompt=[10**8]), 400, "prompt"),
    ("too many prompts", text(prompt=["a"] * 129), 400, "at most 128"),
    ("too many choices", text(prompt=["a"] * 128, n=16), 400, "2048 choices"),
    ("too long a prompt", text(prompt="word " * 50_000), 400, "context_length_exceeded"),
    ("far too long a prompt", text(prompt="a" * 9_000_000), 400, "context_length_exceeded"),
    ("too long a chat", message(role="user", content="x " * 50_000), 400, "maximum context"),
    ("tokenize nothing", post_json("/tokenize", {}), 400, "prompt"),
    ("detokenize outside", post_json("/detokenize", {"tokens": [10**9]}), 400, "tokens"),
    # Names.
    ("unknown model", chat(model="gpt-9"), 404, "model_not_found"),
    ("unknown path", http("GET /v2/nothing HTTP/1.1", "Host: x"), 404, "/v2/nothing"),
    ("unknown model id", http("GET /v1/models/a%2fb HTTP/1.1", "Host: x"), 404, "a/b"),
    ("wrong method", http(f"GET {CHAT} HTTP/1.1", "Host: x"), 405, "takes POST"),
    ("wrong method of a list", http("DELETE /v1/models HTTP/1.1", "Host: x"), 405, "takes GET"),
    # No valid HTTP, and attempts to be understood in two ways.
    ("no HTTP at all", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400,
     "request line"),
    ("two lengths", http(f"POST {CHAT} HTTP/1.1", "Host: x", "Content-Length: 2",
                         "Content-Length: 3", body=b"{}x"), 400, "more than one Content-Length"),
    ("length and chunks", http(f"POST {CHAT} HTTP/1.1", "Host: x", "Content-Length: 2",
                               "Transfer-Encoding: chunked", body=b"0\r\n\r\n"), 400,
     "both Content-Length and"),
    ("a list of lengths", http(f"POST {CHAT} HTTP/1.1", "Host: x", "Content-Length: 2, 3",
                               body=b"{}"), 400, "decimal number"),
    ("negative length", http(f"POST {CHAT} HTTP/1.1", "Host: x", "Content-Length: -1"), 400,
     "decimal number"),
    ("length with a sign", http(f"POST {CHAT} HTTP/1.1", "Host: x", "Content-Length: +2",
                                body=b"{}"), 400, "decimal number"),
    ("chunked twice", http(f"POST {CHAT} HTTP/1.1", "Host: x",
                           "Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n"), 501,
     "chunked"),
    ("bad chunk size", http(f"POST {CHAT} HTTP/1.1", "Host: x", "Transfer-Encoding: chunked",
                            body=b"zz\r\n"), 400, "chunk size"),
    ("space before the colon", http("GET /health HTTP/1.1", "Host : x"), 400, "header name"),
    ("folded header", http("GET /health HTTP/1.1", "Host: x", "A: b", " c"), 400, "folded"),
    ("NUL in a header", http("GET /health HTTP/1.1", "Host: x", "A: \0"), 400, "control character"),
    ("no host", http("GET /health HTTP/1.1"), 400, "Host header is missing"),
    ("two hosts", http("GET /health HTTP/1.1", "Host: a", "Host: b"), 400, "more than one Host"),
    ("HTTP/2.0", http("GET /health HTTP/2.0", "Host: x"), 505, "only HTTP/1.1"),
    ("header too large", http("GET /health HTTP/1.1", "Host: x", "A: " + "a" * 70_000), 431,
     "headers are too long"),
    ("target too long", http("GET /" + "a" * 9_000 + " HTTP/1.1", "Host: x"), 414,
     "line is too long"),
    ("body too large", http(f"POST {CHAT} HTTP/1.1", "Host: x", "Content-Length: 33554433"), 413,
     "body is too large"),
    ("slow headers", b"GET /health HTTP/1.1\r\nHost:", 408, "headers took too long"),
    ("slow body", http(f"POST {CHAT} HTTP/1.1", "Host: x", "Content-Length: 9", body=b"{"), 408,
     "body took too long"),
]  # fmt: skip


class BadRequests(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = RunningServer(
            "--kv-budget", "256MiB", "--header-timeout", "0.4", "--body-timeout", "0.4"
        ).__enter__()
        cls.addClassCleanup(cls.server.__exit__, None, None, None)

    def good_request(self):
        status, _, body = exchange(self.server.port, post_json(CHAT, GOOD))
        self.assertEqual(status, 200, body)
        self.assertEqual(json.loads(body)["usage"]["completion_tokens"], 1)

    def test_each_is_refused_with_a_reason(self):
        self.assertGreaterEqual(len(ROWS), 60)
        for name, request, expected_status, expected_text in ROWS:
            with self.subTest(name):
                status, headers, body = exchange(self.server.port, request)
                self.assertEqual(status, expected_status, body)
                self.assertTrue(headers["content-type"].startswith("application/json"))
                error = json.loads(body)["error"]
                self.assertEqual(set(error), {"message", "type", "param", "code"})
                self.assertTrue(error["message"])
                found = f"{error['message']} {error['param']} {error['code']}"
                self.assertTrue(any(t in found for t in expected_text.split("|")), found)
        self.good_request()

    def test_a_refusal_leaves_the_connection_usable(self):
        two = chat(temperature=9) + chat()
        with socket.create_connection(("127.0.0.1", self.server.port), DEADLINE_S) as connection:
            connection.settimeout(DEADLINE_S)
            connection.sendall(two)
            received = b""
            while b'"usage"' not in received:
                received += receive(connection)
        refused, answered = received.split(b"HTTP/1.1 200", 1)
        self.assertTrue(refused.startswith(b"HTTP/1.1 400"), refused)
        self.assertIn(b"temperature", refused)
        self.assertIn(b'"choices"', answered)


if __name__ == "__main__":
    unittest.main(verbosity=2)
