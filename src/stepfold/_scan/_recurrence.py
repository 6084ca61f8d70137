"""A step made ready for a number of units: kernels compiled, memory laid out, batches run forward and back."""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._llvm import _cache
from .._llvm._compile import Target, target
from .._llvm._kernels import (
    Kernel,
    Layout,
    backward_kernel,
    forward_kernel,
    layout_for,
    project_kernel,
    table_kernel,
)
from .._plan import plan
from .._step import Step
from . import _pool
from ._groups import CHUNK_ROWS, Group, groups
from ._masked import gather_gradient, repeat_outputs
from ._pack import pack_input_gradient, pack_panels, pack_projection, pack_vectors, write_gradients
from ._schedule import Schedule

Array = NDArray[Any]
_SMALL = 400_000  # multiply-adds below which a second thread costs more than it saves
_ALIGN = 64


def aligned(count: int, dtype: Any) -> Array:
    """An uninitialised vector that begins on a cache line."""
    itemsize = np.dtype(dtype).itemsize
    raw = np.empty(count * itemsize + _ALIGN, np.uint8)
    first = -raw.ctypes.data % _ALIGN
    return raw[first : first + count * itemsize].view(dtype)


class _Compiled:
    """A kernel's code, and how its words are handed over."""

    def __init__(self, kernel: Kernel, library: Any) -> None:
        self.kernel, self._library = kernel, library
        self._call = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(library.addresses[kernel.name])

    def job(self, words: Mapping[str, Any]) -> Callable[[], None]:
        """Return the call with these words, arrays standing for their addresses."""
        values = [w.ctypes.data if isinstance(w, np.ndarray) else int(w) for w in map(words.__getitem__, self.kernel.words)]
        block = np.array(values, np.int64)
        address = block.ctypes.data

        def run(keep: Any = (block, words)) -> None:
            self._call(address)

        return run


