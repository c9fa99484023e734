#!/usr/bin/env python3
"""What each type of `sluice quantize` loses, beside llama-quantize: tables in Markdown.

    tools/python tools/quality_table.py --sluice build/release/bin/sluice \\
        --llama-quantize llama.cpp/build/bin/llama-quantize --trained FOLDER --small MODEL.gguf

FOLDER is a small trained model whose rows are whole blocks of 256, as a Hugging Face folder; MODEL
a small one (SmolLM2) as GGUF, of whose F16 expansion both programs make their files. The same
program measures all files. llama-quantize has no word for the types of folders: beside INT4 and
W8A8 of the trained model stands what numpy makes by rounding to the nearest code, the largest
value of a group at the end of the codes. Exit status 1 where a mean divergence is over 1.05 of the
peer's, but for W8A8: most of that is its 8-bit activations.
"""

import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import numpy as np
from safetensors_file import floats_of, read_folder, write_safetensors

ROOT = pathlib.Path(__file__).resolve().parent.parent
RATIO_MAX = 1.05
FILE_TYPES = ("Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q5_1", "Q5_0",
              "Q4_K_M", "Q4_K_S", "Q4_1", "Q4_0")  # fmt: skip
FOLDER_TYPES = {
    "fp8": ["--type", "fp8"],
    "w8a8": ["--type", "w8a8"],
    "int4": ["--type", "int4"],
    "attention w8a8, rest int4": ["--type", "int4", "--attention", "w8a8"],
}


def run(*command) -> str:
    done = subprocess.run([str(c) for c in command], capture_output=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stderr.decode(errors='replace')}")
    return done.stdout.decode(errors="replace")


def bytes_of(path: pathlib.Path) -> int:
    if path.is_dir():
        return sum(file.stat().st_size for file in path.glob("*.safetensors"))
    return path.stat().st_size


