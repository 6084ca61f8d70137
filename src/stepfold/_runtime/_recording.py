"""What the forward and the backward program of a batch have in common while they are recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np

from .._dims import size_of
from .._llvm import Kernel, Layout
from .._native import Argument, Copy, Packing, Phase, Pieces, Recorder, Sources, sources_of
from ._engine import Engine
from ._recipe import Recipe
from ._residuals import expected_header, headers_of
from ._schedule import Groups, row_stride
from ._shape import Shape

Given = int | Argument
Sizes = Callable[[Layout, Kernel, Sources], Mapping[str, int]]
Copies = Callable[[Packing, Layout, Kernel, Sources, Pieces], Iterator[Copy]]


class Recording:
    """A program being recorded: its operands, its packed weights, what its kernels are given.

    Operands are taken in the order in which `_run` lists them.
    """

    groups: Groups
    tasks: int
    weights: list[Argument | None]

    def __init__(self, engine: Engine, recipe: Recipe, shape: Shape, kind: str) -> None:
        self.engine, self.recipe, self.shape = engine, recipe, shape
        self.layout, self.itemsize = engine.layout, engine.itemsize
        self.recorder, self.kernel = Recorder(), engine.kernel(kind)

    def operand(self, wanted: object) -> Argument | None:
        """The next operand, None where it is not wanted."""
        return self.recorder.operand() if wanted else None

    def operands(self, wanted: Iterable[object]) -> list[Argument | None]:
        """The next operands, None for each that is not wanted."""
        return [self.operand(each) for each in wanted]

    def leaves(self, names: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Argument]:
        """The next operands, by the leaves of the step that they are."""
        return {name: self.recorder.operand() for name in names}

    def pack(self, first: Phase, sizes: Sizes, copies: Copies) -> dict[str, Argument]:
        """Add to the first phase what packs the weights; returns the arguments that they are packed to."""
        sources, kernel = sources_of(self.shape.features, self.shape.side), self.kernel.kernel
        packing = Packing(self.engine.dtype)
        packed = packing.reserve(self.recorder, sizes(self.layout, kernel, sources))
        params = self.pieces(packing, self.weights)
        self.copy(first, packing, copies(packing, self.layout, kernel, sources, params))
        return packed

    def pieces(self, packing: Packing, weights: list[Argument | None]) -> Pieces:
        """The pieces of each parameter as views of the weights, which become arrays of the packing (None: not
        there)."""
        recipe, shape = self.recipe, self.shape
        check_weights(recipe, shape)
        forms = [
            None if at is None else packing.add(f"weight {k}", at, shape.weights[k])
            for k, at in enumerate(weights)
        ]
        return {
            name: [
                (f"weight {part.weight}", part.of(forms[part.weight], recipe.block(name, part)))
                for part in parts
                if forms[part.weight] is not None
            ]
            for name, parts in recipe.parts
        }

    def copy(self, phase: Phase, packing: Packing, copies: Iterator[Copy]) -> None:
        """Add copies to a phase, or, if they are many, to one of their own."""
        plan = packing.plan(copies)
        tasks = plan.tasks(self.tasks)
        plan.record(phase if tasks == 1 else self.recorder.phase(tasks))

    def state_rows(self, states: Argument, number: int) -> dict[str, Given]:
        """The arguments of kernels that move the rows of one state to or from where the states lie."""
        begin, (pieces, width, stride) = self.layout.states[number]
        return {
            "width": width,
            "pieces": pieces,
            "piece_stride": stride,
            "state_row": self.layout.state_row,
            "group": self.groups.header,
            "states": states + begin * self.itemsize,
        }

    def held(self, residuals: Argument, windowed: int) -> dict[str, Given]:
        """The arguments of kernels that write or read what residuals say of themselves."""
        shape = self.shape.held(windowed)
        return {
            **expected_header(self.engine, self.recipe, shape),
            "status": self.recorder.status,
            "headers": self.groups.headers,
            "residuals": residuals,
            "held_headers": headers_of(self.recipe, shape, residuals),
        }

    def scan_arguments(self, packed: Mapping[str, Argument], *, outputs: bool) -> dict[str, Given]:
        """What the scans of both directions are given; `outputs`: whether outputs, or their gradient, are."""
        field = self.groups.field
        fields = ("steps", "rows", "offsets", "slots", "row_numbers")
        return {
            **{name: field(name) for name in fields},
            "target": field("positions"),
            "row_stride": row_stride(self.recipe, self.shape),
            "prefix_offsets": field("prefix_offsets") if outputs and self.recipe.shares else 0,
            "panels": packed["panels"],
            "vectors": packed["vectors"],
        }


def check_weights(recipe: Recipe, shape: Shape) -> None:
    """ValueError unless each piece of a weight has the shape of the parameter that it is a piece of."""
    if len(shape.weights) != recipe.weights:
        raise ValueError(f"there are {len(shape.weights)} weights, the recipe has {recipe.weights}")
    compiled = dict(recipe.sizes).get("features", shape.features)
    if recipe.step.takes_features and shape.features != compiled:
        raise ValueError(f"there are {shape.features} features, the recipe has {compiled}")
    forms = [np.broadcast_to(0, of) for of in shape.weights]
    sizes = {"features": shape.features, "units": recipe.units, **dict(recipe.sizes)}
    for name, parts in recipe.parts:
        expected = tuple(size_of(axis, sizes) for axis in recipe.step.parameters[name])
        for part in parts:
            try:
                found = part.of(forms[part.weight], recipe.block(name, part)).shape
            except IndexError:
                found = None
            if found != expected:
                given = shape.weights[part.weight] if part.weight < recipe.weights else None
                raise ValueError(
                    f"weight {part.weight} has shape {given}, but {part} of it should be parameter {name!r} "
                    f"of shape {expected}"
                )
