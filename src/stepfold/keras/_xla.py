"""Programs as XLA calls them: the native handler registered, programs recorded for the shapes that it meets.

A call carries all that it needs: its recipe as text, without code, and a number that stands for it
(`Attributes`). So a compiled or exported program runs in any process that has imported `stepfold.keras`."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import json
import math
import threading
import time
from collections.abc import Callable
from ctypes import string_at
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import jax
import numpy as np

from .._llvm import ENTRY, HEADER_WORDS, MOST_SLOTS, PROBES, STATUS, STATUS_WORDS, TABLE_SIZE, XLA
from .._locks import ForkSafeLock
from .._native import Program, address, status_of, support, thread_cap
from .._runtime import (
    Engine,
    Operand,
    Recipe,
    Shape,
    Wanted,
    backward_operands,
    backward_program,
    engine_for,
    error_of,
    forward_operands,
    forward_program,
)

TARGET = "stepfold"
"""The name under which XLA knows the handler."""
_API, _ARGUMENTS, _RESULTS, _ATTRIBUTES = 16, 56, 96, 136  # offsets in the call frame
_STRING = 4  # the type of an attribute
_ERROR_CREATE = 48  # offset in XLA's table of functions
_DTYPES = {1: "bool", 4: "int32", 5: "int64", 6: "uint8", 11: "float32", 12: "float64"}
_OF_OPERAND = {"token": ("int32", "int64"), "int64": ("int64",), "bool": ("bool",), "bytes": ("uint8",)}
_INVALID_ARGUMENT, _INTERNAL = 3, 13


@dataclass(frozen=True)
class Attributes:
    """What a call says of itself: a recipe and, forward, whether it gives `outputs` and residuals
    (`training`); backward, which gradients there are."""

    recipe: str
    outputs: bool = False
    training: bool = False
    wanted: Wanted | None = None

    @functools.cached_property
    def text(self) -> str:
        """All of it, the same in every process."""
        return json.dumps(asdict(self))

    @functools.cached_property
    def key(self) -> int:
        """A number for it, the same in every process."""
        return int.from_bytes(hashlib.sha256(self.text.encode()).digest()[:8], "little", signed=True)

    @classmethod
    def read(cls, text: str) -> Attributes:
        """Return what a text says; ValueError if it says nothing of ours."""
        return _read_attributes(text)


@functools.lru_cache(maxsize=256)
def _read_attributes(text: str) -> Attributes:
    data = json.loads(text)
    wanted = data.pop("wanted")
    if wanted is not None:
        lists = {name: tuple(value) for name, value in wanted.items() if isinstance(value, list)}
        wanted = Wanted(**(wanted | lists))
    return Attributes(**data, wanted=wanted)


def call(attributes: Attributes, arguments: list[Any], results: list[Any]) -> list[Any]:
    """Call a program on JAX values; `results` are `jax.ShapeDtypeStruct`s. May be traced."""
    called = jax.ffi.ffi_call(TARGET, tuple(results), vmap_method="sequential")
    # XLA sorts attributes by name, and the handler reads the first one
    return list(called(*arguments, key=np.int64(attributes.key), text=attributes.text))


class _Buffer(NamedTuple):
    code: int
    shape: tuple[int, ...]
    data: int


def _integers(at: int, count: int) -> tuple[int, ...]:
    return tuple((ctypes.c_int64 * count).from_address(at)) if count else ()


def _buffers(frame: int, offset: int) -> list[_Buffer]:
    count, _, items = _integers(frame + offset, 3)
    found = []
    for buffer in _integers(items, count):
        code = ctypes.c_int32.from_address(buffer + 16).value
        data, rank, sizes = _integers(buffer + 24, 3)
        found.append(_Buffer(code, _integers(sizes, rank), data))
    return found


def _text(frame: int) -> str:
    """The text attribute."""
    count, types, names, items = _integers(frame + _ATTRIBUTES, 4)
    for k, (name, item) in enumerate(zip(_integers(names, count), _integers(items, count), strict=True)):
        kind = ctypes.c_int32.from_address(types + 4 * k).value
        if string_at(*_integers(name, 2)) == b"text" and kind == _STRING:
            return string_at(*_integers(item, 2)).decode()
    raise LookupError("a compiled program calls stepfold without a recipe; compile it again")


def _shape_of(recipe: Recipe, attributes: Attributes, given: list[_Buffer]) -> Shape:
    """The sizes of a call; what does not fit is found out when they are compared with the operands."""
    forward, step = attributes.wanted is None, recipe.step
    own = int(step.takes_features)
    inputs = given[0].shape
    before = own + forward * recipe.tokens + recipe.side + len(step.inputs)
    states = len(step.states) if recipe.initial and forward else 0
    first = before + forward * (recipe.active != "all") + states + len(recipe.extra)
    weights = tuple(buffer.shape for buffer in given[first : first + recipe.weights])
    bits = 64
    if attributes.wanted is not None:  # residuals know the batch that they are of
        residuals = given[first + recipe.weights]
        if _DTYPES.get(residuals.code) != "uint8" or math.prod(residuals.shape) < 8 * HEADER_WORDS:
            raise ValueError(f"the residuals, of shape {residuals.shape}, are too short to be residuals")
        batch, time = _integers(residuals.data + 8, 2)
    elif recipe.tokens:
        (batch, time), bits = given[1].shape, 64 if given[1].code == 5 else 32
    else:
        batch, time = inputs[:2]
    side = 0
    if recipe.side:
        side = (given[1 + forward].shape or (0,))[-1]
    rows = inputs[0] if recipe.tokens else 0
    return Shape(batch, time, own * inputs[-1] + side, weights, None, rows, bits, side)


def _check(operands: list[Operand], buffers: list[_Buffer], dtype: str) -> None:
    if len(operands) != len(buffers) or len(buffers) > MOST_SLOTS - 3:
        raise ValueError(f"the call has {len(buffers)} buffers, expected {len(operands)}")
    for operand, buffer in zip(operands, buffers, strict=True):
        shape = buffer.shape
        if operand.dtype == "bytes":  # by rows of the batch
            shape = (int(np.prod(shape)),)
        if shape != operand.shape:
            raise ValueError(f"{operand.name} has shape {shape}, expected {operand.shape}")
        if _DTYPES.get(buffer.code) not in _OF_OPERAND.get(operand.dtype, (dtype,)):
            raise TypeError(f"{operand.name} has XLA's dtype {buffer.code}, expected {operand.dtype}")


def _recorded(frame: int, threads: int) -> tuple[Program, list[_Buffer]]:
    """The program of a call, and its buffers, which were compared with the operands."""
    attributes = Attributes.read(_text(frame))
    recipe = Recipe.from_text(attributes.recipe)
    given, results = _buffers(frame, _ARGUMENTS), _buffers(frame, _RESULTS)
    dtype = _DTYPES.get(given[0].code, "unknown")
    if dtype not in ("float32", "float64"):
        raise TypeError(f"inputs have XLA's dtype {given[0].code}, expected float32 or float64")
    engine: Engine = engine_for(recipe.step, recipe.units, np.dtype(dtype), recipe.sizes)
    shape = _shape_of(recipe, attributes, given)
    if attributes.wanted is not None:
        operands = backward_operands(engine, recipe, shape, attributes.wanted)
        _check(operands, [*given, *results], dtype)
        program = backward_program(engine, recipe, shape, attributes.wanted, threads=threads)
    else:
        options = {"outputs": attributes.outputs, "training": attributes.training}
        operands = forward_operands(engine, recipe, shape, **options)
        _check(operands, [*given, *results], dtype)
        program = forward_program(engine, recipe, shape, threads=threads, **options)
    return program, [*given, *results]


class _Table:
    """The programs that the handler finds without Python: at most `TABLE_SIZE`, a newer one takes the place
    of an older one."""

    def __init__(self) -> None:
        code = support("xla")
        self.handle = code.addresses["handle"]
        size = len(XLA) + TABLE_SIZE
        self._variables: Any = (ctypes.c_int64 * size).from_address(code.addresses["stepfold_xla"])
        resolve = ctypes.CFUNCTYPE(
            ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p
        )(self._resolve)
        refuse = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)(self._refuse)
        program = support("program").addresses
        self._held: dict[int, object] = {}  # place → an entry and all that it points to
        self._retired: list[object] = []
        self._callbacks = resolve, refuse
        self._turn = 0
        self._lock = ForkSafeLock()
        functions = {
            "resolve": ctypes.cast(resolve, ctypes.c_void_p).value or 0,
            "refuse": ctypes.cast(refuse, ctypes.c_void_p).value or 0,
            "run": program["run"],
            "help": program["help"],
        }
        for name, at in functions.items():
            self._variables[XLA.index(name)] = at

    def __len__(self) -> int:
        return len(self._held)

    def _resolve(self, frame: int, key: int, size: int, error: int) -> int:
        interruptions = _Interruptions()
        found = interruptions.shield(lambda: self._entry(frame, key, size))
        if isinstance(found, BaseException):
            ctypes.c_void_p.from_address(error).value = _error(frame, found)
            found = 0
        interruptions.raise_later()
        return int(found)

    def _entry(self, frame: int, key: int, size: int) -> int:
        program, buffers = _recorded(frame, thread_cap(None, size))
        return self._insert(key, program, buffers, _integers(frame + _ARGUMENTS, 1)[0])

    def _insert(self, key: int, program: Program, buffers: list[_Buffer], given: int) -> int:
        signature = [word for b in buffers for word in (b.code, len(b.shape), *b.shape)]
        memory = np.array(signature or [0], np.int64)
        words = {
            "key": key,
            "program": program.address,
            "threads": program.tasks,
            "arguments": given,
            "results": len(buffers) - given,
            "signature": address(memory),
        }
        entry = np.array([words[name] for name in ENTRY], np.int64)
        with self._lock.lock:
            places = [(key + probe) % TABLE_SIZE for probe in range(PROBES)]
            place = next((p for p in places if p not in self._held), places[self._turn % PROBES])
            self._turn += 1
            if place in self._held:
                self._retired.append(self._held[place])
            self._held[place] = (entry, memory, program)
            self._variables[len(XLA) + place] = address(entry)
            # a call that began before may still run what left the table; if this is the only one, none does
            if self._variables[XLA.index("active")] <= 1:
                self._retired.clear()
        return address(entry)

    def _refuse(self, frame: int, status: int) -> int:
        seen = dict(zip(STATUS, _integers(status, STATUS_WORDS), strict=False))
        return _error(frame, error_of(status_of(seen)))


class _Interruptions:
    """Keeps interruptions (Ctrl-C, sys.exit in a signal's handler) out of a callback: XLA cannot pass them
    on, so the work is done all the same, and the first of them is raised when this thread is back in
    Python."""

    def __init__(self) -> None:
        self._first: type[BaseException] | None = None

    def shield(self, work: Callable[[], Any]) -> Any:
        """Return the result of `work`, or its exception."""
        for _ in range(8):
            try:
                return work()
            except Exception as error:
                return error
            except BaseException as interruption:
                self._first = self._first or type(interruption)
        return InterruptedError("stepfold was interrupted while it recorded a program")

    def raise_later(self) -> None:
        """To be called last: from another thread, once this one has left the callback."""
        if self._first is not None:
            threading.Thread(target=_raise_in, args=(threading.get_ident(), self._first), daemon=True).start()


def _raise_in(thread: int, interruption: type[BaseException]) -> None:
    time.sleep(0.005)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(interruption))


class _ErrorArguments(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_size_t),
        ("extension", ctypes.c_void_p),
        ("message", ctypes.c_char_p),
        ("code", ctypes.c_int),
    )


def _error(frame: int, error: BaseException) -> int:
    """XLA's error with an exception's text, which it copies."""
    api = _integers(frame + _API, 1)[0]
    create = ctypes.c_void_p.from_address(api + _ERROR_CREATE).value
    function = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(create or 0)
    code = _INVALID_ARGUMENT if isinstance(error, (ValueError, IndexError, TypeError)) else _INTERNAL
    text = f"{type(error).__name__}: {error}".encode()
    arguments = _ErrorArguments(28, None, text, code)
    return int(function(ctypes.addressof(arguments)) or 0)


table = _Table()
jax.ffi.register_ffi_target(TARGET, jax.ffi.pycapsule(table.handle), platform="cpu")
