#!/usr/bin/env python3
"""Writes tests/data/models/NAME.gguf, tiny random models, and NAME.json, their logits by numpy.

    python3 -m pip install gguf numpy
    python3 tools/make_tiny_models.py tests/data/models

The forward pass here is written from the papers, in float64, one position at a time, and shares
nothing with the product. Each model is one case of an architecture or of a scaling of RoPE; the
prompts are longer than the original context, so that scaling shows.
"""

import dataclasses
import json
import math
import pathlib
import sys

import gguf
import numpy as np

SEED = 20261122
HIDDEN, FFN, VOCAB, LAYERS, HEADS, KV_HEADS = 32, 64, 64, 2, 4, 2
PROMPT_TOKENS = 48
LOGIT_POSITIONS = (5, PROMPT_TOKENS - 1)
EPSILON = 1e-5
ORIGINAL_CONTEXT = 16


@dataclasses.dataclass(frozen=True)
class Rope:
    dims: int
    base: float = 10000.0
    scaling: str = "none"
    factor: float = 1.0
    as_factors_tensor: bool = False  # llama3, stored the way Llama 3.1 files are
    low: float = 1.0  # llama3: frequency factors
    high: float = 4.0
    beta_fast: float = 4.0  # YaRN
    beta_slow: float = 0.25


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    arch: str
    rope: Rope
    head_dim: int = 16
    weights: str = "F16"
    tied: bool = False


CASES = (
    Case("llama", "llama", Rope(dims=8), weights="BF16"),
    Case("llama-linear", "llama", Rope(16, 500.0, "linear", 4.0), tied=True),
    Case("llama3", "llama", Rope(16, 500.0, "llama3", 8.0)),
    Case("llama3-factors", "llama", Rope(16, 500.0, "llama3", 8.0, as_factors_tensor=True)),
    Case("llama-q8", "llama", Rope(dims=16), weights="Q8_0"),
    Case("qwen2", "qwen2", Rope(16, 1e6), tied=True),
    Case("qwen2-yarn", "qwen2", Rope(16, 500.0, "yarn", 4.0)),
    Case("qwen3", "qwen3", Rope(24, 1e6), head_dim=24),
)


def llama3_frequency(frequency: float, rope: Rope) -> float:
    """Long waves are stretched, short ones kept, those between interpolated."""
    wavelength = 2 * math.pi / frequency
    if wavelength < ORIGINAL_CONTEXT / rope.high:
        return frequency
    if wavelength > ORIGINAL_CONTEXT / rope.low:
        return frequency / rope.factor
    smooth = (ORIGINAL_CONTEXT / wavelength - rope.low) / (rope.high - rope.low)
    return (1 - smooth) * frequency / rope.factor + smooth * frequency


def yarn_frequencies(frequencies: np.ndarray, rope: Rope) -> np.ndarray:
    """Dimensions with many turns over the original context are kept, those with few stretched."""

    def dimension(turns: float) -> float:
        wavelength = turns * 2 * math.pi
        return rope.dims * math.log(ORIGINAL_CONTEXT / wavelength) / (2 * math.log(rope.base))

    low = max(math.floor(dimension(rope.beta_fast)), 0)
    high = min(math.ceil(dimension(rope.beta_slow)), rope.dims - 1)
    ramp = np.clip((np.arange(len(frequencies)) - low) / max(high - low, 0.001), 0, 1)
    return frequencies / rope.factor * ramp + frequencies * (1 - ramp)


def frequencies_of(rope: Rope) -> tuple[np.ndarray, float]:
    """Radians per position of each pair, and what cosines and sines are multiplied by."""
    plain = rope.base ** (-np.arange(0, rope.dims, 2) / rope.dims)
    if rope.scaling == "linear":
        return plain / rope.factor, 1.0
    if rope.scaling == "llama3":
        return np.array([llama3_frequency(f, rope) for f in plain]), 1.0
    if rope.scaling == "yarn":
        return yarn_frequencies(plain, rope), 0.1 * math.log(rope.factor) + 1
    return plain, 1.0


