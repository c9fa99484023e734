"""Holds every include below src/ against the layers, and exits 1 with a list of what breaks them.

The table of layers stands once, in docs/architecture.md (columns: folder, what it is, may include).
Checked: each folder has a row; an include points into the own folder or one that the row names;
USES in src/CMakeLists.txt names no other folder; a header that drags in a heavy third-party or
intrinsics header stays inside its folder; only kernels/ and core/ use intrinsics.
"""

import pathlib
import re
import sys

ALL = "all"
TABLE_ROW = re.compile(r"^\| `([a-z]+)/` \|[^|]*\|([^|]*)\|$", re.MULTILINE)
INCLUDE = re.compile(r'^\s*#\s*include\s+(?:"([^"]+)"|<([^>]+)>)', re.MULTILINE)
USES = re.compile(r"sluice_folder\(\s*(\w+)\s([^)]*)\)")
HEAVY = re.compile(
    r"^(boost/|nlohmann/|simdjson|spdlog/|CLI/|prometheus/|pcre2|utf8proc|xxhash|gtest/|gmock/"
    r"|sqlite3|libpq-fe|cuda|cublas|nccl|[a-z]*mmintrin\.h|x86intrin\.h|cpuid\.h)"
)
INTRINSICS = re.compile(r"^([a-z]*mmintrin\.h|x86intrin\.h|cpuid\.h)")
INTRINSICS_ALLOWED = ("kernels/", "core/")
SOURCES = ("*.h", "*.cpp", "*.cu", "*.cuh", "*.inc")


def read_layers(architecture: pathlib.Path) -> dict[str, set[str]]:
    """Folder to the folders that it may include; {ALL} for the one that joins the parts."""
    rows = TABLE_ROW.findall(architecture.read_text())
    return {folder: set(allowed.split()) - {"–"} for folder, allowed in rows}


def read_includes(src: pathlib.Path) -> dict[str, list[tuple[str, str]]]:
    """Path below src/ to its includes, as (own, "") or ("", third-party)."""
    files = sorted(path for pattern in SOURCES for path in src.rglob(pattern))
    return {str(path.relative_to(src)): INCLUDE.findall(path.read_text()) for path in files}


def folder_of(path: str) -> str:
    return path.split("/", 1)[0]


def layer_faults(includes, layers):
    for path, included in includes.items():
        folder = folder_of(path)
        if folder not in layers:
            yield f"src/{path}: folder '{folder}' has no row in docs/architecture.md"
            continue
        for own, _ in included:
            target = folder_of(own)
            if own and own not in includes:
                yield f'src/{path}: "{own}" is no file below src/'
            elif own and target != folder and not {target, ALL} & layers[folder]:
                yield f"src/{path}: {folder}/ may not include {target}/ ({own})"


def cmake_faults(cmake: pathlib.Path, layers):
    text = cmake.read_text() if cmake.exists() else ""
    for folder, arguments in USES.findall(text):
        used = re.search(r"USES([a-z\s]*)", arguments)
        for target in used.group(1).split() if used else []:
            if target not in layers.get(folder, set()):
                yield f"src/CMakeLists.txt: {folder} USES {target}, which its layer does not allow"


def heavy_headers(includes) -> dict[str, str]:
    """Headers that include a heavy header, directly or through others, and which."""
    heavy = {}
    for path, included in includes.items():
        found = [other for _, other in included if HEAVY.match(other)]
        if path.endswith((".h", ".cuh")) and found:
            heavy[path] = found[0]
    grown = True
    while grown:
        grown = False
        for path, included in includes.items():
            reached = [heavy[own] for own, _ in included if own in heavy]
            if path.endswith((".h", ".cuh")) and path not in heavy and reached:
                heavy[path] = reached[0]
                grown = True
    return heavy


def heavy_faults(includes):
    heavy = heavy_headers(includes)
    for path, included in includes.items():
        for own, other in included:
            if own in heavy and folder_of(own) != folder_of(path):
                yield f"src/{path}: {own} brings <{heavy[own]}> across folders"
            if INTRINSICS.match(other) and not path.startswith(INTRINSICS_ALLOWED):
                yield f"src/{path}: <{other}> belongs in kernels/ (or core/)"


def check(root: pathlib.Path) -> list[str]:
    layers = read_layers(root / "docs/architecture.md")
    includes = read_includes(root / "src")
    return [
        *layer_faults(includes, layers),
        *cmake_faults(root / "src/CMakeLists.txt", layers),
        *heavy_faults(includes),
    ]


def main() -> None:
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).parents[1]
    faults = check(root)
    print(*faults, sep="\n")
    if faults:
        sys.exit(f"{len(faults)} includes or rows break the layers")


if __name__ == "__main__":
    main()
