#!/usr/bin/env python3
"""Writes tests/data/stored/CASE.bin: quantised matrices as safetensors checkpoints hold them, and
their values by numpy.

    python3 -m pip install numpy
    python3 tools/make_stored_goldens.py tests/data/stored

Whole tensors are unpacked at once here, from the formats' descriptions; the product goes row by
row. A file holds, little-endian: u32 outputs, inputs and group; then its tensors in the order of
the case's function, each as u32 bytes and the bytes; the values (outputs, inputs) as f32 last.
"""

import pathlib
import sys

import numpy as np

SEED = 20261122
OUTPUTS, INPUTS, GROUP = 24, 256, 128
GROUPS = INPUTS // GROUP
AWQ_ORDER = [0, 4, 1, 5, 2, 6, 3, 7]  # nibble of a word that holds column k
E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)


def pack(codes: np.ndarray, axis: int, order: list[int] | None = None) -> np.ndarray:
    """Eight codes along `axis` to an int32, code k in nibble order[k]."""
    order = order or list(range(8))
    codes = np.moveaxis(codes.astype(np.uint32), axis, -1)
    words = codes.reshape(*codes.shape[:-1], -1, 8)
    packed = np.zeros(words.shape[:-1], np.uint32)
    for k, nibble in enumerate(order):
        packed |= words[..., k] << np.uint32(4 * nibble)
    return np.ascontiguousarray(np.moveaxis(packed, -1, axis)).view(np.int32)


def scales_of(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.uniform(0.001, 0.05, shape).astype(np.float16)


def int4(rng: np.random.Generator):
    """Codes (outputs, inputs), zeros and scales (outputs, groups)."""
    codes = rng.integers(0, 16, (OUTPUTS, INPUTS))
    zeros = rng.integers(1, 16, (OUTPUTS, GROUPS))
    return codes, zeros, scales_of(rng, (OUTPUTS, GROUPS))


def values_of(codes, zeros, scales, group_of_input=None) -> np.ndarray:
    group = np.arange(INPUTS) // GROUP if group_of_input is None else group_of_input
    difference = (codes - zeros[:, group]).astype(np.float32)
    return difference * scales.astype(np.float32)[:, group]


def compressed_symmetric(rng):
    codes, _, scales = int4(rng)
    return [pack(codes, 1), scales], values_of(codes, np.full((OUTPUTS, GROUPS), 8), scales)


def compressed_zeros(rng):
    codes, zeros, scales = int4(rng)
    return [pack(codes, 1), pack(zeros, 0), scales], values_of(codes, zeros, scales)


def awq(rng):
    codes, zeros, scales = int4(rng)
    tensors = [
        pack(codes.T, 1, AWQ_ORDER),
        pack(zeros.T, 1, AWQ_ORDER),
        np.ascontiguousarray(scales.T),
    ]
    return tensors, values_of(codes, zeros, scales)


def gptq(rng, less_by: int, act_order: bool):
    codes, zeros, scales = int4(rng)
    tensors = [pack(codes.T, 0), pack((zeros - less_by).T, 1), np.ascontiguousarray(scales.T)]
    group_of_input = None
    if act_order:
        group_of_input = rng.permutation(np.arange(INPUTS) // GROUP).astype(np.int32)
        tensors.append(group_of_input)
    return tensors, values_of(codes, zeros, scales, group_of_input)


def int8_channel(rng):
    codes = rng.integers(-128, 128, (OUTPUTS, INPUTS)).astype(np.int8)
    scales = rng.uniform(1e-4, 1e-2, OUTPUTS).astype(np.float32)
    return [codes, scales], codes.astype(np.float32) * scales[:, None]


def mxfp4(rng):
    codes = rng.integers(0, 16, (OUTPUTS, INPUTS)).astype(np.uint8)
    exponents = rng.integers(100, 140, (OUTPUTS, INPUTS // 32)).astype(np.uint8)
    exponents[0, :2] = [0, 252]
    signed = np.where(codes < 8, E2M1[codes % 8], -E2M1[codes % 8])
    scales = np.exp2(exponents.astype(np.float64) - 127)
    values = (signed * np.repeat(scales, 32, axis=1)).astype(np.float32)
    return [codes[:, 0::2] | codes[:, 1::2] << 4, exponents], values


CASES = {
    "compressed_symmetric": compressed_symmetric,
    "compressed_zeros": compressed_zeros,
    "awq": awq,
    "gptq_v1": lambda rng: gptq(rng, 1, False),
    "gptq_v2": lambda rng: gptq(rng, 0, False),
    "gptq_v1_act_order": lambda rng: gptq(rng, 1, True),
    "gptq_v2_act_order": lambda rng: gptq(rng, 0, True),
    "int8_channel": int8_channel,
    "mxfp4": mxfp4,
}


def main() -> None:
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    for number, (name, make) in enumerate(CASES.items()):
        tensors, values = make(np.random.default_rng([SEED, number]))
        with open(out / f"{name}.bin", "wb") as file:
            file.write(np.array([OUTPUTS, INPUTS, GROUP], np.uint32).tobytes())
            for tensor in tensors:
                file.write(np.uint32(tensor.nbytes).tobytes() + tensor.tobytes())
            file.write(np.ascontiguousarray(values, np.float32).tobytes())


if __name__ == "__main__":
    main()
