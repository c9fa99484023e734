"""Compiles each header below src/ alone: a header names what it needs. Exits 1 with the errors."""

import concurrent.futures
import os
import pathlib
import subprocess
import sys

COMMAND = ["g++", "-std=c++20", "-fsyntax-only", "-Wall", "-Wextra", "-Werror"]


def errors_of(src: pathlib.Path, header: pathlib.Path) -> str:
    # Twice, so that a missing include guard is seen too.
    unit = f'#include "{header.relative_to(src)}"\n' * 2
    command = [*COMMAND, "-I", str(src), "-x", "c++", "-"]
    return subprocess.run(command, input=unit, capture_output=True, text=True, check=False).stderr


def main() -> None:
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).parents[1]
    src = root / "src"
    headers = sorted(src.rglob("*.h"))
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        failed = [text for text in pool.map(lambda h: errors_of(src, h), headers) if text]
    print(*failed, sep="\n")
    if failed:
        sys.exit(f"{len(failed)} of {len(headers)} headers do not compile alone")


if __name__ == "__main__":
    main()
