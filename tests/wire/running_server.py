"""Starts the binary for a wire test and stops it: no fixed port, no sleep, its log in the failure.

    with RunningServer("--queue-max", "4") as server:
        client = openai.OpenAI(base_url=server.url + "/v1", api_key="-")

SLUICE_BINARY and SLUICE_MODEL come from ctest and from make test.
"""

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
    word `model_at` behind the verb; `before_exec` runs in the new process."""

    def __init__(self, *arguments: str, verb: str = "serve", model_at: int = 0, before_exec=None):
        words = ["--host", "127.0.0.1", "--port", "0", *arguments]
        words.insert(model_at, model())
        self.log_file = tempfile.NamedTemporaryFile("r", suffix=".log")
        with open(self.log_file.name, "w") as log:
            self.process = subprocess.Popen(
                [binary(), verb, *words], preexec_fn=before_exec,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        self.url = self._read_url()
        self.port = int(self.url.rsplit(":", 1)[1])

    def _read_url(self) -> str:
        for line in self.process.stdout:
            found = re.search(r"listening on (https?://[\w.:]+)", line)
            if found:
                return found.group(1)
        raise RuntimeError(f"the server ended with {self.process.wait()}: {self.log()}")

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
        if not kind and code:
            raise RuntimeError(f"the server ended with {code}")
