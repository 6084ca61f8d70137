"""The kernels of one step for one number of units: compiled when first wanted, with memory to work in."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import NoneType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._llvm import KERNELS, Layout, Target, layout_for, load, target
from .._plan import plan
from .._step import Step
from . import _pool
from ._calls import Call, Compiled, clearing, small
from ._groups import Group
from ._memory import Space
from ._moves import Planned

Array = NDArray[Any]
_TEAMS = sys.platform != "win32"  # whose threads wait for one another by sched_yield
_MEMBER = 20_000  # multiply-adds a timestep for which one more member saves what its meetings cost
_SMALL = 10_000_000  # multiply-adds below which waking a second thread costs more than it saves


class Engine:
    """A step's plan, layout, kernels and memory; knows nothing of how a batch is run."""

    def __init__(self, step: Step, units: int, dtype: np.dtype[Any], on: Target | None) -> None:
        self.step, self.units, self.dtype = step, units, dtype
        self.plan = plan(step)
        self._target = on or target()
        self.layout: Layout = layout_for(self.plan, units, dtype.itemsize * 8, self._target)
        self.from_cache: dict[str, bool] = {}
        self._compiled: dict[str, Compiled] = {}
        self._lock = threading.Lock()
        self._spare: list[Space] = []
        self.moves = Planned()

    def kernel(self, kind: str) -> Compiled:
        """The kernel of a kind ("infer", "train", "back", "project", "table"), compiled once."""
        found = self._compiled.get(kind)
        if found is None:
            with self._lock:
                found = self._compiled.get(kind) or self._load(kind)
                self._compiled[kind] = found
        return found

    def _load(self, kind: str) -> Compiled:
        what = f"{self.step.key} {self.units} {self.dtype.name} {kind}"
        kernel, library, self.from_cache[kind] = load(what, self._target, lambda: KERNELS[kind](self.layout))
        return Compiled(kernel, library)

    @contextmanager
    def space(self) -> Iterator[Space]:
        """Working memory for one call; calls at the same time get different ones."""
        try:
            space = self._spare.pop()
        except IndexError:
            space = Space(self.dtype)
        yield space
        self._spare.append(space)

    def threads(self, work: int, batch: int, wanted: int | None) -> int:
        """How many threads so much work deserves."""
        if not isinstance(wanted, (int, np.integer, NoneType)) or isinstance(wanted, bool):
            raise TypeError(f"threads must be a whole number, not {wanted!r}")
        if wanted is not None and wanted < 1:
            raise ValueError(f"threads must be at least 1, not {wanted}")
        if work * self.units * (8 + self.units * max(1, len(self.plan.outers))) < _SMALL:
            return 1
        return max(1, min(wanted or _pool.processors(), batch))

    def members(self, batch: int, wanted: int | None) -> int:
        """How many threads are to share the row of a batch of one, each taking a part of the units."""
        matrices = sum(outer.operand.kind != "input" for outer in self.plan.outers)
        worth = matrices * self.units**2 // _MEMBER
        if batch != 1 or worth < 2 or not self.layout.divisible or not _TEAMS:
            return 1
        return max(1, min(wanted or _pool.processors(), self.layout.shape.blocks, worth))

    def places(self, kept: int, parts: Sequence[Group], group: Group) -> tuple[int, int]:
        """Where a group's part of `kept`, which begins at an address, lies: states and kept values."""
        layout, last, size = self.layout, parts[-1], self.dtype.itemsize
        slots_before, work_before = group.before
        second = (last.before[0] + last.size) * layout.state_row + work_before * layout.kept_row
        return kept + size * slots_before * layout.state_row, kept + size * second

    def begin(self, group: Group, states: int, given: Sequence[Array | None] | None) -> list[Call]:
        """The calls that put what is given of a batch's rows, (batch, units) a state (None: zeros), to the
        states of a group at an address."""
        calls = [clearing(states, len(group.rows) * self.layout.state_row * self.dtype.itemsize)]
        copies = [None if array is None else np.ascontiguousarray(array) for array in given or ()]
        return calls + self._ends("begin", group, states, "source", copies)

    def end(
        self, group: Group, states: int, slots: int, wanted: Sequence[Array | None] | None, *, ring: bool
    ) -> list[Call]:
        """The calls that take the last states of a group out, (batch, units) each (None: not wanted): from
        the slots in a list at an address, or from a ring of the last two timesteps'."""
        more = {"steps": group.steps, "slots": slots, "ring": int(ring)}
        return self._ends("end", group, states, "target", wanted, **more)

    def _ends(
        self,
        name: str,
        group: Group,
        states: int,
        other: str,
        arrays: Sequence[Array | None] | None,
        **more: int,
    ) -> list[Call]:
        calls, size = [], self.dtype.itemsize
        for s, array in enumerate(arrays or ()):
            if array is not None:
                words = {
                    "rows": len(group.rows),
                    "lines": group.rows,
                    "counts": group.counts,
                    "joined": int(group.joined),
                    "width": self.units,
                    "states": states + s * self.layout.shape.padded * size,
                    "state_row": self.layout.state_row,
                    other: array,
                    **more,
                }
                calls.append(Call(small(f"{name}{8 * size}"), words))
        return calls

    def extras(self, extra: Mapping[tuple[str, str], Array] | None, group: Group) -> dict[str, Any]:
        """The words for what transforms of a step ask for: vectors a row and vectors a timestep."""
        words: dict[str, Any] = {"row_inputs": 0, "step_inputs": 0}
        given = extra or {}
        if self.plan.row_inputs:
            words["row_inputs"] = self._pads(
                [given["row_input", n][group.rows] for n in self.plan.row_inputs]
            )
        if self.plan.step_inputs:
            flat = [
                given["step_input", n].reshape(-1, self.units)[group.positions] for n in self.plan.step_inputs
            ]
            words["step_inputs"] = self._pads(flat)
        return words

    def _pads(self, arrays: Sequence[Array]) -> Array:
        """Rows of units side by side, each padded to whole vectors: (…, slots, padded)."""
        out = np.zeros((*arrays[0].shape[:-1], len(arrays), self.layout.shape.padded), self.dtype)
        for k, array in enumerate(arrays):
            out[..., k, : self.units] = array
        return out
