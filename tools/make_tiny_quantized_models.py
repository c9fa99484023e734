#!/usr/bin/env python3
"""Writes tiny random models as Hugging Face folders of 4-bit and 8-bit weights, and the logits that
numpy gives of the weights dequantised here.

    python3 -m pip install gguf numpy
    python3 tools/make_tiny_quantized_models.py tests/data/models

Every format is encoded from its description, whole tensors at once; the forward pass is that of
make_tiny_expert_models.py. It shares nothing with the product.
"""

import dataclasses
import json
import math
import pathlib
import sys

import numpy as np
from make_stored_goldens import AWQ_ORDER, E2M1, pack
from make_tiny_expert_models import (
    NO_EXPERTS,
    SEEDS_MAX,
    VOCAB,
    Case,
    bf16_bits,
    config_of,
    given_name,
    golden_of,
    random_tensors,
    write_safetensors,
)
from make_tiny_models import SEED, Rope

DENSE = Case("", arch="qwen3", layers=1, hidden=128, ffn=128, head_dim=32, tokens=24,
             rope=Rope(32, 1e6), adjacent=False, **NO_EXPERTS)  # fmt: skip
MIXED = Case("", layers=2, joined=True, margin=0.02, tokens=10)
ORDERED = dataclasses.replace(MIXED, hidden=64, expert_ffn=64, query_rank=64, rank=64)
Stored = dict[str, tuple[str, np.ndarray]]


def plain(values: np.ndarray) -> tuple[Stored, np.ndarray]:
    bits = bf16_bits(values)
    return {"weight": ("BF16", bits)}, (bits.astype(np.uint32) << 16).view(np.float32)


def int8(values: np.ndarray) -> tuple[Stored, np.ndarray]:
    scales = (np.abs(values).max(axis=1, keepdims=True) / 127).astype(np.float32)
    codes = np.clip(np.rint(values / scales), -128, 127).astype(np.int8)
    tensors = {"weight": ("I8", codes), "weight_scale": ("F32", scales)}
    return tensors, codes * scales.astype(np.float64)


def grouped(values: np.ndarray, group: int, zeros: bool):
    """Codes (outputs, inputs), zeros and f16 scales (outputs, groups)."""
    parts = values.reshape(values.shape[0], -1, group)
    if zeros:
        low, high = np.minimum(parts.min(axis=2), 0), np.maximum(parts.max(axis=2), 0)
        scales = ((high - low) / 15).astype(np.float16)
        middle = np.clip(np.rint(-low / scales.astype(np.float64)), 1, 15).astype(int)
    else:
        scales = (np.abs(parts).max(axis=2) / 7.5).astype(np.float16)
        middle = np.full(scales.shape, 8)
    codes = np.rint(parts / scales.astype(np.float64)[..., None]) + middle[..., None]
    return np.clip(codes, 0, 15).astype(int).reshape(values.shape), middle, scales


def decoded(
    codes: np.ndarray, middle: np.ndarray, scales: np.ndarray, group_of_input
) -> np.ndarray:
    return (codes - middle[:, group_of_input]) * scales.astype(np.float64)[:, group_of_input]


