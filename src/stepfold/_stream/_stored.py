"""A stream's state as bytes, which another process reads; nothing in them is run.

They are a magic line, the header's size (8 bytes, little endian), the header, and the arrays one behind the
other, little endian. The header is JSON: what the state is of (`of`), which every reader compares with its
own, and the dtype and shape of each array."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MAGIC = b"stepfold stream 1\n"
_SIZE = 8
_DTYPES = ("float32", "float64", "int64", "uint8")


@dataclass(frozen=True)
class StoredState:
    """What the bytes hold: `of` as it was written, and arrays by name."""

    of: dict[str, Any]
    arrays: dict[str, NDArray[Any]]


def written_state(of: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return a state as bytes."""
    listed = [[name, array.dtype.name, array.shape] for name, array in arrays.items()]
    header = json.dumps({"of": of, "arrays": listed}).encode()
    parts = [np.ascontiguousarray(a, a.dtype.newbyteorder("<")).tobytes() for a in arrays.values()]
    return b"".join([_MAGIC, len(header).to_bytes(_SIZE, "little"), header, *parts])


def read_state(data: Any, of: Mapping[str, Any]) -> StoredState:
    """Return the state that `written_state` wrote; arrays are copies.

    Raises:
        TypeError: `data` is not of bytes.
        ValueError: it is no state, it is cut off, or it is the state of something else than `of` says.
    """
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise TypeError(f"a stream's state is bytes, as save_state returns them, not {type(data).__name__}")
    data = bytes(data)
    begin = len(_MAGIC) + _SIZE
    end = begin + int.from_bytes(data[len(_MAGIC) : begin], "little")
    if not data.startswith(_MAGIC) or end > len(data):
        raise ValueError("these bytes are no state of a stream; give what save_state returned")
    try:
        header = json.loads(data[begin:end])
        found, listed = dict(header["of"]), [_described(*each) for each in header["arrays"]]
    except (TypeError, ValueError, KeyError, RecursionError):
        raise ValueError("the header of this state of a stream is damaged; save the state again") from None
    for name, wanted in of.items():
        if found.get(name) != wanted:
            raise ValueError(f"the state is of another stream: its {name} is {found.get(name)}, not {wanted}")
    sizes = [dtype.itemsize * math.prod(shape) for _, dtype, shape in listed]
    if end + sum(sizes) != len(data):
        raise ValueError(f"the state is {len(data)} bytes, expected {end + sum(sizes)}; save the state again")
    arrays = {}
    for (name, dtype, shape), size in zip(listed, sizes, strict=True):
        array = np.frombuffer(data[end : end + size], dtype.newbyteorder("<"))
        arrays[name], end = array.astype(dtype).reshape(shape), end + size
    return StoredState(found, arrays)


def _described(name: Any, dtype: Any, shape: Any) -> tuple[str, np.dtype[Any], tuple[int, ...]]:
    sizes = tuple(shape)
    whole = all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n < 2**48 for n in sizes)
    if not isinstance(name, str) or dtype not in _DTYPES or not whole or len(sizes) > 4:
        raise ValueError
    return name, np.dtype(dtype), sizes
