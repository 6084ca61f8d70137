"""What a stream's kernels work on: packed weights, the two rows of a single sequence, the table of many."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from .._llvm import ROWS, STREAM
from .._native import (
    Array,
    Packing,
    Program,
    Recorder,
    address,
    aligned,
    calling_thread,
    forward_sizes,
    own_threads,
    sources_of,
    thread_cap,
)
from .._runtime import Engine
from ._rows import Indices

_BEFORE = list(STREAM).index("before")
_COUNT, _BLOCK, _SLOTS = (list(ROWS).index(name) for name in ("count", "block", "slots"))
_GIVEN = ("count", "slots", "states", "inputs", "step_inputs", "outputs")
_LONG = 50_000  # multiply-adds from which on letting other Python threads run is worth its cost
_ROWS_AT_ONCE = 48
_TASKS_A_THREAD = 4
_SHORT_CALL, _LONG_CALL = (make(None, ctypes.c_void_p) for make in (ctypes.PYFUNCTYPE, ctypes.CFUNCTYPE))


class Weights:
    """A cell's parameters, packed for the kernels of an engine: `arrays` by the names of their arguments."""

    def __init__(self, engine: Engine, kind: str, features: int, params: Mapping[str, Array]) -> None:
        self.engine, self.features = engine, features
        self.takes_features = engine.step.takes_features
        self.size = sum(value.size for value in params.values())
        layout, kernel, sources = engine.layout, engine.kernel(kind).kernel, sources_of(features)
        sizes = forward_sizes(layout, kernel, sources)
        sizes["vectors"] += layout.hoisted_row
        self.arrays = {name: aligned(size, engine.dtype) for name, size in sizes.items()}
        recorder, packing = Recorder(), Packing(engine.dtype)
        for name, array in self.arrays.items():
            packing.add(name, recorder.operand(), array.shape)
        pieces = {}
        for name, value in params.items():
            place = f"weight {name}"
            pieces[name] = [(place, packing.add(place, recorder.operand(), value.shape))]
        packing.plan(packing.forward(layout, kernel, sources, pieces)).record(recorder.phase())
        given = [np.asarray(value, order="C") for value in params.values()]
        operands = list(map(address, [*self.arrays.values(), *given]))
        status = recorder.finish().run(operands, calling_thread(), 1)
        if status is not None:
            raise MemoryError(f"weights of {kernel.name} could not be packed: {status}")
        if layout.hoisted_row:
            self._hoist()

    def _hoist(self) -> None:
        """Compute what is made of the vectors alone, behind them."""
        kernel = self.engine.kernel("hoist")
        scratch = aligned(kernel.kernel.scratch, self.engine.dtype)
        held = {"vectors": self.arrays["vectors"], "scratch": scratch}
        block = np.array([held[name].ctypes.data for name in kernel.kernel.arguments], np.int64)
        _SHORT_CALL(kernel.address)(block.ctypes.data)

    def long(self, rows: int) -> bool:
        """Whether a timestep of so many rows takes so long that other Python threads should run."""
        return rows * self.size >= _LONG


def named_views(engine: Engine, rows: Array) -> list[Array]:
    """Views of rows of inputs with a name, (n, size) each."""
    return [rows[:, begin : begin + size] for begin, (_, size, _) in engine.layout.extras("named_input")]


class Single:
    """One row: a call of `call` with `address` takes `inputs`, one (1, size) each, one timestep on, to
    `output` (1, size)."""

    def __init__(self, weights: Weights) -> None:
        engine, layout = weights.engine, weights.engine.layout
        kernel = engine.kernel("step")
        own = aligned(weights.features, engine.dtype).reshape(1, weights.features)
        named = aligned(layout.step_input_row, engine.dtype).reshape(1, layout.step_input_row)
        named[...] = 0
        self.inputs = [own] * weights.takes_features + named_views(engine, named)
        self.output = aligned(layout.output, engine.dtype).reshape(1, *layout.output_shape)
        self._memory = aligned(2 * layout.state_row, engine.dtype).reshape(2, layout.state_row)
        self._memory[...] = 0
        self._states = [layout.states_of(row) for row in self._memory]
        self._held = {
            "inputs": own,
            "step_inputs": named,
            **weights.arrays,
            "before": self._memory[0],
            "after": self._memory[1],
            "scratch": aligned(kernel.kernel.scratch, engine.dtype),
            "projection": aligned(layout.projection_row, engine.dtype),
            "outputs": self.output,
        }
        block = {"features": weights.features} | {name: a.ctypes.data for name, a in self._held.items()}
        self._block = np.array([block[name] for name in kernel.kernel.arguments], np.int64)
        self.address = ctypes.c_void_p(self._block.ctypes.data)
        self._code = kernel
        self.call = (_LONG_CALL if weights.long(1) else _SHORT_CALL)(kernel.address)

    def states(self) -> list[Array]:
        """The states before the next timestep, one (1, …) each: views."""
        return self._states[int(self._block[_BEFORE] != self._memory[0].ctypes.data)]


