#!/usr/bin/env python3
"""What `sluice quantize FOLDER` writes as folders, by two readers: sluice, which makes a file of
F32 of it again, and numpy from the descriptions of compressed-tensors (int-quantized,
pack-quantized) and of FP8 in blocks. Values must be equal but for one rounding of a product.

    tools/python tools/peers/folder_values.py --sluice build/release/bin/sluice FOLDER
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import gguf
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from safetensors_file import floats_of, read_folder  # noqa: E402

ARCHITECTURES = {"deepseek_v3": gguf.MODEL_ARCH.DEEPSEEK2, "qwen3": gguf.MODEL_ARCH.QWEN3,
                 "qwen2": gguf.MODEL_ARCH.QWEN2}  # fmt: skip
RECIPES = (["--type", "int4"], ["--type", "w8a8"], ["--type", "fp8"],
           ["--type", "int4", "--attention", "w8a8"])  # fmt: skip
ROUNDING = 2.0**-23


def weights_of(tensors: dict) -> dict[str, np.ndarray]:
    """Every "….weight" as floats."""
    weights = {}
    for name, (dtype, values) in tensors.items():
        if name.endswith(".weight_packed"):
            name = name.removesuffix("_packed")
            scales = floats_of(*tensors[name + "_scale"])
            nibbles = values.view(np.uint32)[..., None] >> (4 * np.arange(8, dtype=np.uint32)) & 15
            codes = nibbles.reshape(len(values), -1).astype(np.int32) - 8
            weights[name] = codes * np.repeat(scales, codes.shape[1] // scales.shape[1], axis=1)
        elif name.endswith(".weight") and dtype == "I8":
            weights[name] = values * floats_of(*tensors[name + "_scale"])
        elif name.endswith(".weight") and dtype == "F8_E4M3":
            scales = np.kron(tensors[name + "_scale_inv"][1], np.ones((128, 128), np.float32))
            weights[name] = floats_of(dtype, values) * scales[: len(values), : values.shape[1]]
        elif name.endswith(".weight"):
            weights[name] = floats_of(dtype, values)
    return weights


def in_gguf(weights: dict, config: dict) -> dict[str, np.ndarray]:
    """By GGUF's names: experts in one tensor, keys and values of the latent vector apart."""
    layers, heads = config["num_hidden_layers"], config["num_attention_heads"]
    names = gguf.get_tensor_name_map(ARCHITECTURES[config["model_type"]], layers)
    found, experts = {}, {}
    for name, values in weights.items():
        if name.startswith(f"model.layers.{layers}."):
            continue  # of multi-token prediction
        if ".experts." in name:
            before, _, after = name.partition(".experts.")
            number, _, module = after.partition(".")
            experts.setdefault(f"{before}.experts.{module}", {})[int(number)] = values
        elif name.endswith("kv_b_proj.weight"):
            nope, value = config["qk_nope_head_dim"], config["v_head_dim"]
            both = values.reshape(heads, nope + value, -1)
            layer = name.split(".")[2]
            found[f"blk.{layer}.attn_k_b.weight"] = both[:, :nope].swapaxes(1, 2)
            found[f"blk.{layer}.attn_v_b.weight"] = both[:, nope:]
        else:
            found[names.get_name(name.removesuffix(".weight")) + ".weight"] = values
    for name, parts in experts.items():
        stacked = np.stack([parts[i] for i in range(len(parts))])
        found[names.get_name(name.removesuffix(".weight")) + ".weight"] = stacked
    return found


def differences(sluice: str, folder: pathlib.Path, scratch: pathlib.Path) -> list[str]:
    file = scratch / "f32.gguf"
    config = json.loads((folder / "config.json").read_text())
    expected = in_gguf(weights_of(read_folder(folder)), config)
    run(sluice, "quantize", folder, file, "--type", "F32")
    ours = {t.name: np.array(t.data) for t in gguf.GGUFReader(file).tensors}
    wrong = [f"{name} is missing" for name in ours if name not in expected and ".bias" not in name]
    for name, values in expected.items():
        apart = np.abs(ours[name].reshape(values.shape) - values)
        if (apart > ROUNDING * np.abs(values)).any():
            wrong.append(f"{name}: {apart.max()} apart")
    return wrong


def run(*command) -> None:
    subprocess.check_call([str(part) for part in command], stdout=subprocess.DEVNULL)


def compare_recipes(recipes, differences) -> None:
    """Quantises FOLDER by each recipe; differences(sluice, folder, scratch) lists what is wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sluice", required=True)
    parser.add_argument("folder", type=pathlib.Path)
    arguments = parser.parse_args()
    all_wrong = []
    for recipe in recipes:
        with tempfile.TemporaryDirectory() as name:
            scratch = pathlib.Path(name)
            run(arguments.sluice, "quantize", arguments.folder, scratch / "folder", *recipe)
            wrong = differences(arguments.sluice, scratch / "folder", scratch)
        print(f"{' '.join(recipe)}: {'DIFFERENT' if wrong else 'same values'}")
        all_wrong += wrong
    sys.exit("\n".join(all_wrong) or 0)


if __name__ == "__main__":
    compare_recipes(RECIPES, differences)
