"""Reads and writes safetensors files with numpy, from the format's description."""

import json
import pathlib
import struct

import numpy as np

DTYPES = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16, "F8_E4M3": np.uint8,
          "I8": np.int8, "I32": np.int32, "I64": np.int64}  # fmt: skip


def read_safetensors(path: pathlib.Path) -> dict[str, tuple[str, np.ndarray]]:
    """Tensors by name, each with its dtype's name; BF16 and F8_E4M3 as their bits."""
    data = np.memmap(path, np.uint8, "r")
    (length,) = struct.unpack("<Q", data[:8].tobytes())
    header = json.loads(data[8 : 8 + length].tobytes())
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        values = np.frombuffer(data[begin:end].tobytes(), DTYPES[entry["dtype"]])
        tensors[name] = (entry["dtype"], values.reshape(entry["shape"]))
    return tensors


def read_folder(folder: pathlib.Path) -> dict[str, tuple[str, np.ndarray]]:
    tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        tensors |= read_safetensors(path)
    return tensors


def write_safetensors(path: pathlib.Path, tensors: dict[str, tuple[str, np.ndarray]]) -> None:
    header, offset = {}, 0
    for name, (dtype, values) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(values.shape),
                        "data_offsets": [offset, offset + values.nbytes]}  # fmt: skip
        offset += values.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, values in tensors.values():
            file.write(np.ascontiguousarray(values).tobytes())


def floats_of(dtype: str, values: np.ndarray) -> np.ndarray:
    """The values of a floating-point tensor as float32."""
    if dtype == "BF16":
        return (values.astype(np.uint32) << 16).view(np.float32)
    if dtype == "F8_E4M3":
        return E4M3[values]
    return values.astype(np.float32)


def e4m3_values() -> np.ndarray:
    """All 256: sign, four bits of exponent (bias 7), three of mantissa; 0x7f is no number."""
    codes = np.arange(256)
    exponent, mantissa = codes >> 3 & 15, codes & 7
    normal = (1 + mantissa / 8) * 2.0 ** (exponent - 7)
    subnormal = mantissa / 8 * 2.0**-6
    values = np.where(exponent > 0, normal, subnormal) * np.where(codes & 128, -1, 1)
    return np.where(codes & 127 == 127, np.nan, values).astype(np.float32)


E4M3 = e4m3_values()
