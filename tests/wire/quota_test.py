"""Quotas of the calendar and prepaid balances: what was used before kill -9 counts, also where the
store is away when the gateway comes back; a new one counts what the store does not have yet, and
what runs when it begins."""

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
PROMPT_MOST = 69  # tokens that the prompt "x" may have: bytes of text ("user", "x"), and 64
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


PRICES = """
[[prices]]
version = 1
side = "sale"
input_per_million = "0.001"
output_per_million = "0.001"
"""


class FixedAnswer(http.server.BaseHTTPRequestHandler):
    """Holds a prompt with "hold" in it until `go_on`."""

    protocol_version = "HTTP/1.1"
    holds = threading.Event()
    go_on = threading.Event()

    def do_POST(self):
        asked = self.rfile.read(int(self.headers["Content-Length"]))
        if b"hold" in asked:
            self.holds.set()
            self.go_on.wait(DEADLINE_S)
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

    def ask(
        self, gateway: RunningGateway, name: str, output_tokens: int, text: str = "x"
    ) -> tuple[int, bytes]:
        """Reserves the most that the prompt may have and `output_tokens`; USED tokens are used."""
        body = {"model": "m", "messages": [{"role": "user", "content": text}],
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

    def take_over(self, gateway: RunningGateway, config: str) -> None:
        before = gateway.log().count("is in force")
        gateway.write_config(config)
        gateway.reload()
        deadline = time.monotonic() + DEADLINE_S
        while gateway.log().count("is in force") == before:
            assert time.monotonic() < deadline, "the new configuration is taken over"
            gateway.admin("GET", "keys")

    def expect_left(self, gateway: RunningGateway, tokens: int) -> None:
        """Of the quota of "free"; takes USED of it."""
        status, answer = self.ask_until_known(gateway, tokens - PROMPT_MOST + 1, "free")
        self.assertEqual((status, b"insufficient_quota" in answer), (429, True), answer)
        self.assertEqual(self.ask(gateway, "free", tokens - PROMPT_MOST)[0], 200)

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
            self.assertIn(b"not known yet: the usage store does not answer", answer)
            self.assertEqual(self.ask(gateway, "free", 8)[0], 200, "who has no quota is served")
            store.rmdir()
            for file in kept:
                file.rename(file.with_suffix(""))
            # The prompt is estimated as at most one byte of text and 64 for the message.
            status, answer = self.ask_until_known(gateway, 1000 - 5 * USED + 1)
            self.assertEqual((status, b"insufficient_quota" in answer), (429, True), answer)
            self.assertEqual(self.ask(gateway, "quota", 1000 - 5 * USED - 80)[0], 200)
            self.expect_told_once(gateway, "tokens per day of key key_quota")

    def expect_told_once(self, gateway: RunningGateway, what: str) -> None:
        """The log has each thing that kept it from being known, one after another, and the end."""
        lines = gateway.log().splitlines()
        *kept, end = [line.split(" ", 1)[1] for line in lines if what in line]
        self.assertTrue(end.endswith("known now"), end)
        self.assertTrue(kept)
        self.assertTrue(all("requests get 503: " in line for line in kept), kept)
        self.assertEqual(len(kept), len(set(kept)), kept)

    def test_what_keeps_a_balance_from_being_known_is_said(self):
        with self.start() as gateway:
            other = sqlite3.connect(self.folder / "data" / "store.db", isolation_level=None)
            other.execute("ALTER TABLE accounts RENAME TO hidden")
            prepaid = self.config.replace('id = "acme"', 'id = "acme"\nprepaid = true')
            self.take_over(gateway, prepaid + PRICES)
            deadline = time.monotonic() + DEADLINE_S
            wanted = b"the usage store cannot be read"
            while wanted not in (said := self.ask(gateway, "free", 8))[1]:
                self.assertEqual((said[0], b"not known yet: " in said[1]), (503, True), said)
                assert time.monotonic() < deadline, "it is said that the store cannot be read"
            self.assertEqual(said[0], 503)
            other.execute("ALTER TABLE hidden RENAME TO accounts")
            other.close()
            status, answer = self.ask_until_known(gateway, 8, "free")
            self.assertEqual((status, b"insufficient_quota" in answer), (429, True), answer)
            self.assertIn("no such table: accounts", gateway.log())
            self.expect_told_once(gateway, "prepaid balance of tenant acme")

    def test_a_new_quota_counts_what_only_the_journal_has(self):
        with self.start() as gateway:
            other = sqlite3.connect(self.folder / "data" / "store.db", isolation_level=None)
            other.execute("BEGIN IMMEDIATE")  # the store takes nothing meanwhile
            for _ in range(5):
                self.assertEqual(self.ask(gateway, "free", 8)[0], 200)
            limited = 'secret = "free"\nlimits = { tokens_per_day = 1000 }'
            self.take_over(gateway, self.config.replace('secret = "free"', limited))
            self.expect_left(gateway, 1000 - 5 * USED)
            other.execute("ROLLBACK")
            other.close()

    def hold_one(self, gateway: RunningGateway, output_tokens: int) -> threading.Thread:
        for event in (FixedAnswer.holds, FixedAnswer.go_on):
            event.clear()
        held = threading.Thread(target=self.ask, args=(gateway, "free", output_tokens, "hold"))
        held.start()
        self.assertTrue(FixedAnswer.holds.wait(DEADLINE_S))
        return held

    def let_go(self, held: threading.Thread) -> None:
        FixedAnswer.go_on.set()
        held.join(DEADLINE_S)

    def test_a_new_quota_counts_what_runs(self):
        with self.start() as gateway:
            self.assertEqual(self.ask(gateway, "free", 8)[0], 200)
            held = self.hold_one(gateway, 400)
            limited = 'secret = "free"\nlimits = { tokens_per_day = 1000 }'
            self.take_over(gateway, self.config.replace('secret = "free"', limited))
            reserved = PROMPT_MOST + len("hold") - 1 + 400
            self.expect_left(gateway, 1000 - USED - reserved)
            self.let_go(held)
            self.expect_left(gateway, 1000 - 3 * USED)

    def test_a_balance_that_begins_counts_what_runs(self):
        """A token costs a nano-unit."""
        with self.start() as gateway:
            self.take_over(gateway, self.config + PRICES)
            paid = {"id": "first", "amount": "0.000001", "reason": "test"}
            self.assertEqual(gateway.admin("POST", "balances/acme/top-ups", paid)[0], 201)
            self.assertEqual(self.ask(gateway, "free", 8)[0], 200)
            held = self.hold_one(gateway, 400)
            prepaid = self.config.replace('id = "acme"', 'id = "acme"\nprepaid = true')
            self.take_over(gateway, prepaid + PRICES)
            reserved = PROMPT_MOST + len("hold") - 1 + 400
            self.expect_left(gateway, 1000 - USED - reserved)
            self.let_go(held)
            self.expect_left(gateway, 1000 - 3 * USED)

    def test_a_balance_that_begins_twice_before_it_is_known_counts_once(self):
        prepaid = self.config.replace('id = "acme"', 'id = "acme"\nprepaid = true')
        with self.start() as gateway:
            self.take_over(gateway, self.config + PRICES)
            paid = {"id": "first", "amount": "0.000001", "reason": "test"}
            self.assertEqual(gateway.admin("POST", "balances/acme/top-ups", paid)[0], 201)
            other = sqlite3.connect(self.folder / "data" / "store.db", isolation_level=None)
            other.execute("BEGIN IMMEDIATE")  # the store takes nothing meanwhile
            self.assertEqual(self.ask(gateway, "free", 8)[0], 200)
            for config in (prepaid, self.config, prepaid):
                self.take_over(gateway, config + PRICES)
            other.execute("ROLLBACK")
            other.close()
            self.assertEqual(self.ask_until_known(gateway, 8, "free")[0], 200)
            deadline = time.monotonic() + DEADLINE_S
            while gateway.admin("GET", "balances/acme")[1]["records_behind"] > 0:
                assert time.monotonic() < deadline, "the store has all records"
            # A limit that begins looks after all that are not known yet.
            limited = 'secret = "free"\nlimits = { tokens_per_day = 100000 }'
            self.take_over(gateway, prepaid.replace('secret = "free"', limited) + PRICES)
            self.expect_left(gateway, 1000 - 2 * USED)


if __name__ == "__main__":
    unittest.main()
