"""XLA's foreign functions in Python: a handler (a ctypes callback) that reads the call frame and calls a job.

The layouts are those of XLA's C interface, `xla/ffi/api/c_api.h`, version 0.3, on 64-bit machines. A job is
anything with `run(arguments, results)`, lists of NumPy views of XLA's buffers; a call names its job with one
integer attribute.
"""

from __future__ import annotations

import ctypes
import functools
import math
import struct
from ctypes import string_at
from typing import Any, Protocol

import jax
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

TARGET = "stepfold"
"""The name under which XLA knows the handler."""

_VERSION = (0, 3)
# size, extension, api, context, stage; then arguments, results and attributes, each
# (size, extension, count, types, [names,] items)
_FRAME = struct.Struct("QQQQi4x" + "QQqQQ" + "QQqQQ" + "QQqQQQ")
_BUFFER = struct.Struct("QQi4xQqQ")  # size, extension, dtype, data, rank, dims
_SCALAR = struct.Struct("i4xQ")  # dtype, value
_METADATA_EXTENSION = struct.Struct("Qi4xQQ")  # size, type, next, metadata
_VERSION_IN_API, _VERSION_IN_METADATA = 32, 24  # offsets of (major, minor)
_ERROR_CREATE_IN_API = 48
_METADATA_TYPE = 1
_INVALID_ARGUMENT, _UNIMPLEMENTED, _INTERNAL = 3, 12, 13
_DTYPES = {
    1: np.dtype(np.bool_),
    4: np.dtype(np.int32),
    5: np.dtype(np.int64),
    11: np.dtype(np.float32),
    12: np.dtype(np.float64),
}
_POINTERS = [struct.Struct(f"{n}Q") for n in range(64)]
_SIZES = [struct.Struct(f"{n}q") for n in range(8)]


class Job(Protocol):
    """What a call runs."""

    def run(self, arguments: list[Array], results: list[Array]) -> None:
        """Read the arguments, write all of every result."""


_jobs: dict[int, Job] = {}


def register(key: int, job: Job) -> None:
    """Let calls with the attribute `job=key` run a job.

    The key must mean the same in every process: compiled programs outlive one in JAX's compilation cache.
    """
    _jobs[key] = job


def call(key: int, arguments: list[Any], results: list[Any]) -> list[Any]:
    """Call a registered job on JAX values; `results` are `jax.ShapeDtypeStruct`s. May be traced."""
    called = jax.ffi.ffi_call(TARGET, tuple(results), vmap_method="sequential")
    return list(called(*arguments, job=np.int64(key)))


def _views(address: int, count: int) -> list[Array]:
    views = []
    for buffer in _POINTERS[count].unpack(string_at(address, 8 * count)):
        _, _, dtype, data, rank, dims = _BUFFER.unpack(string_at(buffer, 48))
        views.append(_view(data, dtype, string_at(dims, 8 * rank)))
    return views


@functools.lru_cache(maxsize=1024)
def _view(data: int, dtype: int, dims: bytes) -> Array:
    """XLA's memory as an array. It gives the same few buffers again and again, and an array holds nothing
    else."""
    shape = _SIZES[len(dims) // 8].unpack(dims)
    found = _DTYPES[dtype]
    size = found.itemsize * math.prod(shape)
    memory: Any = (ctypes.c_char * size).from_address(data) if size else b""
    return np.ndarray(shape, found, memory)


def _handle(frame: int) -> int:
    values = _FRAME.unpack(string_at(frame, _FRAME.size))
    extension, api = values[1], values[2]
    try:
        if extension and _describe(extension, api):
            return 0
        scalar = _POINTERS[1].unpack(string_at(values[20], 8))[0]
        key = ctypes.c_int64.from_address(_SCALAR.unpack(string_at(scalar, 16))[1]).value
        job = _jobs.get(key)
        if job is None:
            raise LookupError(
                f"a compiled program asks for a step that this process has not defined (number {key}); "
                "build the model again in this process before running it"
            )
        job.run(_views(values[9], values[7]), _views(values[14], values[12]))
    except NotImplementedError as error:
        return _error(api, _UNIMPLEMENTED, error)
    except (ValueError, IndexError, TypeError) as error:
        return _error(api, _INVALID_ARGUMENT, error)
    except BaseException as error:  # an exception cannot pass through XLA; its text can
        return _error(api, _INTERNAL, error)
    return 0


def _describe(extension: int, api: int) -> bool:
    """Answer XLA's question, at registration, for the version that the handler was written for."""
    _, kind, _, metadata = _METADATA_EXTENSION.unpack(string_at(extension, _METADATA_EXTENSION.size))
    if kind != _METADATA_TYPE:
        return False
    pair = ctypes.c_int * 2
    runtime = tuple(pair.from_address(api + _VERSION_IN_API)) if api else _VERSION
    # an older XLA has the same layout as far as it is read here
    pair.from_address(metadata + _VERSION_IN_METADATA)[:] = list(min(runtime, _VERSION))
    return True


class _ErrorArguments(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_size_t),
        ("extension", ctypes.c_void_p),
        ("message", ctypes.c_char_p),
        ("code", ctypes.c_int),
    )


def _error(api: int, code: int, error: BaseException) -> int:
    create = ctypes.c_void_p.from_address(api + _ERROR_CREATE_IN_API).value
    function = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(create or 0)
    text = f"{type(error).__name__}: {error}".encode()
    arguments = _ErrorArguments(28, None, text, code)
    return int(function(ctypes.addressof(arguments)) or 0)


_handler = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(_handle)
jax.ffi.register_ffi_target(
    TARGET, jax.ffi.pycapsule(ctypes.cast(_handler, ctypes.c_void_p).value), platform="cpu"
)
