"""The kernels of one step for one number of units, compiled when first wanted."""

from __future__ import annotations

import functools
import sys
from typing import Any

import numpy as np

from .._llvm import KERNELS, Layout, Target, layout_for, target
from .._locks import ForkSafeLock
from .._native import CompiledKernel, compiled
from .._plan import plan
from .._step import Step

COOPERATES = sys.platform != "win32"
"""Whether threads may wait for one another inside a kernel: not on Windows, where nobody has tried it."""
_RANK = 20_000  # multiply-adds a timestep for which one more rank saves what its barriers cost
_SMALL = 10_000_000  # multiply-adds below which a second thread costs more than it saves


class Engine:
    """A step's plan, layout and kernels for a number of units and a dtype; knows nothing of how a batch is
    run."""

    def __init__(self, step: Step, units: int, dtype: Any, on: Target | None = None) -> None:
        self.step, self.units, self.dtype = step, units, np.dtype(dtype)
        self.itemsize, self.bits = self.dtype.itemsize, self.dtype.itemsize * 8
        self.plan = plan(step)
        self.target = on or target()
        self.layout: Layout = layout_for(self.plan, units, self.bits, self.target)
        self._compiled: dict[str, CompiledKernel] = {}
        self._lock = ForkSafeLock()

    def kernel(self, kind: str) -> CompiledKernel:
        """The kernel of a kind ("infer", "train", "backward", "project", "table", "cooperative"), compiled
        once."""
        found = self._compiled.get(kind)
        if found is None:
            with self._lock.lock:
                found = self._compiled.get(kind) or self._load(kind)
                self._compiled[kind] = found
        return found

    def _load(self, kind: str) -> CompiledKernel:
        name = f"{self.step.key} {self.units} {self.dtype.name} {kind}"
        return compiled(name, self.target, lambda: KERNELS[kind](self.layout))

    @property
    def from_cache(self) -> dict[str, bool]:
        """For each kernel loaded so far, whether its code came from the disk."""
        return {kind: kernel.from_cache for kind, kernel in self._compiled.items()}

    @property
    def form(self) -> str:
        """What decides how residuals lie in memory."""
        layout = self.layout
        return f"{self.step.key} {self.units} {self.dtype.name} {layout.shape.lanes} {layout.state_row}"

    def tasks(self, steps: int, batch: int, threads: int) -> int:
        """How many threads a batch with so many active steps deserves."""
        if steps * self.units * (8 + self.units * max(1, len(self.plan.outers))) < _SMALL:
            return 1
        return max(1, min(threads, batch))

    def ranks(self, batch: int, threads: int) -> int:
        """How many threads are to share the row of a batch of one, each with a part of the units."""
        matrices = sum(outer.operand.kind != "input" for outer in self.plan.outers)
        worth = matrices * self.units**2 // _RANK
        if batch != 1 or worth < 2 or not self.layout.divisible or not COOPERATES:
            return 1
        return max(1, min(threads, self.layout.shape.blocks, worth))


@functools.lru_cache(maxsize=256)
def engine_for(step: Step, units: int, dtype: np.dtype[Any]) -> Engine:
    """Return the engine of a step, made once; `dtype` float32 or float64."""
    return Engine(step, units, dtype)
