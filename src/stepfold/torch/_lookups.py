"""Inputs that are integers, which choose rows of a cell's parameters: checked, and gathered before a scan.

Of each layer and direction the rows are gathered from its own parameters; what is scanned is a step
whose inputs the rows are (`Step.scanned`). Gradients go to the tables through the gathering."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from .._dims import known_size
from .._step import Step
from ._tokens import Tokens

if TYPE_CHECKING:
    from ._scan import Batch


class Indices(NamedTuple):
    """An input of integers, int32 or int64, in place of vectors: `ids` with the axes of these but the last,
    `size`, how many rows they choose from, and a tensor `like` the vectors."""

    ids: Tensor
    size: int
    like: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of vectors of one element for each row of the table."""
        return *self.ids.shape, self.size

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the rows."""
        return self.like.dtype

    @property
    def device(self) -> torch.device:
        """Where the integers lie."""
        return self.ids.device

    def dim(self) -> int:
        """How many axes vectors have."""
        return int(self.ids.dim()) + 1

    def to(self, dtype: torch.dtype) -> Indices:
        """The same for rows of another dtype."""
        return self._replace(like=self.like.to(dtype))

    def unsqueeze(self, axis: int) -> Indices:
        """The same with an axis more, which is not the last."""
        return self._replace(ids=self.ids.unsqueeze(axis))


class Row(NamedTuple):
    """An input of the step that is scanned: the named input that it is, or whose integers choose the rows of
    the parameter of the number `table` (below zero: of none)."""

    input: int
    table: int = -1
    name: str = ""
    parameter: str = ""


class Lookups(NamedTuple):
    """What is known of a cell with integer inputs before tensors are there: the names of its inputs, whether
    the first has none, the shapes of those with a name, () for an integer, and how many rows these choose
    from, 0 for vectors; the inputs with a name of the step that is scanned, and that without, if it is rows;
    the numbers of the parameters that are no tables."""

    names: tuple[str, ...]
    own: bool
    shapes: tuple[tuple[int, ...], ...]
    counts: tuple[int, ...]
    rows: tuple[Row, ...]
    tokens: Row | None
    weights: tuple[int, ...]

    @classmethod
    def of(cls, step: Step, sizes: Mapping[str, int]) -> Lookups | None:
        """Return those of a step with these sizes of all axes, None for one without integers."""
        if not step.integers:
            return None
        numbers = {name: number for number, name in enumerate(step.parameters)}
        counts, rows = [], []
        for k, name in enumerate(step.inputs):
            own = [each for each in step.lookups if each.integer == name]
            counts.append(known_size(rows_axis(step, name), sizes) if own else 0)
            rows += [Row(k, numbers[each.table], each.name, each.table) for each in own] or [Row(k)]
        tokens = next((row for row in rows if step.projected and row.name == step.projected.name), None)
        shapes = tuple(tuple(known_size(axis, sizes) for axis in dims) for dims in step.inputs.values())
        weights = tuple(number for name, number in numbers.items() if name not in step.tables)
        names = tuple(step.input_names)
        others = tuple(row for row in rows if row is not tokens)
        return cls(names, step.takes_features, shapes, tuple(counts), others, tokens, weights)

    def gathered(self, inputs: Any, weights: Sequence[Tensor], batch: Batch) -> tuple[Any, list[Tensor]]:
        """Return the inputs and the weights of the step that is scanned, from the cell's `Several` and its
        parameters; IndexError for an integer that is no row.

        At timesteps that are not active any integer may stand."""
        named = [
            inputs.named[row.input]
            if row.table < 0
            else _rows(inputs.named[row.input], row, weights[row.table], batch)
            for row in self.rows
        ]
        own = inputs.own
        if self.tokens is not None:
            ids = _read(inputs.named[self.tokens.input].ids, batch)
            own = Tokens(ids, weights[self.tokens.table])
        found = own if own is not None and not named else inputs._replace(own=own, named=tuple(named))
        return found, [weights[number] for number in self.weights]


def rows_axis(step: Step, name: str) -> str:
    """Return the axis of the rows that an integer input of a step chooses from."""
    table = next(each.table for each in step.lookups if each.integer == name)
    return step.parameters[table][0]


def checked_indices(name: str, which: str, value: Any, size: int, like: Tensor) -> Indices:
    """Return an input of integers; TypeError, beginning with a name, for anything else."""
    if not isinstance(value, Tensor) or value.dtype not in (torch.int32, torch.int64):
        kind = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise TypeError(
            f"{name}: input {which} should be a tensor of integers, int32 or int64, which choose rows of a "
            f"parameter, got {kind}; convert it with .long()"
        )
    return Indices(value, size, like)


def _rows(indices: Any, row: Row, table: Tensor, batch: Batch) -> Tensor:
    """The rows of a table, (…, axis), of a vector (…, 1)."""
    ids = _read(indices.ids, batch)
    table = table if table.dim() > 1 else table.unsqueeze(-1)
    if torch.compiler.is_compiling():
        return functional.embedding(ids, table)
    try:
        return functional.embedding(ids, table)
    except IndexError:
        outside = ids[(ids < 0) | (ids >= len(table))]
        raise IndexError(
            f"an integer that chooses {row.name} is {int(outside[0])}, but {row.parameter}, of shape "
            f"{tuple(table.shape)}, has the rows 0…{len(table) - 1}; make it longer, or replace such "
            "integers by one for all others"
        ) from None


def _read(ids: Tensor, batch: Batch) -> Tensor:
    """The integers, 0 where a timestep is not active."""
    active = batch.active
    if active is None or batch.kind not in ("lengths", "mask"):
        return ids
    if batch.kind == "lengths":
        steps = torch.arange(ids.shape[0 if batch.time_major else 1], device=active.device)
        active = steps < active[:, None]
    active = (active.T if batch.time_major else active).to(ids.device)
    return ids.where(active, ids.new_zeros(()))
