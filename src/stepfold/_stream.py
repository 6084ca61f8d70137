"""One timestep at a time with carried state: buffers and addresses held, nothing allocated in a step."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._cell import Cell
from ._dtype import checked_dtype
from ._llvm import STREAM, Kernel, Layout, layout_for, stream_kernel, target
from ._native import Packing, Recorder, address, aligned, calling_thread, compiled, forward_sizes, sources_of
from ._plan import plan
from ._runtime import checked_params

Array = NDArray[Any]
_BEFORE = list(STREAM).index("before")
_LONG = 50_000  # multiply-adds from which on letting other Python threads run is worth its cost


class Stream:
    """A cell that goes on, one timestep a call.

    `params` as `cell.parameter_shapes` says, all float32 or all float64; they are copied. `batch` sequences
    go on side by side. `initial_state`: one (batch, units) a state, zeros if left out. Raises ValueError or
    TypeError for what does not fit. A stream belongs to one thread at a time."""

    def __init__(
        self,
        cell: Cell,
        params: Mapping[str, Any],
        batch: int = 1,
        *,
        initial_state: Sequence[Any] | None = None,
    ) -> None:
        if not isinstance(batch, int) or isinstance(batch, bool) or batch < 1:
            raise ValueError(f"batch must be an integer of at least 1, not {batch!r}")
        if cell.step.leaves("row_input") or cell.step.leaves("step_input"):
            raise ValueError(
                f"{cell.name} asks for values a sequence or a timestep (dropout), which a stream has not"
            )
        self.cell = cell
        dtype = checked_dtype(np.asarray(next(iter(params.values()))).dtype if params else np.float32)
        checked, features, units = checked_params(cell, params, dtype)
        on = target()
        layout = layout_for(plan(cell.step), units, dtype.itemsize * 8, on)
        name = f"{cell.step.key} {units} {dtype.name} stream {batch}"
        self._code = compiled(name, on, lambda: stream_kernel(layout, batch))
        kernel = self._code.kernel
        self._shape, self._units, self._states = (batch, features), units, layout.plan.states
        self._input = aligned(batch * features, dtype).reshape(batch, features)
        self._output = aligned(batch * units, dtype).reshape(batch, units)
        memory = layout.states_of(aligned(2 * batch * layout.state_row, dtype))
        self._memory = memory.reshape(2, batch, self._states, -1)
        self._held = {
            "inputs": self._input,
            **_packed(layout, kernel, features, checked),
            "before": self._memory[0],
            "after": self._memory[1],
            "scratch": aligned(kernel.scratch, dtype),
            "projection": aligned(batch * layout.projection_row, dtype),
            "outputs": self._output,
        }
        block = {"features": features} | {name: a.ctypes.data for name, a in self._held.items()}
        self._block = np.array([block[name] for name in STREAM], np.int64)
        self._address = ctypes.c_void_p(self._block.ctypes.data)
        short = batch * sum(p.size for p in checked.values()) < _LONG
        prototype = (ctypes.PYFUNCTYPE if short else ctypes.CFUNCTYPE)(None, ctypes.c_void_p)
        self._call = prototype(self._code.address)
        self._start = [None] * self._states if initial_state is None else self._checked_state(initial_state)
        self.reset()

    @property
    def from_cache(self) -> bool:
        """Whether the kernel's code came from the disk."""
        return self._code.from_cache

    def _checked_state(self, given: Sequence[Any]) -> list[Array | None]:
        shape = (self._shape[0], self._units)
        if len(given) != self._states:
            raise ValueError(
                f"initial_state has {len(given)} array(s), {self.cell.name} has {self._states} state(s)"
            )
        found: list[Array | None] = []
        for name, value in zip(self.cell.states, given, strict=True):
            if np.shape(value) != shape:
                raise ValueError(
                    f"initial state {name!r} has shape {np.shape(value)}, expected (batch, units) = {shape}"
                )
            found.append(np.array(value, self._input.dtype))
        return found

    def step(self, x: Any) -> Array:
        """Take the next timestep, (batch, features), or (features,) if batch is 1; return the output (batch,
        units).

        The array returned is the same every time and is overwritten by the next step: copy it to keep it.
        """
        try:
            if x.shape != self._shape and (self._shape[0] != 1 or x.shape != self._shape[1:]):
                raise ValueError(f"x has shape {x.shape}, expected (batch, features) = {self._shape}")
        except AttributeError:
            return self.step(np.asarray(x))
        self._input[...] = x
        self._call(self._address)
        return self._output

    def reset(self) -> None:
        """Go back to the initial state."""
        before = self._before()
        for s, value in enumerate(self._start):
            before[:, s, : self._units] = 0 if value is None else value
        self._output[...] = before[:, 0, : self._units]

    def _before(self) -> Array:
        at = int(self._block[_BEFORE] != self._memory[0].ctypes.data)
        found: Array = self._memory[at]
        return found

    @property
    def state(self) -> tuple[Array, ...]:
        """The states as they are now, one (batch, units) each: copies."""
        before = self._before()
        return tuple(before[:, s, : self._units].copy() for s in range(self._states))

    @state.setter
    def state(self, values: Sequence[Any]) -> None:
        before = self._before()
        for s, value in enumerate(self._checked_state(values)):
            before[:, s, : self._units] = value


def _packed(layout: Layout, kernel: Kernel, features: int, params: Mapping[str, Array]) -> dict[str, Array]:
    """Weights packed for the kernel."""
    dtype = next(iter(params.values())).dtype
    sources = sources_of(features)
    sizes = forward_sizes(layout, kernel, sources)
    arrays = {name: aligned(size, dtype) for name, size in sizes.items()}
    recorder, packing = Recorder(), Packing(dtype)
    for name, array in arrays.items():
        packing.add(name, recorder.operand(), array.shape)
    pieces = {}
    for name, value in params.items():
        pieces[name] = [(f"weight {name}", packing.add(f"weight {name}", recorder.operand(), value.shape))]
    packing.plan(packing.forward(layout, kernel, sources, pieces)).record(recorder.phase())
    weights = [np.ascontiguousarray(value) for value in params.values()]
    status = recorder.finish().run(list(map(address, [*arrays.values(), *weights])), calling_thread(), 1)
    if status is not None:
        raise MemoryError(f"weights of {kernel.name} could not be packed: {status}")
    return arrays
