"""How a plan's rows lie in memory, for a number of units and a width of vectors; what a kernel tells its
caller."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from numpy.typing import NDArray

from .._plan import Outer, Plan
from ._stage import Panel, Shape
from ._target import Target
from ._tiles import packed_size, tile_shape

_ROUND = 1024
_CHUNK_ROWS = 256
_FAR = 2048  # bytes from one row to the next
INPUT_BLOCKS = 2  # the input's gradient is computed two vectors of features at a time


@dataclass(frozen=True)
class OuterGroup:
    """Matrix gradients with one operand: `offset` [length][slots][padded units]; `slots` deltas that lie side
    by side."""

    offset: int
    operand: str
    operand_slot: int
    first_delta: int
    slots: int
    outers: tuple[Outer, ...]


@dataclass(frozen=True)
class Kernel:
    """A kernel's text and what its caller must lay out for it; all sizes in elements, `scratch` those a row.

    `arguments`: the names of its arguments, in the order of its argument block; `exports`: what else of its
    text other code finds by name.
    """

    text: str
    name: str
    arguments: tuple[str, ...]
    panels: tuple[Panel, ...] = ()
    panel_size: int = 0
    scratch: int = 0
    exports: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layout:
    """How a plan's rows lie in memory, for a number of units and a width of vectors; sizes in elements."""

    plan: Plan
    shape: Shape
    bits: int
    architecture: str

    def _apart(self, size: int) -> int:
        """Rows whose distance is a multiple of a large power of two share few sets of the caches: set
        apart."""
        return size + self.shape.lanes if size and size * self.bits // 8 % _ROUND == 0 else size

    def states_of(self, memory: NDArray[Any]) -> NDArray[Any]:
        """Memory of whole rows of states, (… · state_row,), as (rows, states, padded)."""
        used = memory.reshape(-1, self.state_row)[:, : self.plan.states * self.shape.padded]
        return used.reshape(len(used), self.plan.states, self.shape.padded)

    @property
    def state_row(self) -> int:
        """All states of one row."""
        return self._apart(self.plan.states * self.shape.padded)

    @property
    def residual_row(self) -> int:
        """The residuals of one row at one timestep."""
        scalars = -(-self.plan.residual_scalars // self.shape.lanes) * self.shape.lanes
        return self.plan.residual_units * self.shape.padded + scalars

    @property
    def projection_row(self) -> int:
        """All projections of one row."""
        return len(self.plan.projections) * self.shape.padded

    @functools.cached_property
    def projection_blocks(self) -> tuple[int, int]:
        """The tile of a projection, (rows, vectors)."""
        return tile_shape(1, max(1, len(self.plan.projections) * self.shape.blocks), self.shape.registers)

    def chunk(self, rows: int) -> int:
        """How many timesteps of so many rows to take at a time, so that what lies between them stays in the
        cache."""
        return max(1, _CHUNK_ROWS // max(1, rows))

    @property
    def divisible(self) -> bool:
        """Whether cooperative threads may share a row: nothing is summed over its units but in products."""
        return not any(stage.reductions or stage.scalars for stage in self.plan.inference.stages)

    @property
    def delta_row(self) -> int:
        """All deltas of one row."""
        return self._apart(self.plan.deltas * self.shape.padded)

    @property
    def packed_size(self) -> int:
        """How many elements of deltas the sums of outer products pack; none if their rows are short."""
        return packed_size(self.shape.lanes) if self.delta_row * self.bits // 8 >= _FAR else 0

    @property
    def operand_row(self) -> int:
        """All operands computed again of one row."""
        return self._apart(self.plan.operands * self.shape.padded)

    @functools.cached_property
    def sums(self) -> dict[str, int]:
        """Where in one thread's sums of gradients those begin that the kernels' words name; those of the
        input's kernels come last, for their number depends on the features."""
        padded = self.shape.padded
        columns = self.recurrent_size
        vectors = columns + len(self.plan.column_sums) * padded
        return {
            "recurrent_gradients": 0,
            "column_gradients": columns,
            "vector_gradients": vectors,
            "kernel_gradients": vectors + len(self.plan.vector_gradients) * padded,
        }

    def sums_size(self, features: int) -> int:
        """How many elements one task's sums are."""
        return self.sums["kernel_gradients"] + features * self.plan.input_deltas * self.shape.padded

    @functools.cached_property
    def recurrent_groups(self) -> tuple[OuterGroup, ...]:
        """The matrix gradients with an operand of units, by operand and neighbouring deltas."""
        groups, offset = [], 0
        outers = [o for o in self.plan.outers if o.operand.kind != "input"]
        outers.sort(key=lambda o: (o.operand.kind, o.operand.slot, o.delta))
        for (kind, slot), mine in groupby(outers, key=lambda o: (o.operand.kind, o.operand.slot)):
            listed = list(mine)
            places = enumerate(sorted({o.delta for o in listed}))
            for _, run in groupby(places, key=lambda p: p[1] - p[0]):
                deltas = [d for _, d in run]
                chosen = tuple(o for o in listed if o.delta in deltas)
                groups.append(OuterGroup(offset, kind, slot, deltas[0], len(deltas), chosen))
                offset += self.shape.units * len(deltas) * self.shape.padded
        return tuple(groups)

    @functools.cached_property
    def recurrent_size(self) -> int:
        """How many elements the gradients of all `recurrent_groups` take."""
        return sum(self.shape.units * g.slots for g in self.recurrent_groups) * self.shape.padded


def layout_for(plan: Plan, units: int, bits: int, target: Target) -> Layout:
    """The layout of a plan on a target."""
    return Layout(plan, Shape(units, target.lanes(bits), target.registers), bits, target.architecture)
