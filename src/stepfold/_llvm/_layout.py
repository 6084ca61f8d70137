"""How a plan's rows lie in memory, for sizes of axes and a width of vectors; what a kernel tells its
caller."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from numpy.typing import NDArray

from .._graph import Dims
from .._plan import Outer, Place, Plan
from ._panels import Panel
from ._sizes import Offsets, Pieces, Sizes
from ._target import Target
from ._tiles import packed_size, tile_shape

_ROUND = 1024
_CHUNK_ROWS = 256
_FEWEST_CHUNK_ROWS = 32
_CHUNK_BYTES = 1 << 18
_FAR = 2048  # bytes from one row to the next
INPUT_BLOCKS = 2  # the input's gradient is computed two vectors of features at a time


@dataclass(frozen=True)
class OuterGroup:
    """Matrix gradients with one operand: at `offset` [length][width], for deltas that lie side by side from
    the element `first` of their row on."""

    offset: int
    operand: Place
    length: int
    first: int
    width: int
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
    """How a plan's rows lie in memory, for sizes of axes and a width of vectors; sizes in elements."""

    plan: Plan
    sizes: Sizes
    bits: int
    architecture: str

    def _apart(self, size: int) -> int:
        """Rows whose distance is a multiple of a large power of two share few sets of the caches: set
        apart."""
        return size + self.sizes.lanes if size and size * self.bits // 8 % _ROUND == 0 else size

    # ---- where slots lie ----------------------------------------------------------------------------------

    @functools.cached_property
    def forward(self) -> Offsets:
        """Where what the forward pass reads and writes lies in its rows."""
        return Offsets(self.sizes, self.plan.training.slots)

    @functools.cached_property
    def backward(self) -> Offsets:
        """Where what the backward pass reads and writes lies in its rows."""
        return Offsets(self.sizes, self.plan.backward.slots)

    @functools.cached_property
    def states(self) -> tuple[tuple[int, Pieces], ...]:
        """For each state where it begins in a row of states, and how it lies there."""
        slots = self.plan.inference.slots["state"]
        return tuple(
            (self.forward.of(Place("state", s)), self.sizes.pieces(dims)) for s, dims in enumerate(slots)
        )

    @property
    def output_pieces(self) -> Pieces:
        """How an output, the first state, lies in its row."""
        return self.states[0][1]

    @property
    def output(self) -> int:
        """How many elements an output has."""
        return self.output_pieces.number * self.output_pieces.width

    @property
    def output_shape(self) -> tuple[int, ...]:
        """The shape of an output of one row."""
        return self.sizes.shape(self.plan.inference.slots["state"][0])

    def states_of(self, memory: NDArray[Any]) -> list[NDArray[Any]]:
        """Views of memory of whole rows of states, (… · state_row,): one (rows, …) a state."""
        rows = memory.reshape(-1, self.state_row)
        return [
            self.view(rows, begin, dims)
            for (begin, _), dims in zip(self.states, self.plan.inference.slots["state"], strict=True)
        ]

    def view(self, rows: NDArray[Any], begin: int, dims: Dims) -> NDArray[Any]:
        """The view of a value in rows of memory, (rows, …)."""
        found = rows[:, begin : begin + self.sizes.width(dims)]
        if len(dims) == 2:
            found = found.reshape(len(rows), self.sizes.size(dims[0]), self.sizes.padded(dims[1]))
        return found[..., : self.sizes.size(dims[-1])]

    @functools.cached_property
    def states_width(self) -> int:
        """All states of one row, without what sets rows apart."""
        return self.forward.row("state")

    @functools.cached_property
    def state_row(self) -> int:
        """From one row of states to the next."""
        return self._apart(self.states_width)

    @property
    def ring(self) -> int:
        """The states of how many timesteps a prediction holds."""
        return 1 if self.plan.infers_in_place else 2

    @property
    def cotangents(self) -> int:
        """The gradients of the states of how many timesteps a backward pass holds."""
        return 1 if self.plan.passes_in_place else 2

    @functools.cached_property
    def residual_row(self) -> int:
        """The residuals of one row at one timestep."""
        return self.forward.row("residual") + self.forward.row("residual_scalar")

    @functools.cached_property
    def projection_row(self) -> int:
        """All projections of one row."""
        return self.forward.row("projection")

    @functools.cached_property
    def delta_row(self) -> int:
        """All deltas of one row."""
        return self._apart(self.backward.row("delta"))

    @functools.cached_property
    def operand_row(self) -> int:
        """All operands computed again of one row."""
        return self._apart(self.backward.row("operand"))

    @functools.cached_property
    def hoisted_row(self) -> int:
        """All values made of parameters alone."""
        return self.forward.row("hoisted")

    @functools.cached_property
    def step_input_row(self) -> int:
        """What one row is given at one timestep: the inputs with a name, then a layer's vectors a step."""
        return self.forward.row("named_input") + self.forward.row("step_input")

    @functools.cached_property
    def input_gradient_row(self) -> int:
        """All gradients of inputs with a name of one row."""
        return self.backward.row("input_gradient")

    @functools.cached_property
    def input_deltas(self) -> int:
        """How wide the deltas of the input's kernels are, which come first."""
        return self.sizes.whole(max(self.sizes.ends(self._deltas[: self.plan.input_deltas]), default=0))

    @property
    def _deltas(self) -> tuple[Dims, ...]:
        return self.plan.backward.slots["delta"]

    def extras(self, kind: str) -> tuple[tuple[int, Pieces], ...]:
        """For each value a row or a step ("row_input", "named_input", "step_input") where it begins in a row
        of them, and how it lies there."""
        first = self.forward.row("named_input") if kind == "step_input" else 0
        return tuple(
            (first + self.forward.of(Place(kind, k)), self.sizes.pieces(dims))
            for k, dims in enumerate(self.plan.inference.slots[kind])
        )

    # ---- how work is cut ----------------------------------------------------------------------------------

    @functools.cached_property
    def projection_blocks(self) -> tuple[int, int]:
        """The tile of a projection, (rows, vectors)."""
        return tile_shape(1, max(1, self.projection_row // self.sizes.lanes), self.sizes.registers)

    def chunk(self, rows: int) -> int:
        """How many timesteps of so many rows to take at a time, so that what lies between them stays in the
        cache."""
        most = _CHUNK_ROWS
        if self.plan.has_matrices:  # the states that a chunk asks for have to stay there too
            fitting = _CHUNK_BYTES // (self.state_row * self.bits // 8)
            most = max(_FEWEST_CHUNK_ROWS, min(most, fitting))
        return max(1, most // max(1, rows))

    @property
    def most_blocks(self) -> int:
        """Into how many parts the work on a row can be cut, at most."""
        return max(self.sizes.blocks(axis) for axis, _ in self.sizes.axes)

    @property
    def divisible(self) -> bool:
        """Whether cooperative threads may share a row: nothing is summed over an axis but in products of
        parameters, and no element changes its place."""
        stages, hoisting = self.plan.inference.stages, self.plan.hoisting
        if hoisting is not None and hoisting.slots["scratch"]:
            return False
        return not any(s.reductions or s.scalars or s.moves or len(s.dims) != 1 for s in stages)

    @property
    def packed_size(self) -> int:
        """How many elements of deltas the sums of outer products pack; none if their rows are short."""
        return packed_size(self.sizes.lanes) if self.delta_row * self.bits // 8 >= _FAR else 0

    # ---- sums of gradients --------------------------------------------------------------------------------

    @functools.cached_property
    def sums(self) -> dict[str, int]:
        """Where in one thread's sums of gradients those begin that the kernels' words name; those of the
        input's kernels come last, for their number depends on the features."""
        vectors = self.recurrent_size + self.whole(self._deltas[d] for _, d in self.plan.column_sums)
        return {
            "recurrent_gradients": 0,
            "column_gradients": self.recurrent_size,
            "vector_gradients": vectors,
            "kernel_gradients": vectors + self.backward.row("vector_gradient"),
        }

    def whole(self, slots: Iterable[Dims]) -> int:
        """How many elements vectors of these axes take one behind the other."""
        return sum(map(self.sizes.width, slots))

    def sums_size(self, features: int) -> int:
        """How many elements one task's sums are."""
        return self.sums["kernel_gradients"] + features * self.input_deltas

    @functools.cached_property
    def recurrent_groups(self) -> tuple[OuterGroup, ...]:
        """The matrix gradients with an operand that is not the input, by operand and neighbouring deltas."""
        groups, offset = [], 0
        outers = [o for o in self.plan.outers if o.operand.kind != "input"]
        outers.sort(key=lambda o: (o.operand.kind, o.operand.slot, o.delta))
        for operand, mine in groupby(outers, key=lambda o: o.operand):
            listed = list(mine)
            places = enumerate(sorted({o.delta for o in listed}))
            (length,) = self.sizes.shape(self.plan.backward.slots[operand.kind][operand.slot])
            for _, run in groupby(places, key=lambda p: p[1] - p[0]):
                deltas = [d for _, d in run]
                chosen = tuple(o for o in listed if o.delta in deltas)
                first, width = self.delta(deltas[0]), self.whole(self._deltas[d] for d in deltas)
                groups.append(OuterGroup(offset, operand, length, first, width, chosen))
                offset += length * width
        return tuple(groups)

    def delta(self, slot: int) -> int:
        """Where a delta begins in its row."""
        return self.backward.of(Place("delta", slot))

    @functools.cached_property
    def recurrent_size(self) -> int:
        """How many elements the gradients of all `recurrent_groups` take."""
        return sum(group.length * group.width for group in self.recurrent_groups)


def layout_for(
    plan: Plan, units: int, bits: int, target: Target, sizes: Iterable[tuple[str, int]] = ()
) -> Layout:
    """The layout of a plan on a target; `sizes`: those of other axes than the units. ValueError if one of the
    step's axes has no size, or one that has none is not its own."""
    axes = tuple(plan.step.sizes(units, **dict(sizes)).items())
    return Layout(plan, Sizes(axes, target.lanes(bits), target.registers), bits, target.architecture)
