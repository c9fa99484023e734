"""Each header below src/ names what it needs. Exits 1 with the errors.

A header that is the first include of its own .cpp has been compiled alone by the build. The others
are compiled here; those of a kernel folder get the folder's flags, as src/CMakeLists.txt names
them. A file that is text for others to include is called .inc and not looked at here.
"""

import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys

COMMAND = ["g++", "-std=c++20", "-fsyntax-only", "-Wall", "-Wextra", "-Werror"]
KERNEL_FLAGS = re.compile(r"sluice_kernel_flags\(([\w/]+)/\*\.cpp\s([^)]*)\)")
FLAG_LIST = re.compile(r"^set\((\w+_flags)\s([^)]*)\)", re.MULTILINE)
INCLUDE = re.compile(r"^#include [\"<]([^\">]+)", re.MULTILINE)


def read_kernel_flags(cmake: pathlib.Path) -> dict[str, list[str]]:
    text = cmake.read_text() if cmake.exists() else ""
    for name, _ in FLAG_LIST.findall(text):  # a list may use those above it
        flags = dict(FLAG_LIST.findall(text))[name]
        text = text.replace("${" + name + "}", flags)
    return {f"kernels/{folder}": flags.split() for folder, flags in KERNEL_FLAGS.findall(text)}


def is_built_alone(src: pathlib.Path, header: str) -> bool:
    if header.startswith("kernels/cuda/"):  # whose sources are built on some machines only
        return False
    source = (src / header).with_suffix(".cpp")
    first = INCLUDE.search(source.read_text()) if source.exists() else None
    return first is not None and first[1] == header


def errors_of(src: pathlib.Path, header: str, flags: list[str]) -> str:
    if not re.search(r"^#pragma once$", (src / header).read_text(), re.MULTILINE):
        return f"src/{header}: no #pragma once\n"
    if is_built_alone(src, header):
        return ""
    unit = f'#include "{header}"\n'
    command = [*COMMAND, *flags, "-I", str(src), "-x", "c++", "-"]
    return subprocess.run(command, input=unit, capture_output=True, text=True, check=False).stderr


def main() -> None:
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).parents[1]
    src = root / "src"
    headers = sorted(str(path.relative_to(src)) for path in src.rglob("*.h"))
    kernel_flags = read_kernel_flags(src / "CMakeLists.txt")
    flags = [kernel_flags.get(os.path.dirname(header), []) for header in headers]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        errors = pool.map(errors_of, [src] * len(headers), headers, flags)
        failed = [text for text in errors if text]
    print(*failed, sep="\n")
    if failed:
        sys.exit(f"{len(failed)} of {len(headers)} headers do not stand alone")


if __name__ == "__main__":
    main()
