"""Starts `sluice gateway` for a wire test: a configuration file in a folder of its own, free ports.

    with RunningGateway(CONFIG) as gateway:
        gateway.admin("GET", "keys")
"""

import json
import pathlib
import re
import signal
import subprocess
import tempfile
import urllib.error
import urllib.request

from running_server import STOP_TIMEOUT_S, binary

REQUEST_TIMEOUT_S = 20
# One tenant with one key, whose secret the test writes into the file "client" of the folder.
ONE_KEY = """
[secrets]
client = { file = "{folder}/client" }
[[tenants]]
id = "acme"
[[projects]]
id = "web"
tenant = "acme"
[[keys]]
id = "key_1"
project = "web"
secret = "client"
"""


class RunningGateway:
    """From its last "listening on" line until SIGTERM. {folder} in the configuration is the data
    folder's parent; `process_lines` stand in its section [gateway]."""

    def __init__(
        self,
        config: str = "",
        folder: str | None = None,
        process_lines: str = "",
        arguments: tuple[str, ...] = (),
    ):
        self.process_lines = process_lines
        self.temporary = tempfile.TemporaryDirectory() if folder is None else None
        self.folder = pathlib.Path(folder or self.temporary.name)
        self.config_path = self.folder / "gateway.toml"
        self.write_config(config)
        self.log_path = self.folder / "log"
        with open(self.log_path, "a") as log:
            self.process = subprocess.Popen(
                [binary(), "gateway", "--config", str(self.config_path), *arguments],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        self.first_key = None
        self._read_start()
        access = self.folder / "data" / "admin.json"  # none where the file has an admin key
        self.admin_key = json.loads(access.read_text())["key"] if access.exists() else None

    def write_config(self, objects: str) -> None:
        """What stands around the objects is the same for every test."""
        head = (
            f'[gateway]\nlisten = ["127.0.0.1:0"]\ndata_folder = "{self.folder}/data"\n'
            f"{self.process_lines}\n"
            '[admin]\nlisten = "127.0.0.1:0"\n'
        )
        self.config_path.write_text(head + objects.replace("{folder}", str(self.folder)))

    def _read_start(self) -> None:
        for line in self.process.stdout:
            if found := re.search(r"admin key.*: (sk-sluice-\w+)", line):
                self.first_key = found.group(1)
            if found := re.search(r"admin on (http://[\w.:]+)", line):
                self.admin_url = found.group(1)
            if found := re.search(r"listening on (http://[\w.:]+)", line):
                self.url = found.group(1)
                return
        raise RuntimeError(f"the gateway ended with {self.process.wait()}: {self.log()}")

    def log(self) -> str:
        return self.log_path.read_text()

    def admin(self, method: str, path: str, body=None, key: str | None = None):
        """(status, body) of a call of the admin API."""
        request = urllib.request.Request(
            f"{self.admin_url}/admin/v1/{path}", method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {key or self.admin_key}"},
        )  # fmt: skip
        try:
            with urllib.request.urlopen(request, timeout=REQUEST_TIMEOUT_S) as answer:
                return answer.status, json.loads(answer.read() or "null")
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or "null")

    def keys(self, *arguments: str) -> subprocess.CompletedProcess:
        """`sluice keys` of this gateway."""
        return subprocess.run(
            [binary(), "keys", "--data-folder", str(self.folder / "data"), *arguments],
            capture_output=True, text=True, timeout=REQUEST_TIMEOUT_S,
        )  # fmt: skip

    def reload(self) -> None:
        self.process.send_signal(signal.SIGHUP)

    def stop(self, signal_number: int = signal.SIGTERM) -> int:
        self.process.send_signal(signal_number)
        self.process.stdout.read()
        return self.process.wait(STOP_TIMEOUT_S)

    def __enter__(self) -> "RunningGateway":
        return self

    def __exit__(self, kind, error, trace) -> None:
        code = self.stop() if self.process.poll() is None else self.process.returncode
        self.process.stdout.close()
        if kind:
            print(self.log())
        if self.temporary:
            self.temporary.cleanup()
        if not kind and code:
            raise RuntimeError(f"the gateway ended with {code}")
