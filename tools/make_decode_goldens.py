#!/usr/bin/env python3
"""Writes tests/data/decode/TYPE.bin: random blocks and the values that the gguf package gives
(of types that are not GGUF's: numpy, from their definition).

    python3 -m pip install gguf numpy
    python3 tools/make_decode_goldens.py tests/data/decode

A file holds, little-endian: u32 number of blocks, the blocks, then their values as f32. Every bit
of a block is random but for its scales: these are small, negative, subnormal or zero, never
infinite or NaN.
"""

import pathlib
import sys

import numpy as np
from gguf import quants
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

SEED = 20261122
VALUES = 4096

# Byte offsets of the f16 scales in a block.
SCALES = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
    "IQ4_NL": [0], "IQ4_XS": [0],
}  # fmt: skip


def scale_values(rng: np.random.Generator, count: int) -> np.ndarray:
    """f16 scales of many kinds: normal of both signs, subnormal, zero, the extremes."""
    values = rng.normal(0, 0.05, count).astype(np.float16)
    kinds = rng.integers(0, 8, count)
    values[kinds == 0] = np.float16(0)
    values[kinds == 1] = (rng.integers(-1023, 1024, count)[kinds == 1] * 2.0**-24).astype(
        np.float16
    )
    values[kinds == 2] = np.float16(-60.0)
    return values


def blocks_of(name: str, rng: np.random.Generator) -> np.ndarray:
    block_values, block_bytes = GGML_QUANT_SIZES[GGMLQuantizationType[name]]
    count = VALUES // block_values
    blocks = rng.integers(0, 256, (count, block_bytes), dtype=np.uint8)
    for offset in SCALES[name]:
        blocks[:, offset : offset + 2] = scale_values(rng, count).view(np.uint8).reshape(count, 2)
    return blocks


def floats_of(name: str, rng: np.random.Generator) -> np.ndarray:
    """Every kind of finite value of a plain float type."""
    if name == "F32":
        bits = rng.integers(0, 2**32, VALUES, dtype=np.uint32)
        bits[(bits & 0x7F800000) == 0x7F800000] = 0x80000000
        return bits.view(np.uint8).reshape(VALUES, 4)
    exponent = 0x7C00 if name == "F16" else 0x7F80
    bits = rng.integers(0, 2**16, VALUES, dtype=np.uint16)
    bits[(bits & exponent) == exponent] = 0x8001
    return bits.view(np.uint8).reshape(VALUES, 2)


def e4m3_values() -> np.ndarray:
    """The 256 values of e4m3: sign, 4 bits of exponent (bias 7), 3 of mantissa."""
    codes = np.arange(256)
    exponent, mantissa = codes >> 3 & 15, codes & 7
    normal = (1 + mantissa / 8) * 2.0 ** (exponent - 7)
    values = np.where(exponent == 0, mantissa / 8 * 2.0**-6, normal)
    return np.where(codes & 128, -values, values).astype(np.float32)


def write_f8_b128(out: pathlib.Path) -> None:
    """f32 scale and 128 values of e4m3, none of them NaN."""
    rng = np.random.default_rng([SEED, 100])
    count = VALUES // 128
    codes = rng.integers(0, 256, (count, 128), dtype=np.uint8)
    codes[(codes & 0x7F) == 0x7F] = 0x80
    scales = rng.normal(0, 0.05, (count, 1)).astype(np.float32)
    blocks = np.concatenate([scales.view(np.uint8), codes], axis=1)
    write(out / "F8_B128.bin", blocks, e4m3_values()[codes] * scales)


def write_mxfp4(out: pathlib.Path) -> None:
    """e8m0 scale and 32 values of e2m1."""
    rng = np.random.default_rng([SEED, 101])
    blocks = rng.integers(0, 256, (VALUES // 32, 17), dtype=np.uint8)
    blocks[:, 0] = rng.integers(100, 140, len(blocks))
    blocks[:4, 0] = [0, 1, 2, 252]
    write(out / "MXFP4.bin", blocks, quants.dequantize(blocks, GGMLQuantizationType.MXFP4))


def write_f32_scaled(out: pathlib.Path) -> None:
    """32 values behind an f32 scale: 4 bits with the zero 8, with a zero of their own, 8 bits."""
    rng = np.random.default_rng([SEED, 102])
    count = VALUES // 32
    scales = rng.normal(0, 0.05, (count, 1)).astype(np.float32)
    nibbles = rng.integers(0, 256, (count, 16), dtype=np.uint8)
    zeros = rng.integers(0, 17, (count, 1), dtype=np.uint8)
    codes = np.concatenate([nibbles & 15, nibbles >> 4], axis=1).astype(np.float32)
    head = scales.view(np.uint8)
    write(out / "I4_B32.bin", np.concatenate([head, nibbles], axis=1), (codes - 8) * scales)
    write(out / "I4_Z32.bin", np.concatenate([head, zeros, nibbles], axis=1),
          (codes - zeros.astype(np.float32)) * scales)  # fmt: skip
    bytes_ = rng.integers(-128, 128, (count, 32)).astype(np.int8)
    write(out / "I8_B32.bin", np.concatenate([head, bytes_.view(np.uint8)], axis=1),
          bytes_.astype(np.float32) * scales)  # fmt: skip


def write(path: pathlib.Path, blocks: np.ndarray, values: np.ndarray) -> None:
    with open(path, "wb") as file:
        file.write(np.uint32(len(blocks)).tobytes())
        file.write(blocks.tobytes())
        file.write(np.ascontiguousarray(values, dtype=np.float32).tobytes())


def main() -> None:
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(["F32", "F16", "BF16", *SCALES]):
        rng = np.random.default_rng([SEED, number])
        blocks = blocks_of(name, rng) if name in SCALES else floats_of(name, rng)
        kind = GGMLQuantizationType[name]
        if name == "F16":
            values = blocks.view(np.float16).astype(np.float32)
        elif name == "F32":
            values = blocks.view(np.float32)
        else:
            values = quants.dequantize(blocks, kind)
        write(out / f"{name}.bin", blocks, values)
    write_f8_b128(out)
    write_mxfp4(out)
    write_f32_scaled(out)


if __name__ == "__main__":
    main()
