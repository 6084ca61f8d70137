"""How arrays lie in a file: as they are, as bfloat16, or as int8 with a scale for each row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ._arrays import Array

Weights = Literal["f32", "bf16", "int8"]
WEIGHTS: tuple[str, ...] = get_args(Weights)
SCALE = ".scale"
"""What the name of an int8 tensor's scales ends with."""

_PLAIN: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F64": np.dtype("<f8")}
INTEGERS = "I64"
"""The dtype of a vector of ascending integers."""

STORED: dict[str, np.dtype[Any]] = {
    **_PLAIN,
    "BF16": np.dtype("<u2"),
    "I8": np.dtype("i1"),
    INTEGERS: np.dtype("<i8"),
}
"""The dtypes that a file may have, by their names there, and those in which their bytes are read."""

_NAMES = {"F32": "float32", "F64": "float64", "BF16": "bfloat16", "I8": "int8", INTEGERS: "int64"}
"""The library's names of the dtypes when it writes."""


def stored(name: str, array: Array, weights: str, *, by_column: bool) -> Iterator[tuple[str, str, Array]]:
    """Yield the tensors (name, dtype, bytes as an array) that stand for an array in a file.

    Args:
        name: of the array.
        array: a vector, a matrix or a table, float32 or float64; only vectors stay as they are. Or integers.
        weights: "f32", "bf16" or "int8".
        by_column: whether int8 has a scale for each column, not for each row.

    Raises:
        ValueError: a number is not finite, or too large for bfloat16.
    """
    if array.dtype == np.int64:
        yield name, _NAMES[INTEGERS], np.ascontiguousarray(array, STORED[INTEGERS])
        return
    if not array.size:
        raise ValueError(f"{name} holds no number, since no n-gram stood in two texts; train on more of them")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds NaN or infinity; train the model again, with a lower learning rate")
    plain = "F64" if array.dtype == np.float64 else "F32"
    if array.ndim < 2 or weights == "f32":
        yield name, _NAMES[plain], np.asarray(array, _PLAIN[plain], order="C")
    elif weights == "bf16":
        yield name, _NAMES["BF16"], _to_bfloat16(name, array)
    else:
        quantised, scale = _to_int8(array, axis=0 if by_column else 1)
        yield name, _NAMES["I8"], quantised
        yield name + SCALE, _NAMES["F32"], scale


def _to_bfloat16(name: str, array: Array) -> NDArray[np.uint16]:
    """Round to the nearest bfloat16, the upper half of a float32; of two as near to the even one."""
    with np.errstate(over="ignore"):  # of float64; found below
        bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    found = np.ascontiguousarray(rounded, "<u2")
    if not np.isfinite(_from_bfloat16(found)).all():
        raise ValueError(f"{name} holds a number that is too large for bfloat16; write it as f32")
    return found


def _from_bfloat16(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def _to_int8(array: Array, axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return integers from -127 to 127, and what 1 stands for: float32, (rows, 1) or (1, columns)."""
    greatest = np.abs(array).max(axis=axis, keepdims=True).astype(np.float64)
    with np.errstate(over="ignore"):
        scale = (greatest / 127).astype(np.float32)
    divisor = np.where(scale > 0, scale, 1).astype(np.float64)
    return np.clip(np.rint(array / divisor), -127, 127).astype(np.int8), np.ascontiguousarray(scale, "<f4")


def restored(name: str, array: Array, kind: str, scale: Array | None, dtype: np.dtype[Any]) -> Array:
    """Return an array as it is computed with; ValueError if it holds NaN or infinity."""
    if kind == INTEGERS:
        return array.astype(np.int64, copy=False)
    if kind == "I8":
        assert scale is not None
        found = np.multiply(array, scale, dtype=dtype)
    elif kind == "BF16":
        found = _from_bfloat16(array).astype(dtype, copy=False)
    else:
        found = array.astype(dtype.newbyteorder("="), copy=False)
    if not np.isfinite(found).all() or (scale is not None and (scale < 0).any()):
        raise ValueError(f"the tensor {name} holds NaN or infinity, or a negative scale")
    return found
