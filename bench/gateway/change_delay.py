"""How long a change of keys takes until it holds, in a gateway that has very many, under load.

    change_delay.py ADMIN_URL ADMIN_KEY GATEWAY_URL KEYS CHANGES

Puts KEYS keys with limits into the gateway, then creates and revokes keys in turn. Each is measured
from the call until the first request that is answered as the change wants it (200 of a new key, 401
of a revoked one); requests are asked without a pause meanwhile. For bench/gateway/change_delay.sh.
"""

import hashlib
import http.client
import json
import sys
import threading
import time
import urllib.parse

PATIENCE_S = 30


class Caller:
    """One kept connection; calls are made one after the other."""

    def __init__(self, url: str, key: str):
        self.connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc)
        self.headers = {"Authorization": f"Bearer {key}"}

    def call(self, method: str, path: str, body=None, headers=None):
        text = None if body is None else json.dumps(body)
        self.connection.request(method, path, text, self.headers | (headers or {}))
        answer = self.connection.getresponse()
        return answer.status, json.loads(answer.read() or "null")


def fill(admin: Caller, count: int) -> None:
    status, snapshot = admin.call("GET", "/admin/v1/snapshot")
    assert status == 200, snapshot
    project = snapshot["projects"][0]["id"]
    hash_key_id = snapshot["keys"][0]["hash_key_id"]
    for i in range(count):
        snapshot["keys"].append({
            "id": f"key_{i:06}", "project": project, "hint": "none", "hash_key_id": hash_key_id,
            "hash": hashlib.sha256(str(i).encode()).hexdigest(),
            "limits": {"requests_per_minute": 600, "tokens_per_day": 1_000_000},
        })  # fmt: skip
    generation = {"If-Match": f'"{snapshot["generation"]}"'}
    status, answer = admin.call("PUT", "/admin/v1/snapshot", snapshot, generation)
    assert status == 200, answer


def seconds_until(gateway_url: str, key: str, wanted: int, change) -> float:
    """Asks until the answer's status is `wanted`, from before change() on."""
    caller = Caller(gateway_url, key)
    worker = threading.Thread(target=change)
    began = time.monotonic()
    worker.start()
    while caller.call("GET", "/v1/models")[0] != wanted:
        assert time.monotonic() - began < PATIENCE_S, f"no {wanted} within {PATIENCE_S} s"
    took = time.monotonic() - began
    worker.join()
    return took


def report(what: str, seconds: list[float]) -> None:
    ms = sorted(1000 * each for each in seconds)
    print(f"{what}: median {ms[len(ms) // 2]:.0f} ms, longest {ms[-1]:.0f} ms of {len(ms)}")


def main() -> None:
    admin_url, admin_key, gateway_url, keys, changes = sys.argv[1:]
    admin = Caller(admin_url, admin_key)
    fill(admin, int(keys))
    revoked, rotated = [], []
    for _ in range(int(changes)):
        status, made = admin.call("POST", "/admin/v1/keys", {"project": "web"})
        assert status == 201, made
        path = f"/admin/v1/keys/{made['key']['id']}"
        secrets = [made["secret"]]
        assert Caller(gateway_url, secrets[0]).call("GET", "/v1/models")[0] == 200

        def rotate():
            secrets.append(admin.call("POST", f"{path}/rotate")[1]["secret"])

        rotated.append(seconds_until(gateway_url, secrets[0], 401, rotate))
        revoked.append(
            seconds_until(
                gateway_url, secrets[1], 401, lambda: admin.call("POST", f"{path}/revoke")
            )
        )
    report("rotation holds after", rotated)
    report("revocation holds after", revoked)


main()
