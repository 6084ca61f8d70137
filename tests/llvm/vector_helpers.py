"""Operations of `Vectors`, compiled for every target that this processor can run and applied to arrays."""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Callable

import numpy as np

from stepfold._llvm import target
from stepfold._llvm._compile import Library, compile_text
from stepfold._llvm._text import Function, Module, Value
from stepfold._llvm._vectors import Vectors

DTYPES = {32: np.float32, 64: np.float64}
SPECIAL = (
    *(0.0, 1.0, 0.5, 1e-5, 5e-324, 1e-310, 1e-40, 9.0, 20.0, 88.5, 89.0, 1e30, 1e300, math.inf, math.nan),
    *(-0.0, -1.0, -1e-5, -88.5, -103.0, -104.5, -709.5, -745.0, -746.0, -1e30, -1e300, -math.inf),
)

Operation = Callable[..., Value]


def text(operation: Operation, bits: int, lanes: int, arity: int) -> str:
    """A function `apply(n, result, a, b …)` that applies the operation to n elements, `lanes` at a time."""
    module = Module()
    arguments = [("n", "i64"), *((name, "ptr") for name in ("result", "a", "b", "c")[: arity + 1])]
    f = Function(module, "apply", arguments)
    v = Vectors(f, bits, lanes)
    count, result, *sources = f.arguments
    with f.loop(0, count, lanes) as loop:
        values = [v.load(f.offset(source, loop.index, v.element)) for source in sources]
        v.store(operation(v, *values), f.offset(result, loop.index, v.element))
    module.add(f)
    return module.text()


@functools.cache
def library(source: str, name: str) -> Library:
    return Library(compile_text(source, target(name)), ["apply"])


def call(source: str, name: str, *arguments: np.ndarray | int) -> None:
    """Compile for the target called `name` and run."""
    kinds = [ctypes.c_int64 if isinstance(argument, int) else ctypes.c_void_p for argument in arguments]
    function = ctypes.CFUNCTYPE(None, *kinds)(library(source, name).addresses["apply"])
    function(*(argument if isinstance(argument, int) else argument.ctypes.data for argument in arguments))


def run(operation: Operation, name: str, *arrays: np.ndarray, lanes: int | None = None) -> np.ndarray:
    """Apply an operation to arrays of equal length, filling up the last vector."""
    bits = arrays[0].itemsize * 8
    lanes = lanes or target(name).lanes(bits)
    size = len(arrays[0])
    padded = [np.concatenate([array, np.ones(-size % lanes, array.dtype)]) for array in arrays]
    result = np.empty_like(padded[0])
    call(text(operation, bits, lanes, len(arrays)), name, len(result), result, *padded)
    return result[:size]
