"""A PostgreSQL 15 of its own (Debian's package), on a socket in a new folder, for tests.

    with PostgresServer() as server:
        server.url, server.rows("SELECT 1")
"""

import csv
import io
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import threading

PROGRAMS = pathlib.Path("/usr/lib/postgresql/15/bin")
READY = "ready to accept connections"


class PostgresServer:
    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="sluice-postgres-")
        self.identity = {}
        if os.geteuid() == 0:  # it refuses to run as root
            shutil.chown(self.folder, "postgres", "postgres")
            self.identity = {"user": "postgres", "group": "postgres"}
        data = f"{self.folder}/data"
        subprocess.run(
            [PROGRAMS / "initdb", "--pgdata", data, "--username=sluice", "--auth=trust",
             "--no-sync", "--encoding=UTF8", "--locale=C"],
            check=True, capture_output=True, **self.identity,
        )  # fmt: skip
        self.process = subprocess.Popen(
            [PROGRAMS / "postgres", "-D", data, "-k", self.folder, "-h", "", "-c", "fsync=off"],
            stderr=subprocess.PIPE, text=True, **self.identity,
        )  # fmt: skip
        for line in self.process.stderr:
            if READY in line:
                break
        else:
            raise RuntimeError(f"postgres ended with {self.process.wait()}")
        threading.Thread(target=self.process.stderr.read, daemon=True).start()
        self.url = f"postgresql://sluice@/postgres?host={self.folder}"

    def rows(self, sql: str) -> list[list[str]]:
        done = subprocess.run(
            ["psql", "--no-psqlrc", "--csv", "--tuples-only", "--host", self.folder,
             "--username", "sluice", "--command", sql, "postgres"],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        return list(csv.reader(io.StringIO(done.stdout)))

    def __enter__(self) -> "PostgresServer":
        return self

    def __exit__(self, kind, error, trace) -> None:
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