def rotate(head: np.ndarray, position: int, case: Case) -> np.ndarray:
    """Each pair of dimensions as a complex number, turned by its angle."""
    frequencies, magnitude = frequencies_of(case.rope)
    dims = case.rope.dims
    turned = head.copy()
    if case.arch == "llama":  # neighbours are a pair
        first, second = slice(0, dims, 2), slice(1, dims, 2)
    else:  # the two halves are
        first, second = slice(0, dims // 2), slice(dims // 2, dims)
    number = (head[first] + 1j * head[second]) * magnitude * np.exp(1j * position * frequencies)
    turned[first], turned[second] = number.real, number.imag
    return turned


def norm(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return x / np.sqrt(np.mean(x * x) + EPSILON) * weight


class Reference:
    """One sequence, one position at a time."""

    def __init__(self, case: Case, tensors: dict[str, np.ndarray]):
        self.case = case
        self.tensors = {name: values.astype(np.float64) for name, values in tensors.items()}
        self.keys = [[] for _ in range(LAYERS)]
        self.values = [[] for _ in range(LAYERS)]

    def linear(self, name: str, x: np.ndarray) -> np.ndarray:
        return self.tensors[name + ".weight"] @ x + self.tensors.get(name + ".bias", 0)

    def heads(self, name: str, norm_name: str, x: np.ndarray, position: int) -> list[np.ndarray]:
        heads = self.linear(name, x).reshape(-1, self.case.head_dim)
        weight = self.tensors.get(norm_name + ".weight")
        if weight is not None:
            heads = [norm(head, weight) for head in heads]
        return [rotate(head, position, self.case) for head in heads]

    def attention(self, layer: int, x: np.ndarray, position: int) -> np.ndarray:
        block = f"blk.{layer}."
        queries = self.heads(block + "attn_q", block + "attn_q_norm", x, position)
        self.keys[layer].append(self.heads(block + "attn_k", block + "attn_k_norm", x, position))
        value = self.linear(block + "attn_v", x)
        self.values[layer].append(value.reshape(KV_HEADS, self.case.head_dim))
        out = []
        for h, query in enumerate(queries):
            kv_head = h * KV_HEADS // HEADS
            scores = np.array([keys[kv_head] @ query for keys in self.keys[layer]])
            weights = np.exp((scores - scores.max()) / math.sqrt(self.case.head_dim))
            weights /= weights.sum()
            values = np.array([values[kv_head] for values in self.values[layer]])
            out.append(weights @ values)
        return self.linear(block + "attn_output", np.concatenate(out))

    def ffn(self, layer: int, x: np.ndarray) -> np.ndarray:
        block = f"blk.{layer}."
        gate = self.linear(block + "ffn_gate", x)
        up = self.linear(block + "ffn_up", x)
        return self.linear(block + "ffn_down", gate / (1 + np.exp(-gate)) * up)

    def step(self, token_id: int, position: int) -> np.ndarray:
        x = self.tensors["token_embd.weight"][token_id]
        for layer in range(LAYERS):
            block = f"blk.{layer}."
            normed = norm(x, self.tensors[block + "attn_norm.weight"])
            x = x + self.attention(layer, normed, position)
            x = x + self.ffn(layer, norm(x, self.tensors[block + "ffn_norm.weight"]))
        x = norm(x, self.tensors["output_norm.weight"])
        return self.linear("token_embd" if self.case.tied else "output", x)


def random_tensors(case: Case, rng: np.random.Generator) -> dict[str, np.ndarray]:
    def matrix(rows: int, columns: int) -> np.ndarray:
        return rng.normal(0, 1.5 / math.sqrt(columns), (rows, columns)).astype(np.float32)

    def vector(size: int, mean: float) -> np.ndarray:
        return rng.normal(mean, 0.3, size).astype(np.float32)

    q, kv = HEADS * case.head_dim, KV_HEADS * case.head_dim
    tensors = {"token_embd.weight": matrix(VOCAB, HIDDEN), "output_norm.weight": vector(HIDDEN, 1)}
    if not case.tied:
        tensors["output.weight"] = matrix(VOCAB, HIDDEN)
    for layer in range(LAYERS):
        block = f"blk.{layer}."
        tensors[block + "attn_norm.weight"] = vector(HIDDEN, 1)
        tensors[block + "ffn_norm.weight"] = vector(HIDDEN, 1)
        for name, size in (("q", q), ("k", kv), ("v", kv)):
            tensors[f"{block}attn_{name}.weight"] = matrix(size, HIDDEN)
            if case.arch == "qwen2":
                tensors[f"{block}attn_{name}.bias"] = vector(size, 0)
        if case.arch == "qwen3":
            tensors[block + "attn_q_norm.weight"] = vector(case.head_dim, 1)
            tensors[block + "attn_k_norm.weight"] = vector(case.head_dim, 1)
        tensors[block + "attn_output.weight"] = matrix(HIDDEN, q)
        tensors[block + "ffn_gate.weight"] = matrix(FFN, HIDDEN)
        tensors[block + "ffn_up.weight"] = matrix(FFN, HIDDEN)
        tensors[block + "ffn_down.weight"] = matrix(HIDDEN, FFN)
    return tensors


def write_rope(writer: gguf.GGUFWriter, case: Case) -> None:
    rope = case.rope
    writer.add_rope_dimension_count(rope.dims)
    writer.add_rope_freq_base(rope.base)
    if rope.scaling == "none":
        return
    if rope.as_factors_tensor:
        plain = rope.base ** (-np.arange(0, rope.dims, 2) / rope.dims)
        factors = (plain / frequencies_of(rope)[0]).astype(np.float32)
        writer.add_tensor("rope_freqs.weight", factors)
        return
    prefix = case.arch + ".rope.scaling."
    writer.add_string(prefix + "type", rope.scaling)
    writer.add_float32(prefix + "factor", rope.factor)
    writer.add_uint32(prefix + "original_context_length", ORIGINAL_CONTEXT)
    if rope.scaling == "llama3":
        writer.add_float32(prefix + "low_freq_factor", rope.low)
        writer.add_float32(prefix + "high_freq_factor", rope.high)
    if rope.scaling == "yarn":
        writer.add_float32(prefix + "yarn_beta_fast", rope.beta_fast)
        writer.add_float32(prefix + "yarn_beta_slow", rope.beta_slow)


def write_model(
    path: pathlib.Path, case: Case, tensors: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Writes the file; returns the values that it holds after rounding to its types."""
    writer = gguf.GGUFWriter(path, case.arch)
    writer.add_name("tiny " + case.name)
    writer.add_context_length(ORIGINAL_CONTEXT if case.rope.scaling == "none" else 128)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(FFN)
    writer.add_block_count(LAYERS)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_key_length(case.head_dim)
    writer.add_value_length(case.head_dim)
    writer.add_layer_norm_rms_eps(EPSILON)
    write_rope(writer, case)
    stored = {}
    for name, values in tensors.items():
        kind = gguf.GGMLQuantizationType[case.weights if values.ndim == 2 else "F32"]
        data = gguf.quants.quantize(values, kind)
        stored[name] = gguf.quants.dequantize(data, kind).reshape(values.shape)
        writer.add_tensor(name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return stored


def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for number, case in enumerate(CASES):
        # The llama3 cases are one model whose scaling is written down in two ways.
        seed = SEED if case.name.startswith("llama3") else SEED + 1 + number
        rng = np.random.default_rng(seed)
        stored = write_model(folder / f"{case.name}.gguf", case, random_tensors(case, rng))
        ids = rng.integers(0, VOCAB, PROMPT_TOKENS)
        reference = Reference(case, stored)
        logits = [reference.step(token_id, position) for position, token_id in enumerate(ids)]
        golden = {
            "ids": ids.tolist(),
            "positions": list(LOGIT_POSITIONS),
            "logits": [[round(x, 7) for x in logits[p].tolist()] for p in LOGIT_POSITIONS],
        }
        (folder / f"{case.name}.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
