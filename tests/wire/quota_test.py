"""Quotas of the calendar: what was used before kill -9 counts, also where the store is away when
the gateway comes back, and a new one counts what the store does not have yet."""

import http.server
import json
import pathlib
import sqlite3
import tempfile
import threading
import time
import unittest

from http_exchange import exchange, post_json
from running_gateway import RunningGateway

DEADLINE_S = 30
USED = 40  # tokens of each answer
CONFIG = """
[secrets]
quota = {{ file = "{{folder}}/quota" }}
free = {{ file = "{{folder}}/free" }}
[[tenants]]
id = "acme"
[[projects]]
id = "web"
tenant = "acme"
[[keys]]
id = "key_quota"
project = "web"
secret = "quota"
limits = {{ tokens_per_day = 1000, tokens_per_month = 1000 }}
[[keys]]
id = "key_free"
project = "web"
secret = "free"
[[pools]]
id = "here"
place = "local"
[[models]]
id = "m"
context_tokens = 4096
[[replicas]]
id = "fixed"
pool = "here"
model = "m"
url = "http://127.0.0.1:{port}/v1"
"""


class FixedAnswer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps({
            "id": "c", "object": "chat.completion", "created": 1, "model": "m",
            "choices": [{"index": 0, "finish_reason": "stop",
                         "message": {"role": "assistant", "content": "yes"}}],
            "usage": {"prompt_tokens": USED - 1, "completion_tokens": 1, "total_tokens": USED},
        }).encode()  # fmt: skip
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class QuotaTest(unittest.TestCase):
    def setUp(self):
        self.upstream = http.server.ThreadingHTTPServer(("127.0.0.1", 0), FixedAnswer)
        threading.Thread(target=self.upstream.serve_forever, daemon=True).start()
        self.temporary = tempfile.TemporaryDirectory()
        self.folder = pathlib.Path(self.temporary.name)
        for name in ("quota", "free"):
            (self.folder / name).write_text(f"sk-{name}-0123456789")
        self.config = CONFIG.format(port=self.upstream.server_port)

    def tearDown(self):
        self.upstream.shutdown()
        self.upstream.server_close()
        self.temporary.cleanup()

    def ask(self, gateway: RunningGateway, name: str, output_tokens: int) -> tuple[int, bytes]:
        """Reserves the most that the prompt may have and `output_tokens`; USED tokens are used."""
        body = {"model": "m", "messages": [{"role": "user", "content": "x"}],
                "max_tokens": output_tokens}  # fmt: skip
        port = int(gateway.url.rsplit(":", 1)[1])
        head = f"Authorization: Bearer sk-{name}-0123456789"
        status, _, answer = exchange(port, post_json("/v1/chat/completions", body, head))
        return status, answer

    def ask_until_known(
        self, gateway: RunningGateway, output_tokens: int, name: str = "quota"
    ) -> tuple[int, bytes]:
        deadline = time.monotonic() + DEADLINE_S
        while b"not known yet" in (answer := self.ask(gateway, name, output_tokens))[1]:
            self.assertEqual(answer[0], 503)
            assert time.monotonic() < deadline, "what was used becomes known"
        return answer

    def start(self) -> RunningGateway:
        return RunningGateway(self.config, str(self.folder))

    def kill(self, gateway: RunningGateway) -> None:
        gateway.process.kill()
        gateway.process.wait()
        gateway.process.stdout.close()

    def test_what_was_used_counts_after_the_store_was_away(self):
        gateway = self.start()
        for _ in range(5):
            self.assertEqual(self.ask_until_known(gateway, 8)[0], 200)
        self.kill(gateway)
        store = self.folder / "data" / "store.db"
        kept = [file.rename(file.with_suffix(f"{file.suffix}.away"))
                for file in store.parent.glob("store.db*")]  # fmt: skip
        store.mkdir()  # a folder where the file should be
        with self.start() as gateway:
            status, answer = self.ask(gateway, "quota", 8)
            self.assertEqual((status, b"not known yet" in answer), (503, True), answer)
            self.assertEqual(self.ask(gateway, "free", 8)[0], 200, "who has no quota is served")
            store.rmdir()
            for file in kept:
                file.rename(file.with_suffix(""))
            # The prompt is estimated as at most one byte of text and 64 for the message.
            status, answer = self.ask_until_known(gateway, 1000 - 5 * USED + 1)
            self.assertEqual((status, b"insufficient_quota" in answer), (429, True), answer)
            self.assertEqual(self.ask(gateway, "quota", 1000 - 5 * USED - 80)[0], 200)

    def test_a_new_quota_counts_what_only_the_journal_has(self):
        with self.start() as gateway:
            other = sqlite3.connect(self.folder / "data" / "store.db", isolation_level=None)
            other.execute("BEGIN IMMEDIATE")  # the store takes nothing meanwhile
            for _ in range(5):
                self.assertEqual(self.ask(gateway, "free", 8)[0], 200)
            before = gateway.log().count("is in force")
            limited = 'secret = "free"\nlimits = { tokens_per_day = 1000 }'
            gateway.write_config(self.config.replace('secret = "free"', limited))
            gateway.reload()
            deadline = time.monotonic() + DEADLINE_S
            while gateway.log().count("is in force") == before:
                assert time.monotonic() < deadline, "the new configuration is taken over"
                gateway.admin("GET", "keys")
            status, answer = self.ask_until_known(gateway, 1000 - 5 * USED + 1, "free")
            self.assertEqual((status, b"insufficient_quota" in answer), (429, True), answer)
            self.assertEqual(self.ask(gateway, "free", 1000 - 5 * USED - 80)[0], 200)
            other.execute("ROLLBACK")
            other.close()


if __name__ == "__main__":
    unittest.main()
