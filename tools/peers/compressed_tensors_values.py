#!/usr/bin/env python3
"""What `sluice quantize FOLDER` writes, read by compressed-tensors itself: it accepts the
configuration, its targets and exceptions name every module that is quantised and no other, and it
unpacks the values that folder_values.py (numpy) reads. Needs torch and compressed-tensors:

    VENV/bin/python tools/peers/compressed_tensors_values.py --sluice build/release/bin/sluice DIR
"""

import json
import pathlib
import sys

import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationConfig
from compressed_tensors.utils.match import is_match
from safetensors.torch import load_file

from folder_values import compare_recipes, weights_of

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from safetensors_file import read_folder  # noqa: E402

RECIPES = (["--type", "int4"], ["--type", "w8a8"], ["--experts", "int4", "--attention", "w8a8"],
           ["--type", "int4", "--attention", "w8a8"])  # fmt: skip
FORMATS = {4: "pack-quantized", 8: "int-quantized"}  # by the bits of a weight
PARAMETERS = ("weight_packed", "weight", "weight_scale", "weight_shape")


def modules_of(folder: pathlib.Path) -> dict[str, dict[str, torch.Tensor]]:
    """The parameters of every module with a matrix, scales widened to float32."""
    modules = {}
    for path in sorted(folder.glob("*.safetensors")):
        for name, tensor in load_file(path).items():
            module, _, parameter = name.rpartition(".")
            if parameter in PARAMETERS:
                wide = tensor.float() if parameter == "weight_scale" else tensor
                modules.setdefault(module, {})[parameter] = wide
    return {n: m for n, m in modules.items() if "weight_scale" in m or m["weight"].ndim == 2}


def scheme_of(config: QuantizationConfig, module: str):
    linear = torch.nn.Linear(1, 1)
    if any(is_match(module, linear, ignored) for ignored in config.ignore):
        return None
    found = [scheme for scheme in config.config_groups.values()
             if any(is_match(module, linear, target) for target in scheme.targets)]  # fmt: skip
    assert len(found) <= 1, f"{module} is in {len(found)} groups"
    return found[0] if found else None


def differences(_sluice, folder: pathlib.Path, _scratch) -> list[str]:
    config = QuantizationConfig.model_validate(
        json.loads((folder / "config.json").read_text())["quantization_config"])  # fmt: skip
    expected = weights_of(read_folder(folder))
    wrong = []
    modules = modules_of(folder)
    for module, parameters in modules.items():
        scheme = scheme_of(config, module)
        is_quantised = "weight_scale" in parameters
        if is_quantised != (scheme is not None):
            if not module.endswith("embed_tokens"):  # which is no Linear
                wrong.append(f"{module}: quantised {is_quantised}, by the configuration {scheme}")
            continue
        if not is_quantised:
            continue
        compressor = BaseCompressor.get_value_from_registry(FORMATS[scheme.weights.num_bits])
        theirs = compressor.decompress(parameters, scheme)["weight"].float().numpy()
        if (theirs != expected[module + ".weight"]).any():
            wrong.append(f"{module}: other values")
    if not any("weight_scale" in parameters for parameters in modules.values()):
        wrong.append("no module is quantised")
    return wrong


if __name__ == "__main__":
    compare_recipes(RECIPES, differences)
