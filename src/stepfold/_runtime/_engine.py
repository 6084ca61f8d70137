"""The kernels of one step for certain sizes, compiled when first wanted."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from .._llvm import KERNELS, Kernel, Layout, Target, layout_for, target
from .._locks import ForkSafeLock
from .._native import CompiledKernel, compiled
from .._plan import plan
from .._step import Step
from ._recipe import Sizes
from ._shape import MOST_ROWS

COOPERATES = sys.platform != "win32"
"""Whether threads may wait for one another inside a kernel: not on Windows, where nobody has tried it."""
_RANK = 20_000  # multiply-adds a timestep for which one more rank saves what its barriers cost
_NEAR = 1 << 15  # bytes that stay in a core's nearest cache
_SMALL = 10_000_000  # multiply-adds below which a second thread costs more than it saves


class Engine:
    """A step's plan, layout and kernels for a number of units, sizes of other axes and a dtype; knows nothing
    of how a batch is run."""

    def __init__(
        self, step: Step, units: int, dtype: Any, on: Target | None = None, sizes: Sizes = ()
    ) -> None:
        if step.integers:
            raise ValueError(f"{step.name} reads integers; an engine is of the step that is scanned")
        self.step, self.units, self.sizes, self.dtype = step, units, sizes, np.dtype(dtype)
        self.itemsize, self.bits = self.dtype.itemsize, self.dtype.itemsize * 8
        self.plan = plan(step)
        self.target = on or target()
        self.layout: Layout = layout_for(self.plan, units, self.bits, self.target, sizes)
        self._compiled: dict[str, CompiledKernel] = {}
        self._lock = ForkSafeLock()

    def kernel(self, kind: str, make: Callable[[], Kernel] | None = None) -> CompiledKernel:
        """The kernel of a kind ("infer", "train", "backward", "project", "table", "cooperative"), compiled
        once; `make` writes one of a kind of its own."""
        found = self._compiled.get(kind)
        if found is None:
            with self._lock.lock:
                found = self._compiled.get(kind) or self._load(kind, make)
                self._compiled[kind] = found
        return found

    def _load(self, kind: str, make: Callable[[], Kernel] | None) -> CompiledKernel:
        name = f"{self.step.key} {self._told} {self.dtype.name} {kind}"
        return compiled(name, self.target, make or (lambda: KERNELS[kind](self.layout)))

    @property
    def from_cache(self) -> dict[str, bool]:
        """For each kernel loaded so far, whether its code came from the disk."""
        return {kind: kernel.from_cache for kind, kernel in self._compiled.items()}

    @property
    def form(self) -> str:
        """What decides how residuals lie in memory."""
        layout = self.layout
        return f"{self.step.key} {self._told} {self.dtype.name} {layout.sizes.lanes} {layout.state_row}"

    @property
    def _told(self) -> str:
        return " ".join([str(self.units), *(f"{axis}={size}" for axis, size in self.sizes)])

    @functools.cached_property
    def _matrices(self) -> list[int]:
        """How many elements each matrix has whose gradient is no product with the input."""
        dims = (self.plan.step.parameters[o.matrix] for o in self.plan.outers if o.operand.kind != "input")
        return list(map(self.layout.sizes.count, dims))

    @functools.cached_property
    def _work(self) -> int:
        """About how many multiply-adds an active step takes; features count as units do."""
        sizes, deltas = self.layout.sizes, self.plan.backward.slots["delta"]
        inputs = [sizes.count(deltas[o.delta]) for o in self.plan.outers if o.operand.kind == "input"]
        own = [sizes.count(n.dims) for n in self.plan.step.nodes if len(n.dims) == 2 and n.op != "parameter"]
        vectors = [sizes.count(dims) for dims in map(self.step.dims_of, self.step.states) if len(dims) == 1]
        wide = max(vectors, default=1)
        products = sum(self._matrices) + sum(size * size for size in inputs)
        return 8 * wide + max(wide**2, products) + sum(own)

    @functools.cached_property
    def rows(self) -> int:
        """How many rows a group of an inference should have: of matrix states only so many as stay in the
        nearest cache from one timestep to the next."""
        if all(len(self.step.dims_of(state)) < 2 for state in self.step.states):
            return MOST_ROWS
        row = self.layout.ring * self.layout.state_row * self.itemsize
        return int(max(1, min(MOST_ROWS, _NEAR // row)))

    def tasks(self, steps: int, batch: int, threads: int, small: int = _SMALL) -> int:
        """How many threads a batch with so many active steps deserves; one below so many multiply-adds."""
        if steps * self._work < min(small, _SMALL):
            return 1
        return max(1, min(threads, batch))

    def ranks(self, batch: int, threads: int) -> int:
        """How many threads are to share the row of a batch of one, each with a part of each axis."""
        worth = sum(self._matrices) // _RANK
        if batch != 1 or worth < 2 or not self.layout.divisible or not COOPERATES:
            return 1
        return max(1, min(threads, self.layout.most_blocks, worth))


@functools.lru_cache(maxsize=256)
def engine_for(step: Step, units: int, dtype: np.dtype[Any], sizes: Sizes = ()) -> Engine:
    """Return the engine of a step, made once; `dtype` float32 or float64; `sizes`: those of other axes than
    the units, as a recipe has them."""
    return Engine(step, units, dtype, sizes=sizes)
