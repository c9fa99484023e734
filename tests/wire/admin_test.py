"""The admin API and `sluice keys` against a running gateway; its configuration, read again."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request

from http_exchange import DEADLINE_S, exchange, post_json
from running_gateway import RunningGateway
from running_server import binary

OBJECTS = """
[[tenants]]
id = "acme"
[[projects]]
id = "web"
tenant = "acme"
"""
EXAMPLE = pathlib.Path(__file__).parents[2] / "deploy" / "gateway.toml"
SCHEMATHESIS_TIMEOUT_S = 240


def run_gateway(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [binary(), "gateway", *arguments],
        capture_output=True, text=True, timeout=20, env={**os.environ, **environment},
    )  # fmt: skip


class CheckTest(unittest.TestCase):
    def test_the_documented_example_is_good(self):
        secrets = {"PROVIDER_API_KEY": "p", "WEB_API_KEY": "w", "ENGINE_KEY": "e",
                   "SLUICE_HASH_KEY": "h" * 32}  # fmt: skip
        done = run_gateway("--config", str(EXAMPLE), "--check", **secrets)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("1 tenants, 1 projects, 1 keys, 2 pools", done.stdout)

    def test_every_problem_is_listed_with_its_line(self):
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.write('[gateway]\ndata_folder = "x"\nthreads = 0\n[[tenants]]\nid = "A"\n')
            file.write('[secrets]\nkey = { environment = "SLUICE_TEST_UNSET" }\n')
            file.flush()
            done = run_gateway("--config", file.name, "--check")
        self.assertEqual(done.returncode, 2)
        lines = re.findall(rf"^{re.escape(file.name)}:(\d+): (\S+)", done.stderr, re.MULTILINE)
        self.assertEqual(
            lines, [("3", "gateway.threads:"), ("5", "tenants[0].id:"), ("7", "secrets.key:")]
        )

    def test_a_missing_file_is_said(self):
        done = run_gateway("--config", "/nonexistent.toml", "--check")
        self.assertEqual(done.returncode, 2)
        self.assertIn("cannot be read", done.stderr)


class KeysTest(unittest.TestCase):
    def test_a_key_is_made_listed_rotated_and_revoked(self):
        with RunningGateway(OBJECTS) as gateway:
            self.assertEqual(gateway.first_key, gateway.admin_key)
            made = gateway.keys("create", "--project", "web", "--label", "team=red")
            self.assertEqual(made.returncode, 0, made.stderr)
            secret = made.stdout.strip()
            self.assertRegex(secret, r"^sk-sluice-\w{30}$")
            listed = json.loads(gateway.keys("list", "-o", "json").stdout)
            key = next(key for key in listed if key["labels"] == {"team": "red"})
            self.assertEqual(key["hint"], secret[-4:])
            rotated = gateway.keys("rotate", key["id"])
            self.assertNotEqual(rotated.stdout.strip(), secret)
            self.assertIn("revoked", gateway.keys("revoke", key["id"]).stdout)
            self.assertIn("revoked", gateway.keys("list").stdout)
            self.assertEqual(gateway.keys("rotate", key["id"]).returncode, 1)
            wrong = gateway.keys("create", "--project", "nothing")
            self.assertIn("there is no project 'nothing'", wrong.stderr)
            for text in (gateway.log(), (gateway.folder / "data" / "snapshot.json").read_text()):
                self.assertNotIn(secret, text)

    def test_without_a_gateway_it_says_so(self):
        with RunningGateway(OBJECTS) as gateway:
            gateway.stop()
            done = gateway.keys("list")
            self.assertEqual(done.returncode, 1)
            self.assertIn("no gateway answers", done.stderr)


class SnapshotTest(unittest.TestCase):
    def test_what_the_api_made_outlives_kill_and_the_first_key_is_made_once(self):
        with tempfile.TemporaryDirectory() as folder:
            with RunningGateway(OBJECTS, folder) as gateway:
                key = gateway.first_key
                self.assertEqual(gateway.admin("POST", "tenants", {"id": "late"})[0], 201)
                gateway.process.send_signal(signal.SIGKILL)
                gateway.process.wait()
                gateway.process.returncode = 0
            with RunningGateway(OBJECTS, folder) as gateway:
                self.assertIsNone(gateway.first_key)
                self.assertEqual(gateway.admin("GET", "tenants/late", key=key)[0], 200)

    def test_a_reload_takes_the_files_objects_over(self):
        with RunningGateway(OBJECTS) as gateway:
            generation = gateway.admin("GET", "snapshot")[1]["generation"]
            gateway.write_config(OBJECTS + '[[pools]]\nid = "here"\n')
            gateway.reload()
            waited = f"pools?wait_s=20&after={generation}"
            self.assertEqual(gateway.admin("GET", waited)[1]["data"][0]["id"], "here")
            status, answer = gateway.admin("DELETE", "pools/here")
            self.assertEqual((status, answer["error"]["code"]), (409, "owned_by_file"))


# An administrator's key that belongs to the file: no generated call can rotate or bind it.
FILE_KEY = "sk-of-the-file"
FILE_KEY_OBJECTS = """
[secrets]
file_key = { file = "{folder}/file_key" }
[[keys]]
id = "key_of_file"
project = "web"
secret = "file_key"
admin = true
"""


# What its one replica would answer costs something; it never does.
PRICED_MODEL = """
[[pools]]
id = "here"
place = "local"
[[models]]
id = "m"
max_tokens_default = 10
[[replicas]]
id = "nobody"
pool = "here"
model = "m"
url = "http://127.0.0.1:1/v1"
[[prices]]
version = 1
side = "sale"
output_per_million = "1000"
"""


class BalanceTest(unittest.TestCase):
    def test_a_top_up_repeated_in_a_later_life_is_made_once(self):
        change = {"id": "t-1", "amount": "2.50"}
        with tempfile.TemporaryDirectory() as folder:
            for status in (201, 200, 200):
                gateway = RunningGateway(OBJECTS, folder)
                top_up = gateway.admin("POST", "balances/acme/top-ups", change)
                self.assertEqual((top_up[0], top_up[1]["amount"]), (status, "2.5"))
                other = gateway.admin("POST", "balances/acme/top-ups", {**change, "amount": "3"})
                self.assertEqual((other[0], other[1]["error"]["code"]), (409, "id_taken"))
                gateway.process.kill()
                gateway.process.wait()
                gateway.process.stdout.close()
            with RunningGateway(OBJECTS, folder) as gateway:
                self.assertEqual(gateway.admin("GET", "balances/acme")[1]["available"], "2.5")

    def ask(self, gateway: RunningGateway, secret: str) -> tuple[int, bytes]:
        """Status and body of a request that costs something."""
        body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
        port = int(gateway.url.rsplit(":", 1)[1])
        text = post_json("/v1/chat/completions", body, f"Authorization: Bearer {secret}")
        status, _, answer = exchange(port, text)
        return status, answer

    def ask_until_known(self, gateway: RunningGateway, secret: str) -> tuple[int, bytes]:
        deadline = time.monotonic() + DEADLINE_S
        while b"not known yet" in (answer := self.ask(gateway, secret))[1]:
            self.assertEqual(answer[0], 503)
            assert time.monotonic() < deadline, "the balance becomes known"
        return answer

    def test_a_tenant_that_becomes_prepaid_has_what_was_paid_just_before(self):
        with RunningGateway(PRICED_MODEL) as gateway:
            for tenant in ("poor", "rich"):
                gateway.admin("POST", "tenants", {"id": tenant})
                gateway.admin("POST", "projects", {"id": tenant, "tenant": tenant})
                secret = gateway.admin("POST", "keys", {"project": tenant})[1]["secret"]
                if tenant == "rich":
                    paid = gateway.admin(
                        "POST", "balances/rich/top-ups", {"id": "t", "amount": "1"}
                    )
                    self.assertEqual(paid[0], 201)
                changed = gateway.admin("PATCH", f"tenants/{tenant}", {"prepaid": True})
                self.assertEqual(changed[0], 200)
                status, answer = self.ask_until_known(gateway, secret)
                refused = status == 429 and b"insufficient_quota" in answer
                self.assertEqual(refused, tenant == "poor", answer)

    def test_a_balance_is_unknown_until_the_store_answers(self):
        with tempfile.TemporaryDirectory() as folder:
            with RunningGateway(PRICED_MODEL, folder) as gateway:
                gateway.admin("POST", "tenants", {"id": "rich", "prepaid": True})
                gateway.admin("POST", "projects", {"id": "rich", "tenant": "rich"})
                secret = gateway.admin("POST", "keys", {"project": "rich"})[1]["secret"]
                change = {"id": "t", "amount": "1"}
                self.assertEqual(gateway.admin("POST", "balances/rich/top-ups", change)[0], 201)
                self.assertNotEqual(self.ask_until_known(gateway, secret)[0], 429)
            store = pathlib.Path(folder, "data", "store.db")
            away = store.rename(store.with_name("away"))
            store.mkdir()  # a folder where the file should be
            with RunningGateway(PRICED_MODEL, folder) as gateway:
                status, answer = self.ask(gateway, secret)
                self.assertEqual((status, b"not known yet" in answer), (503, True), answer)
                store.rmdir()
                away.rename(store)
                self.assertNotEqual(self.ask_until_known(gateway, secret)[0], 429)


class OpenApiTest(unittest.TestCase):
    """Requests that schemathesis makes from the document, each answer held against it."""

    def write_document(self, gateway: RunningGateway) -> pathlib.Path:
        """The document as it is served, but no call waits for a change."""
        with urllib.request.urlopen(f"{gateway.admin_url}/admin/v1/openapi.json") as answer:
            document = json.load(answer)
        for operations in document["paths"].values():
            for parameter in operations.get("get", {}).get("parameters", []):
                if parameter["name"] == "wait_s":
                    parameter["schema"]["maximum"] = 0
        path = gateway.folder / "openapi.json"
        path.write_text(json.dumps(document))
        return path

    def test_schemathesis(self):
        with tempfile.TemporaryDirectory() as folder:
            (pathlib.Path(folder) / "file_key").write_text(FILE_KEY)
            with RunningGateway(OBJECTS + FILE_KEY_OBJECTS, folder) as gateway:
                done = subprocess.run(
                    [
                        sys.executable, "-m", "schemathesis.cli", "run",
                        str(self.write_document(gateway)), "--url", gateway.admin_url,
                        "--header", f"Authorization: Bearer {FILE_KEY}",
                        "--phases", "fuzzing", "--max-examples", "5",
                        "--seed", "1", "--no-color", "--no-shrink", "--warnings", "off",
                        "--checks", "not_a_server_error,status_code_conformance,"
                        "content_type_conformance,response_schema_conformance,"
                        "response_headers_conformance",
                        # What would end the key that calls: revoking it, replacing the whole.
                        "--exclude-operation-id", "revoke_key",
                        "--exclude-operation-id", "put_snapshot",
                    ],
                    capture_output=True, text=True, timeout=SCHEMATHESIS_TIMEOUT_S, cwd=folder,
                )  # fmt: skip
                self.assertEqual(done.returncode, 0, done.stdout[-6000:] + done.stderr[-2000:])
                self.assertEqual(gateway.admin("GET", "keys", key=FILE_KEY)[0], 200)


if __name__ == "__main__":
    unittest.main()