def int4(values: np.ndarray, group: int = 128, zeros: bool = False) -> tuple[Stored, np.ndarray]:
    codes, middle, scales = grouped(values, group, zeros)
    tensors = {
        "weight_packed": ("I32", pack(codes, 1)),
        "weight_scale": ("BF16", bf16_bits(scales.astype(np.float32))),
        "weight_shape": ("I64", np.array(values.shape)),
    }
    if zeros:
        tensors["weight_zero_point"] = ("I32", pack(middle, 0))
    stored = (bf16_bits(scales.astype(np.float32)).astype(np.uint32) << 16).view(np.float32)
    return tensors, decoded(codes, middle, stored, np.arange(values.shape[1]) // group)


def awq(values: np.ndarray) -> tuple[Stored, np.ndarray]:
    codes, middle, scales = grouped(values, 128, True)
    tensors = {
        "qweight": ("I32", pack(codes.T, 1, AWQ_ORDER)),
        "qzeros": ("I32", pack(middle.T, 1, AWQ_ORDER)),
        "scales": ("F16", np.ascontiguousarray(scales.T)),
    }
    return tensors, decoded(codes, middle, scales, np.arange(values.shape[1]) // 128)


def by_size(values: np.ndarray) -> np.ndarray:
    return np.argsort(-np.abs(values).sum(axis=0), kind="stable")


def gptq(values: np.ndarray, less_by: int, order: np.ndarray | None) -> tuple[Stored, np.ndarray]:
    group = 128 if order is None else 32
    if order is None:
        order = np.arange(values.shape[1])
    codes, middle, scales = grouped(values[:, order], group, True)
    back = np.argsort(order)
    codes, group_of_input = codes[:, back], back // group
    tensors = {
        "qweight": ("I32", pack(codes.T, 0)),
        "qzeros": ("I32", pack((middle - less_by).T, 1)),
        "scales": ("F16", np.ascontiguousarray(scales.T)),
        "g_idx": ("I32", group_of_input.astype(np.int32)),
        "bias": ("F16", np.zeros(values.shape[0], np.float16)),
    }
    return tensors, decoded(codes, middle, scales, group_of_input)


def gptq_experts(name: str, values: np.ndarray) -> tuple[Stored, np.ndarray]:
    """Gate and up of an expert share their inputs, and so their order; expert 2's do not."""
    if "_exps." not in name:
        return gptq(values, 1, by_size(values))
    shared = name if "_exps.2." in name else name.replace("ffn_up", "ffn_gate")
    rng = np.random.default_rng(list(shared.encode()))
    return gptq(values, 1, rng.permutation(values.shape[1]))


def mxfp4(values: np.ndarray) -> tuple[Stored, np.ndarray]:
    parts = values.reshape(values.shape[0], -1, 32)
    largest = np.abs(parts).max(axis=2)
    exponents = np.floor(np.log2(largest)).astype(int) - 2
    scaled = parts / 2.0 ** exponents[..., None]
    nearest = np.abs(np.abs(scaled)[..., None] - E2M1).argmin(axis=-1)
    codes = (nearest | np.where(scaled < 0, 8, 0)).astype(np.uint8).reshape(values.shape)
    tensors = {
        "weight_packed": ("U8", codes[:, 0::2] | codes[:, 1::2] << 4),
        "weight_scale": ("U8", (exponents + 127).astype(np.uint8)),
    }
    exact = np.where(scaled < 0, -E2M1[nearest], E2M1[nearest]) * 2.0 ** exponents[..., None]
    return tensors, exact.reshape(values.shape)


def compressed(form: str, **groups: dict) -> dict:
    ignored = ["lm_head", "re:.*mlp.gate$"]
    return {"quant_method": "compressed-tensors", "format": form, "config_groups": groups,
            "ignore": ignored, "quantization_status": "compressed"}  # fmt: skip


def weights(bits: int, strategy: str, kind: str = "int", symmetric: bool = True, **rest) -> dict:
    return {"num_bits": bits, "type": kind, "strategy": strategy, "symmetric": symmetric,
            "dynamic": False} | rest  # fmt: skip


INT8_ACTIVATIONS = {"num_bits": 8, "type": "int", "strategy": "token", "symmetric": True,
                    "dynamic": True}  # fmt: skip
LINEAR = {"targets": ["Linear"], "input_activations": None}
W8A8 = {"targets": ["Linear"], "weights": weights(8, "channel"),
        "input_activations": INT8_ACTIVATIONS}  # fmt: skip
GPTQ = {"quant_method": "gptq", "bits": 4, "sym": False}
MIXED_GROUPS = {
    "group_0": W8A8 | {"targets": ["re:.*self_attn.*", "re:.*shared_experts.*"]},
    "group_1": {"targets": ["re:.*mlp.experts.*"], "input_activations": None,
                "weights": weights(4, "group", group_size=32)},
}  # fmt: skip


def mixed(name: str, values: np.ndarray) -> tuple[Stored, np.ndarray]:
    if "attn_" in name or "_shexp" in name:
        return int8(values)
    return int4(values, 32) if "_exps" in name else plain(values)


MODELS = (
    ("w8a8", DENSE, lambda _, v: int8(v), compressed("int-quantized", group_0=W8A8)),
    ("int4", DENSE, lambda _, v: int4(v), compressed(
        "pack-quantized", group_0=LINEAR | {"weights": weights(4, "group", group_size=128)})),
    ("int4-zeros", DENSE, lambda _, v: int4(v, 128, True), compressed(
        "pack-quantized",
        group_0=LINEAR | {"weights": weights(4, "group", symmetric=False, group_size=128)})),
    ("awq", DENSE, lambda _, v: awq(v),
     {"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm", "zero_point": True}),
    ("gptq", DENSE, lambda _, v: gptq(v, 1, None), GPTQ | {"group_size": 128, "desc_act": False}),
    ("gptq-act-order", DENSE, lambda _, v: gptq(v, 0, by_size(v)),
     GPTQ | {"group_size": 32, "desc_act": True, "checkpoint_format": "gptq_v2"}),
    ("mxfp4", DENSE, lambda _, v: mxfp4(v), compressed(
        "mxfp4-pack-quantized",
        group_0=LINEAR | {"weights": weights(4, "group", "float", group_size=32)})),
    ("mixed", MIXED, mixed, compressed("mixed-precision", **MIXED_GROUPS)),
    ("gptq-experts", ORDERED, gptq_experts, GPTQ | {"group_size": 32, "desc_act": True}),
)  # fmt: skip


def quantised(case: Case, encode, tensors: dict[str, np.ndarray]) -> tuple[Stored, dict]:
    out, stored = {}, {}
    for name, values in tensors.items():
        given = given_name(name)
        module = given.rsplit(".", 1)[0]
        if name.endswith(".bias"):
            out[given], stored[name] = ("F32", values), values
            continue
        is_linear = values.ndim == 2 and name.startswith("blk.") and "ffn_gate_inp" not in name
        parts, stored[name] = encode(name, values) if is_linear else plain(values)
        out |= {f"{module}.{suffix}": part for suffix, part in parts.items()}
    return out, stored


def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    for number, (name, shape, encode, quantization) in enumerate(MODELS):
        case = dataclasses.replace(shape, name=f"hf-{name}")
        for attempt in range(SEEDS_MAX):
            rng = np.random.default_rng([SEED, 100 + number, attempt])
            tensors = random_tensors(case, rng)
            ids = rng.integers(0, VOCAB, case.tokens)
            out, stored = quantised(case, encode, tensors)
            golden, margin = golden_of(case, stored, ids)
            if margin >= case.margin or math.isinf(margin):
                break
        else:
            sys.exit(f"{case.name}: no seed has margins of {case.margin}")
        path = folder / case.name
        path.mkdir(exist_ok=True)
        config = config_of(case) | {"quantization_config": quantization}
        (path / "config.json").write_text(json.dumps(config, indent=1) + "\n")
        write_safetensors(path / "model.safetensors", out)
        (folder / f"{case.name}.json").write_text(json.dumps(golden) + "\n")
        print(f"{case.name}: attempt {attempt}, margin {margin:.4f}")


if __name__ == "__main__":
    main()
