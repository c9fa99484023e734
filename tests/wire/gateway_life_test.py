"""`sluice gateway` while its world changes: a reload and a pool's capacity under open connections,
the drain at its end, and a start while its store is away."""

import contextlib
import http.client
import http.server
import json
import pathlib
import signal
import sqlite3
import tempfile
import threading
import time
import unittest

from running_gateway import ONE_KEY, RunningGateway

DEADLINE_S = 30
SECRET = "sk-client-0123456789"
CONFIG = """
[[models]]
id = "m"
max_tokens_default = 16
[[pools]]
id = "here"
place = "local"
{capacity}
[[replicas]]
id = "engine"
pool = "here"
model = "m"
url = "http://127.0.0.1:{port}/v1"
"""
ONE_STREAM = "[pools.capacity]\nstreams_max = 1"
BODY = {"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": 4,
        "sluice": {"deadline_ms": 1}}  # fmt: skip


def event(content: str, finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": finish_reason}
    return b"data: " + json.dumps({"id": "c", "created": 1, "choices": [choice]}).encode() + b"\n\n"


class HeldEngine(http.server.BaseHTTPRequestHandler):
    """A stream's first token at once, the rest when the server is told to go on."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.server.shown = self.headers["Authorization"]
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        if not asked.get("stream"):
            body = json.dumps({
                "id": "c", "object": "chat.completion", "created": 1, "model": "m",
                "choices": [{"index": 0, "finish_reason": "stop",
                             "message": {"role": "assistant", "content": "yes"}}],
                "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10},
            }).encode()  # fmt: skip
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(event("a"))
        self.wfile.flush()
        self.server.go_on.wait(DEADLINE_S)
        self.wfile.write(event("b", "stop") + b"data: [DONE]\n\n")
        self.close_connection = True

    def log_message(self, *_):
        pass


class Client:
    """One connection that stays."""

    def __init__(self, gateway: RunningGateway):
        host = gateway.url.split("//")[1]
        self.connection = http.client.HTTPConnection(host, timeout=DEADLINE_S)
        self.connection.connect()
        self.socket = self.connection.sock

    def ask(self, **more) -> http.client.HTTPResponse:
        headers = {"Authorization": f"Bearer {SECRET}"}
        self.connection.request("POST", "/v1/chat/completions", json.dumps(BODY | more), headers)
        response = self.connection.getresponse()
        if not more:
            response.text = response.read().decode()
        return response

    def is_the_same(self) -> bool:
        return self.connection.sock is self.socket


class Life(unittest.TestCase):
    def setUp(self):
        self.engine = http.server.ThreadingHTTPServer(("127.0.0.1", 0), HeldEngine)
        self.engine.go_on = threading.Event()
        threading.Thread(target=self.engine.serve_forever, daemon=True).start()
        self.addCleanup(self.engine.server_close)
        self.addCleanup(self.engine.shutdown)
        self.addCleanup(self.engine.go_on.set)
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = temporary.name
        pathlib.Path(self.folder, "client").write_text(SECRET)

    def config(self, capacity: str = "") -> str:
        return ONE_KEY + CONFIG.format(capacity=capacity, port=self.engine.server_port)

    def begin_stream(self, client: Client) -> http.client.HTTPResponse:
        stream = client.ask(stream=True)
        self.assertEqual(stream.status, 200)
        self.assertIn(b'"a"', stream.readline())
        return stream

    def test_a_reload_holds_for_open_connections_and_cuts_none(self):
        with RunningGateway(self.config(), self.folder) as gateway:
            streaming, idle = Client(gateway), Client(gateway)
            self.assertEqual(idle.ask().status, 200)
            stream = self.begin_stream(streaming)
            self.assertEqual(idle.ask().status, 200)
            generation = gateway.admin("GET", "snapshot")[1]["generation"]
            gateway.write_config(self.config(ONE_STREAM))
            gateway.reload()
            changed = gateway.admin("GET", f"pools?wait_s=20&after={generation}")[1]["data"]
            self.assertEqual(changed[0]["capacity"], {"streams_max": 1})
            refused = idle.ask()  # the stream that began before counts
            self.assertEqual(refused.status, 503, refused.text)
            self.assertGreaterEqual(int(refused.headers["retry-after"]), 1)
            self.engine.go_on.set()
            self.assertIn(b"[DONE]", stream.read())
            self.assertEqual(idle.ask().status, 200)
            self.assertTrue(idle.is_the_same(), "the connection was closed")

    def test_a_drain_ends_what_runs_and_takes_nothing_new(self):
        with RunningGateway(self.config(), self.folder) as gateway:
            streaming, idle = Client(gateway), Client(gateway)
            self.assertEqual(idle.ask().status, 200)
            stream = self.begin_stream(streaming)
            gateway.process.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + DEADLINE_S
            while (refused := self.status_of(idle)) == 200:
                self.assertLess(time.monotonic(), deadline)
            self.assertIn(refused, (503, None))
            self.assertIsNone(gateway.process.poll())
            self.engine.go_on.set()
            self.assertIn(b"[DONE]", stream.read())
            self.assertEqual(gateway.process.wait(DEADLINE_S), 0)

    def test_what_runs_at_the_end_of_a_drain_is_told_so(self):
        limit = ("--drain-timeout", "0")
        with RunningGateway(self.config(), self.folder, arguments=limit) as gateway:
            stream = self.begin_stream(Client(gateway))
            gateway.process.send_signal(signal.SIGTERM)
            rest = stream.read()
            self.assertIn(b'data: {"error"', rest)
            self.assertIn(b"shutting down and ended", rest)
            self.assertEqual(gateway.process.wait(DEADLINE_S), 0)

    def test_a_reload_reads_the_secrets_of_replicas_again(self):
        secrets = {name: pathlib.Path(self.folder, name) for name in ("one", "other")}
        for name, file in secrets.items():
            file.write_text(f"the {name}")
        named = "".join(f'{name} = {{ file = "{{folder}}/{name}" }}\n' for name in secrets)
        config = self.config().replace("[secrets]\n", f"[secrets]\n{named}")
        with RunningGateway(config + 'secret = "one"\n', self.folder) as gateway:
            self.expect_shown(gateway, "the one")
            secrets["one"].write_text("the one, rotated")
            gateway.reload()
            self.expect_shown(gateway, "the one, rotated")
            gateway.write_config(config + 'secret = "other"\n')
            gateway.reload()
            self.expect_shown(gateway, "the other")

    def expect_shown(self, gateway: RunningGateway, secret: str):
        deadline = time.monotonic() + DEADLINE_S
        while True:
            self.assertEqual(Client(gateway).ask().status, 200)
            if self.engine.shown == f"Bearer {secret}":
                return
            self.assertLess(time.monotonic(), deadline, self.engine.shown)

    def status_of(self, client: Client) -> int | None:
        """None: the gateway takes no more connections."""
        try:
            return client.ask().status
        except OSError:
            return None

    def test_the_store_gets_a_generation_that_it_has_missed(self):
        """As where the gateway ended before the store had taken it: lines name its prices."""
        config = self.config() + '[[prices]]\nversion = 1\ninput_per_million = "1"\n'
        store = pathlib.Path(self.folder, "data", "store.db")
        prices = "SELECT COUNT(*) FROM prices"
        with RunningGateway(config, self.folder) as gateway:
            self.wait_for_store(gateway, store, prices)
            self.assertNotIn("is not in the store", gateway.log())
        with contextlib.closing(sqlite3.connect(store, isolation_level=None)) as database:
            for table in ("prices", "snapshots"):
                database.execute(f"DELETE FROM {table}")
        with RunningGateway(config, self.folder) as gateway:
            self.wait_for_store(gateway, store, prices)
            self.assertNotIn("is not in the store", gateway.log())

    def wait_for_store(self, gateway: RunningGateway, store: pathlib.Path, query: str):
        """Until it answers something else than 0."""
        deadline = time.monotonic() + DEADLINE_S
        with contextlib.closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as database:
            while database.execute(query).fetchone() == (0,):
                self.assertLess(time.monotonic(), deadline, query)
                gateway.admin("GET", "keys")

    def test_it_starts_from_its_last_snapshot_while_the_store_is_away(self):
        with RunningGateway(self.config(), self.folder) as gateway:
            self.assertEqual(gateway.admin("POST", "tenants", {"id": "late"})[0], 201)
        store = pathlib.Path(self.folder, "data", "store.db")
        for file in store.parent.glob("store.db*"):
            file.unlink()
        store.mkdir()  # a folder where the file should be
        with RunningGateway(self.config(), self.folder) as gateway:
            self.assertEqual(gateway.admin("GET", "tenants/late")[0], 200)
            self.assertEqual(Client(gateway).ask().status, 200)


if __name__ == "__main__":
    unittest.main(verbosity=2)