class Table:
    """Many rows: `states` has a slot for each, and every timestep takes those that are chosen."""

    def __init__(self, weights: Weights, capacity: int, threads: int | None) -> None:
        self._weights, self._threads = weights, threads
        self._engine, self._kernel = weights.engine, weights.engine.kernel("rows")
        self._short, self._long = _SHORT_CALL(self._kernel.address), _LONG_CALL(self._kernel.address)
        self._program: Program | None = None
        self._slots: Indices = np.zeros(0, np.int64)
        self._ready: Indices | None = None  # the slots that everything is ready for; None while it changes
        self._step: Callable[[], object]
        self._memory = np.empty((0, self._engine.layout.state_row), self._engine.dtype)
        self.use(self.memory(capacity))

    def memory(self, capacity: int, kept: Indices | None = None) -> Array:
        """Return memory for so many slots: the first hold what those of `kept` do now (None: all of them),
        the others zeros."""
        row = self._engine.layout.state_row
        memory = aligned(capacity * row, self._engine.dtype).reshape(capacity, row)
        states = self._memory if kept is None else self._memory[kept]
        memory[: len(states)], memory[len(states) :] = states, 0
        return memory

    def use(self, memory: Array) -> None:
        """Have the states in this memory from now on."""
        engine, capacity = self._engine, len(memory)
        rows = min(capacity, _ROWS_AT_ONCE)
        held = {
            "states": memory,
            "inputs": aligned(capacity * self._weights.features, engine.dtype).reshape(capacity, -1)
            if self._weights.features
            else np.empty((capacity, 0), engine.dtype),
            "step_inputs": aligned(capacity * engine.layout.step_input_row, engine.dtype),
            "outputs": aligned(capacity * engine.layout.output, engine.dtype).reshape(
                capacity, *engine.layout.output_shape
            ),
            **self._weights.arrays,
            **{name: aligned(rows * size, engine.dtype) for name, size in self._scratch().items()},
        }
        block = {"count": 0, "block": rows, "part": 0, "parts": 1, "slots": 0}
        block |= {"features": self._weights.features} | {name: a.ctypes.data for name, a in held.items()}
        self._ready = None
        self._block = np.array([block[name] for name in self._kernel.kernel.arguments], np.int64)
        self._address = ctypes.c_void_p(self._block.ctypes.data)
        self._memory, self._output, self._held = memory, held["outputs"], held
        held["step_inputs"][...] = 0
        named = named_views(engine, held["step_inputs"].reshape(capacity, engine.layout.step_input_row))
        self._inputs = [held["inputs"]] * self._weights.takes_features + named
        self._views = [array[:0] for array in self._inputs], self._output[:0]
        self.states = engine.layout.states_of(memory)

    def _scratch(self) -> dict[str, int]:
        """The arguments that are memory of a task, and the elements of each a row."""
        layout, row = self._engine.layout, self._engine.layout.state_row
        kernel = self._kernel.kernel
        return {
            "before": row,
            "after": row,
            "scratch": kernel.scratch,
            "projection": layout.projection_row,
        }

    def inputs(self, count: int) -> list[Array]:
        """Where the inputs of so many rows are to be written, one (count, size) each."""
        if len(self._views[1]) != count:
            self._views = [array[:count] for array in self._inputs], self._output[:count]
        return self._views[0]

    def step(self, slots: Indices) -> Array:
        """Take the rows of these slots, whose inputs are written, one timestep on; return the outputs
        (count, units), a view of the table's own memory."""
        if slots is not self._ready:
            self._choose(slots)
        self._step()
        return self._views[1]

    def _choose(self, slots: Indices) -> None:
        """Make ready for timesteps of the rows of these slots."""
        count, weights = len(slots), self._weights
        self._ready, self._slots = None, slots  # whatever interrupts this, the next step begins it again
        self._block[_COUNT], self._block[_SLOTS] = count, address(slots)
        threads = 1 if count <= _ROWS_AT_ONCE else thread_cap(self._threads)
        if threads > 1 and self._engine.tasks(count, count, threads) > 1:
            self._step = partial(self._step_in_parts, threads)
        else:
            self._step = partial(self._long if weights.long(count) else self._short, self._address)
        self._ready = slots

    def _step_in_parts(self, threads: int) -> None:
        slots, parts = self._slots, _TASKS_A_THREAD * threads
        if self._program is None or self._program.tasks != parts:
            self._program = self._recorded(parts)
        held = self._held["inputs"], self._held["step_inputs"], self._output
        operands = [len(slots), *map(address, (slots, self._memory, *held))]
        status = self._program.run(operands, own_threads(), threads)
        if status is not None:
            raise MemoryError(f"{len(slots)} rows could not be taken on: {status}")

    def _recorded(self, parts: int) -> Program:
        recorder, itemsize = Recorder(), self._engine.dtype.itemsize
        given = {name: recorder.operand() for name in _GIVEN}
        memory = {
            name: recorder.workspace(_ROWS_AT_ONCE * size * itemsize, tasks=parts)
            for name, size in self._scratch().items()
        }
        phase = recorder.phase(parts)
        for part, launches in enumerate(phase.once):
            launches.launch(
                self._kernel,
                features=self._weights.features,
                block=_ROWS_AT_ONCE,
                part=part,
                parts=parts,
                **given,
                **memory,
                **self._weights.arrays,
            )
        return recorder.finish()


def write_states(states: Sequence[Array], at: Any, values: Sequence[Array | None]) -> None:
    """Write one (n, …) a state, zeros where None, over rows of states, one (slots, …) each."""
    for state, value in zip(states, values, strict=True):
        state[at] = 0 if value is None else value
