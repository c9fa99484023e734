"""Starts the binary for a wire test and stops it: no fixed port, no sleep, its log in the failure.

    with RunningServer("--queue-max", "4") as server:
        client = openai.OpenAI(base_url=server.url + "/v1", api_key="-")

SLUICE_BINARY and SLUICE_MODEL come from ctest and from make test.
"""

import json
import os
import pathlib
import re
import signal
import subprocess
import tempfile

STOP_TIMEOUT_S = 60
SLOWDOWN = float(os.environ.get("SLUICE_SLOWDOWN", "1"))  # of a build with sanitizers


def binary() -> str:
    return os.environ["SLUICE_BINARY"]


def model() -> str:
    return os.environ["SLUICE_MODEL"]


class RunningServer:
    """`sluice serve` (or another verb) from its "listening on" line until SIGTERM. The model is the
    word `model_at` behind the verb; `before_exec` runs in the new process. `up` gets a data folder
    of its own unless it is given one; `printed` is what it says at the start."""

    def __init__(self, *arguments: str, verb: str = "serve", model_at: int = 0, before_exec=None,
                 folder: str | None = None, host: str = "127.0.0.1"):  # fmt: skip
        words = ["--host", host, "--port", "0", *arguments]
        words.insert(model_at, model())
        self.temporary = None
        if verb == "up":
            self.temporary = tempfile.TemporaryDirectory()
            self.folder = pathlib.Path(folder or self.temporary.name)
            words += ["--data-folder", str(self.folder)]
        self.log_file = tempfile.NamedTemporaryFile("r", suffix=".log")
        with open(self.log_file.name, "w") as log:
            self.process = subprocess.Popen(
                [binary(), verb, *words], preexec_fn=before_exec,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        self.printed = ""
        self.url = self._read_url()
        self.port = int(self.url.rsplit(":", 1)[1])
        for line in self.process.stdout if verb == "up" else ():
            self.printed += line
            if "print(event" in line:
                break

    def _read_url(self) -> str:
        for line in self.process.stdout:
            found = re.search(r"listening on (https?://[\w.:]+)", line)
            if found:
                return found.group(1)
        raise RuntimeError(f"the server ended with {self.process.wait()}: {self.log()}")

    def admin(self) -> dict:
        """Where the admin API of `up` listens ("url"), and its "key"."""
        return json.loads((self.folder / "admin.json").read_text())

    def log(self) -> str:
        return pathlib.Path(self.log_file.name).read_text()

    def stop(self, signal_number: int = signal.SIGTERM) -> int:
        """The exit code, 0 after a drain."""
        self.process.send_signal(signal_number)
        self.process.stdout.read()
        return self.process.wait(STOP_TIMEOUT_S)

    def peak_resident_bytes(self) -> int:
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) * 1024

    def __enter__(self) -> "RunningServer":
        return self

    def __exit__(self, kind, error, trace) -> None:
        code = self.stop() if self.process.poll() is None else self.process.returncode
        self.process.stdout.close()
        if kind:
            print(self.log())
        self.log_file.close()
        if self.temporary:
            self.temporary.cleanup()
        if not kind and code:
            raise RuntimeError(f"the server ended with {code}")