class Recurrence:
    """A step made ready for a number of units and a dtype (float32 or float64)."""

    def __init__(self, step: Step, units: int, dtype: Any, on: Target | None = None) -> None:
        self.step, self.units, self.dtype = step, units, np.dtype(dtype)
        self._target = on or target()
        self.layout: Layout = layout_for(plan(step), units, self.dtype.itemsize * 8, self._target)
        self._compiled: dict[str, _Compiled] = {}
        self._lock = threading.Lock()
        self._spare: list[dict[str, Array]] = []
        self.from_cache: dict[str, bool] = {}

    # ---- kernels and memory ---------------------------------------------------------------------------------

    def _kernel(self, kind: str) -> _Compiled:
        with self._lock:
            if kind not in self._compiled:
                make = {
                    "train": lambda: forward_kernel(self.layout, training=True),
                    "infer": lambda: forward_kernel(self.layout, training=False),
                    "back": lambda: backward_kernel(self.layout),
                    "project": lambda: project_kernel(self.layout),
                    "table": lambda: table_kernel(self.layout),
                }[kind]
                what = f"{self.step.key} {self.units} {self.dtype.name} {kind}"
                kernel, library, cached = _cache.load(what, self._target, make)
                self._compiled[kind] = _Compiled(kernel, library)
                self.from_cache[kind] = cached
            return self._compiled[kind]

    def kept_size(self, batch: int, time: int) -> int:
        """How many numbers (of this dtype) `kept` must have room for, at most, for a batch of this shape."""
        work = batch * time
        return (batch + work) * self.layout.state_row + work * self.layout.kept_row + 1

    def _threads(self, work: int, batch: int, threads: int | None) -> int:
        if threads is not None and threads < 1:
            raise ValueError(f"threads must be at least 1, not {threads}")
        outers = self.layout.plan.outers
        size = work * self.units * (8 + self.units * max(1, len(outers)))
        if size < _SMALL:
            return 1
        return max(1, min(threads or _pool.processors(), batch))

    def _memory(self, space: dict[str, Array], name: str, count: int) -> Array:
        """A piece of working memory of this run, kept for the next one."""
        if name not in space or len(space[name]) < count:
            space[name] = aligned(max(1, count), self.dtype)
        return space[name]

    def _space(self) -> dict[str, Array]:
        try:
            return self._spare.pop()
        except IndexError:
            return {}

    def _pads(self, arrays: Sequence[Array]) -> Array:
        """Rows of units side by side, each padded to whole vectors: (…, slots, padded)."""
        out = np.zeros((*arrays[0].shape[:-1], len(arrays), self.layout.shape.padded), self.dtype)
        for k, array in enumerate(arrays):
            out[..., k, : self.units] = array
        return out

    def _extras(self, extra: Mapping[tuple[str, str], Array] | None, group: Group) -> dict[str, Any]:
        words: dict[str, Any] = {"row_inputs": 0, "step_inputs": 0}
        made = self.layout.plan
        if made.row_inputs:
            words["row_inputs"] = self._pads([(extra or {})["row_input", n][group.rows] for n in made.row_inputs])
        if made.step_inputs:
            flat = [(extra or {})["step_input", n].reshape(-1, self.units)[group.positions] for n in made.step_inputs]
            words["step_inputs"] = self._pads(flat)
        return words

    def _places(self, kept: Array, schedule: Schedule, group: Group) -> tuple[Array, Array]:
        """A group's part of `kept`: states (rows + work, states, padded) and kept values."""
        layout, work = self.layout, int(schedule.counts.sum())
        rows_before, work_before = group.before
        first = (rows_before + work_before) * layout.state_row
        count = len(group.rows) + group.work
        states = kept[first : first + count * layout.state_row].reshape(count, layout.plan.states, -1)
        second = (schedule.batch + work) * layout.state_row + work_before * layout.kept_row
        return states, kept[second : second + group.work * layout.kept_row]

    # ---- forward --------------------------------------------------------------------------------------------

    def forward(
        self,
        schedule: Schedule,
        inputs: Array,
        params: Mapping[str, Array],
        initial: Sequence[Array | None] | None = None,
        *,
        tokens: Array | None = None,
        extra: Mapping[tuple[str, str], Array] | None = None,
        outputs: Array | None = None,
        last: Sequence[Array | None] | None = None,
        kept: Array | None = None,
        threads: int | None = None,
    ) -> None:
        """Fold the step over a batch of sequences; everything that is asked for is written into arrays given.

        `inputs` (*schedule.shape, features), contiguous; with `tokens` (schedule.shape, int32 or int64) it is instead a
        table (words, features) whose rows the tokens choose. `params` name → array (any strides). `initial` one array
        (batch, units) a state, None for zeros. `extra`: what transforms of the step ask for, ("row_input", name) →
        (batch, units), ("step_input", name) → (*schedule.shape, units). Written: `outputs` (*schedule.shape, units), the
        first state after every timestep (at a masked one: as it was before); `last` one (batch, units) a state; `kept`
        (kept_size,), what `backward` needs; leave it out for inference, which is faster.
        """
        layout, states = self.layout, self.layout.plan.states
        features = inputs.shape[-1]
        compiled = self._kernel("infer" if kept is None else "train")
        work = int(schedule.counts.sum())
        count = self._threads(work, schedule.batch, threads)
        parts = groups(schedule, count)
        space = self._space()
        panels = self._memory(space, "panels", compiled.kernel.panel_size)
        pack_panels(compiled.kernel.panels, layout.shape.lanes, params, panels)
        input_panel, bias = pack_projection(layout, params, features, self.dtype)
        vectors = pack_vectors(layout.plan.vectors, layout.shape.padded, params)
        table: Array | None = None
        table_index: Array | None = None
        if tokens is not None and layout.plan.projections:
            distinct, table_index = distinct_tokens(tokens, schedule, len(inputs))
            table = self._memory(space, "table", len(distinct) * layout.projection_row)
            self._project(inputs, distinct, input_panel, bias, table, count)
        jobs = []
        homes = []
        for k, group in enumerate(parts):
            rows = len(group.rows)
            if kept is None:
                lasting = self._memory(space, f"states{k}", 2 * rows * layout.state_row)[: 2 * rows * layout.state_row]
                home, keep = lasting.reshape(2 * rows, states, -1), lasting
                final = group.rows * 0 + np.where(group.counts % 2 == 1, rows, 0) + np.arange(rows)
            else:
                home, keep = self._places(kept, schedule, group)
                final = group.last
            homes.append((home, final))
            for s in range(states):
                given = None if initial is None else initial[s]
                home[:rows, s, : self.units] = 0 if given is None else given[group.rows]
            words = {
                "steps": group.steps,
                "rows": rows,
                "chunk": group.chunk,
                "offsets": group.offsets,
                "source": group.positions if table_index is None else table_index[group.positions],
                "target": group.positions,
                "dense": int(table_index is None),
                "inputs": inputs,
                "features": features,
                "panels": panels,
                "vectors": vectors,
                "states": home,
                "kept": keep,
                "scratch": self._memory(space, f"scratch{k}", rows * compiled.kernel.scratch),
                "ring": int(kept is None),
                "projection": table
                if table is not None
                else self._memory(space, f"projection{k}", max(CHUNK_ROWS, rows) * layout.projection_row),
                "input_panel": input_panel,
                "input_bias": bias,
                "outputs": 0 if outputs is None else outputs,
                **self._extras(extra, group),
            }
            jobs.append(compiled.job(words))
        if kept is not None:
            kept[-1] = count  # how the batch was cut, for the way back may have other threads
        _run(jobs, count)
        for group, (home, final) in zip(parts, homes, strict=True):
            for s, wanted in enumerate(last or ()):
                if wanted is not None:
                    wanted[group.rows] = home[final, s, : self.units]
        if outputs is not None and not schedule.whole:
            repeat_outputs(schedule, outputs, None if initial is None else initial[0])
        self._spare.append(space)

    def _project(self, inputs: Array, distinct: Array, panel: Array, bias: Array, table: Array, threads: int) -> None:
        compiled = self._kernel("project")
        jobs = []
        for part in np.array_split(np.arange(len(distinct)), threads):
            if len(part):
                words = {
                    "inputs": inputs,
                    "features": inputs.shape[-1],
                    "source": distinct[part[0] :],
                    "count": len(part),
                    "input_panel": panel,
                    "input_bias": bias,
                    "projection": table[part[0] * self.layout.projection_row :],
                }
                jobs.append(compiled.job(words))
        _pool.run(jobs)

    # ---- backward -------------------------------------------------------------------------------------------

    def backward(
        self,
        schedule: Schedule,
        inputs: Array,
        params: Mapping[str, Array],
        kept: Array,
        *,
        tokens: Array | None = None,
        extra: Mapping[tuple[str, str], Array] | None = None,
        output_gradient: Array | None = None,
        last_gradient: Sequence[Array | None] | None = None,
        inputs_gradient: Array | None = None,
        params_gradient: Mapping[str, Array],
        initial_gradient: Sequence[Array | None] | None = None,
        threads: int | None = None,
    ) -> None:
        """Carry gradients back; `kept` is what `forward` wrote for the same inputs and params.

        Read: `output_gradient` like `outputs`, `last_gradient` like `last` (None: zeros). Written (overwritten, not added
        to): `inputs_gradient` like `inputs` (with tokens: like the table), `params_gradient` name → array of any strides
        (only the names given are written), `initial_gradient` like `initial`.
        """
        layout, made = self.layout, self.layout.plan
        features = inputs.shape[-1]
        compiled = self._kernel("back")
        work = int(schedule.counts.sum())
        count = self._threads(work, schedule.batch, threads)
        parts = groups(schedule, int(kept[-1]))
        space = self._space()
        panels = self._memory(space, "panels", compiled.kernel.panel_size)
        pack_panels(compiled.kernel.panels, layout.shape.lanes, params, panels)
        vectors = pack_vectors(made.back_vectors, layout.shape.padded, params)
        input_panel = pack_input_gradient(layout, params, features, self.dtype)
        to_initial: Array | None = None
        if output_gradient is not None and not schedule.whole and schedule.time:
            output_gradient, to_initial = gather_gradient(schedule, output_gradient)
        if inputs_gradient is not None and (tokens is not None or not schedule.whole or not made.input_deltas):
            inputs_gradient[...] = 0
        distinct = table_index = None
        if tokens is not None and made.input_deltas:
            distinct, table_index = distinct_tokens(tokens, schedule, len(inputs))
        sums = [self._sums(space, f"{i}", features, 0 if distinct is None else len(distinct)) for i in range(count)]
        jobs: list[list[Callable[[], None]]] = [[] for _ in range(count)]
        cotangents = []
        for k, group in enumerate(parts):
            rows = len(group.rows)
            states, keep = self._places(kept, schedule, group)
            carried = np.zeros((2, rows, made.states, layout.shape.padded), self.dtype)
            for s, given in enumerate(last_gradient or ()):
                if given is not None:
                    carried[:, :, s, : self.units] = given[group.rows]
            cotangents.append(carried)
            chunk_rows = max(CHUNK_ROWS, rows)
            mine = sums[k % count]
            words = {
                "steps": group.steps,
                "rows": rows,
                "chunk": group.chunk,
                "offsets": group.offsets,
                "source": group.positions if table_index is None else table_index[group.positions],
                "target": group.positions,
                "previous": group.previous,
                "dense": int(table_index is None),
                "inputs": inputs,
                "features": features,
                "panels": panels,
                "vectors": vectors,
                "states": states,
                "kept": keep,
                "scratch": self._memory(space, f"scratch{k}", rows * compiled.kernel.scratch),
                "cotangents": carried,
                "output_gradient": 0 if output_gradient is None else output_gradient,
                "deltas": self._memory(space, f"deltas{k}", chunk_rows * layout.delta_row),
                "operands": self._memory(space, f"operands{k}", chunk_rows * layout.operand_row),
                "input_panel": input_panel,
                "inputs_gradient": 0 if inputs_gradient is None else inputs_gradient,
                **mine,
                **self._extras(extra, group),
            }
            jobs[k % count].append(compiled.job(words))
        _pool.run([functools.partial(_all, mine) for mine in jobs if mine])
        if distinct is not None:
            self._table_back(distinct, sums, inputs, input_panel, inputs_gradient)
        self._finish(sums, features, params_gradient)
        for s, wanted in enumerate(initial_gradient or ()):
            if wanted is not None:
                wanted[...] = to_initial if s == 0 and to_initial is not None else 0
                for group, carried in zip(parts, cotangents, strict=True):
                    wanted[group.rows] += carried[0, :, s, : self.units]
        self._spare.append(space)

    def _sums(self, space: dict[str, Array], name: str, features: int, table_rows: int) -> dict[str, Array]:
        """One thread's sums, zeroed."""
        layout, made = self.layout, self.layout.plan
        sizes = {
            "kernel_gradients": features * made.input_deltas * layout.shape.padded,
            "recurrent_gradients": layout.recurrent_size,
            "column_gradients": len(made.column_sums) * layout.shape.padded,
            "vector_gradients": len(made.vector_gradients) * layout.shape.padded,
            "table_gradient": table_rows * layout.delta_row,
        }
        found = {key: self._memory(space, key + name, size)[: max(1, size)] for key, size in sizes.items()}
        for array in found.values():
            array[...] = 0
        return found

    def _table_back(
        self, distinct: Array, sums: list[dict[str, Array]], inputs: Array, panel: Array, inputs_gradient: Array | None
    ) -> None:
        """From the table's gradient to the rows of `inputs` that the tokens chose, and to the kernels."""
        table = sums[0]["table_gradient"]
        for other in sums[1:]:
            table += other["table_gradient"]
        compiled = self._kernel("table")
        jobs = []
        for mine, part in zip(sums, np.array_split(np.arange(len(distinct)), len(sums)), strict=True):
            if len(part):
                words = {
                    "inputs": inputs,
                    "features": inputs.shape[-1],
                    "source": distinct[part[0] :],
                    "count": len(part),
                    "deltas": table[part[0] * self.layout.delta_row :],
                    "input_panel": panel,
                    "inputs_gradient": 0 if inputs_gradient is None else inputs_gradient,
                    "kernel_gradients": mine["kernel_gradients"],
                }
                jobs.append(compiled.job(words))
        _pool.run(jobs)

    def _finish(self, sums: list[dict[str, Array]], features: int, target_: Mapping[str, Array]) -> None:
        total = sums[0]
        for other in sums[1:]:
            for key in ("kernel_gradients", "recurrent_gradients", "column_gradients", "vector_gradients"):
                total[key] += other[key]
        padded, made = self.layout.shape.padded, self.layout.plan
        kernels = total["kernel_gradients"][: features * made.input_deltas * padded].reshape(features, -1, padded)
        columns = total["column_gradients"][: len(made.column_sums) * padded].reshape(-1, padded)
        vectors = total["vector_gradients"][: len(made.vector_gradients) * padded].reshape(-1, padded)
        write_gradients(self.layout, kernels, total["recurrent_gradients"], columns, vectors, target_)


def _all(jobs: Sequence[Callable[[], None]]) -> None:
    for job in jobs:
        job()


def _run(jobs: Sequence[Callable[[], None]], threads: int) -> None:
    """Run jobs on so many threads, each taking every so manieth."""
    _pool.run([functools.partial(_all, jobs[i::threads]) for i in range(min(threads, len(jobs)))])


def distinct_tokens(tokens: Array, schedule: Schedule, words: int) -> tuple[Array, Array]:
    """Return the distinct tokens where the schedule works, rising, and each place's index among them (flat)."""
    flat = tokens.reshape(-1)
    used = np.zeros(words, bool)
    if schedule.whole:
        used[flat] = True
    else:
        assert schedule.mask is not None
        mask = schedule.mask.T if schedule.time_major else schedule.mask
        used[flat[mask.reshape(-1)]] = True
    distinct = np.flatnonzero(used)
    index = np.zeros(words, np.int64)
    index[distinct] = np.arange(len(distinct))
    return distinct, index[flat]


@functools.lru_cache(maxsize=256)
def recurrence(step: Step, units: int, dtype: str) -> Recurrence:
    """Return the recurrence of a step, made once; `dtype` "float32" or "float64"."""
    return Recurrence(step, units, dtype)