def remove(path: pathlib.Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def nearest(weight: np.ndarray, group: int, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes and scales (bf16 bits for 4 bits, else f32) as a plain minmax observer makes them."""
    rows, columns = weight.shape
    groups = weight.reshape(rows, columns // group, group)
    scales = np.abs(groups).max(axis=2) / ((2**bits - 1) / 2)
    scales = np.maximum(scales, np.finfo(np.float32).tiny).astype(np.float32)
    stored = scales
    if bits == 4:
        rounded = scales.view(np.uint32) + np.uint32(0x7FFF) + (scales.view(np.uint32) >> 16 & 1)
        stored = (rounded >> 16).astype(np.uint16)
        scales = floats_of("BF16", stored)
    limit = 2 ** (bits - 1)
    codes = np.clip(np.rint(groups / scales[..., None]), -limit, limit - 1)
    return codes.reshape(rows, columns).astype(np.int32), stored


def rounded_folder(ours: pathlib.Path, source: pathlib.Path, path: pathlib.Path) -> None:
    """Our folder with codes and scales of rounding to the nearest."""
    weights, tensors = read_folder(source), read_folder(ours)
    path.mkdir()
    for file in ours.glob("*.json"):
        if "index" not in file.name:
            shutil.copy(file, path)
    for name, (dtype, values) in list(tensors.items()):
        if name.endswith("_packed"):
            weight = floats_of(*weights[name.removesuffix("_packed")])
            scale_name = name.replace("_packed", "_scale")
            group = weight.shape[1] // tensors[scale_name][1].shape[1]
            codes, scales = nearest(weight, group, 4)
            nibbles = (codes + 8).astype(np.uint32).reshape(len(codes), -1, 8)
            words = (nibbles << (4 * np.arange(8, dtype=np.uint32))).sum(axis=2, dtype=np.uint32)
            tensors[name] = (dtype, words.view(np.int32))
            tensors[scale_name] = ("BF16", scales)
        elif dtype == "I8":
            weight = floats_of(*weights[name])
            codes, scales = nearest(weight, weight.shape[1], 8)
            tensors[name] = (dtype, codes.astype(np.int8))
            tensors[name + "_scale"] = ("F32", scales)
    write_safetensors(path / "model.safetensors", tensors)


class Table:
    def __init__(self, arguments, base: pathlib.Path, options: list[str]):
        self.arguments, self.base, self.options = arguments, base, options
        self.too_far = []
        print("| type | MiB | perplexity | peer | mean KL | peer | ratio | KL p99 | peer "
              "| same top | peer |\n|" + "---|" * 11)  # fmt: skip

    def measure(self, path: pathlib.Path) -> dict:
        found = json.loads(run(
            self.arguments.sluice, "perplexity", path, "-f", self.arguments.text, "--ctx", 512,
            "--kl-against", self.base, "-o", "json", *self.options,
        ))  # fmt: skip
        found["bytes"] = bytes_of(path)
        remove(path)
        return found

    def add(self, name: str, own_path: pathlib.Path, peer_path: pathlib.Path | None) -> None:
        own = self.measure(own_path)
        peer = self.measure(peer_path) if peer_path else None
        if peer:
            ratio = own["kl_mean"] / peer["kl_mean"]
            if ratio > RATIO_MAX and name != "w8a8":
                self.too_far.append(f"{name}: {ratio:.3f}")
        beside = lambda key, form: format(peer[key], form) if peer else ""
        cells = [name, f"{own['bytes'] / 2**20:.1f}",
                 f"{own['perplexity']:.3f}", beside("perplexity", ".3f"),
                 f"{own['kl_mean']:.5f}", beside("kl_mean", ".5f"),
                 f"{ratio:.2f}" if peer else "",
                 f"{own['kl_p99']:.4f}", beside("kl_p99", ".4f"),
                 f"{own['top1_agreement']:.1%}", beside("top1_agreement", ".1%")]  # fmt: skip
        print("| " + " | ".join(cells) + " |", flush=True)


def fill(arguments, model: pathlib.Path, base_type: str, options: list[str]) -> list[str]:
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        base, own, peer = folder / "base.gguf", folder / "own", folder / "peer"
        run(arguments.sluice, "quantize", model, base, "--type", base_type)
        alone = json.loads(run(arguments.sluice, "perplexity", base, "-f", arguments.text, "--ctx",
                               512, "-o", "json", *options))  # fmt: skip
        print(f"\n{model.name}, against {base_type}: perplexity {alone['perplexity']:.3f}, "
              f"{alone['tokens']} tokens {' '.join(options)}\n")  # fmt: skip
        table = Table(arguments, base, options)
        for kind in FILE_TYPES:
            run(arguments.sluice, "quantize", base, own, "--type", kind)
            if arguments.llama_quantize:
                run(arguments.llama_quantize, "--allow-requantize", base, peer, kind)
            table.add(kind, own, peer if arguments.llama_quantize else None)
        source = model if model.is_dir() else base
        for kind, types in FOLDER_TYPES.items():
            run(arguments.sluice, "quantize", source, own, *types)
            beside = None
            if model.is_dir() and kind in ("int4", "w8a8"):
                beside = peer
                rounded_folder(own, model, peer)
            table.add(kind, own, beside)
    return [f"{model.name} {row}" for row in table.too_far]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sluice", default=ROOT / "build/release/bin/sluice")
    parser.add_argument("--llama-quantize", help="without it the peer's columns stay empty")
    parser.add_argument("--trained", type=pathlib.Path, help="Hugging Face folder")
    parser.add_argument("--small", type=pathlib.Path, help="GGUF file")
    parser.add_argument("--exact", action="store_true", help="float activations: slow")
    parser.add_argument("--text", default=ROOT / "tests/data/text/english.txt")
    arguments = parser.parse_args()
    options = ["--exact"] if arguments.exact else []
    too_far = []
    if arguments.trained:
        too_far += fill(arguments, arguments.trained, "BF16", options)
    if arguments.small:
        too_far += fill(arguments, arguments.small, "F16", options)
    if too_far:
        sys.exit("over 1.05 of the peer's divergence:\n" + "\n".join(too_far))


if __name__ == "__main__":
    main()
