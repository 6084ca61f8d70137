"""Checking the inputs that a user of NumPy gave: one array, or a tuple of as many as the cell has inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .._dims import size_of
from .._dtype import checked_dtype
from .._graph import SCALAR
from .._lookups import Rows, checked_integers, gather, inside, table_gradients
from .._native import Array, Status
from .._step import Step
from ._run import TOKENS, error_of


@dataclass
class Inputs:
    """Checked inputs, with a batch axis; `single`: they were given without.

    `vectors` (batch, time, features) or the table (vocabulary_size, features) of `tokens` (batch, time), None
    if the step takes no features; `named` (batch, time, …) in the step's order, integers (batch, time) among
    them; `sizes` those of the axes that they have; `shapes` as `vectors` and `named` were given, `several`:
    in a tuple; `chosen` the rows that integers choose, once they are gathered."""

    step: Step
    dtype: np.dtype[Any]
    several: bool
    single: bool = False
    vectors: Array | None = None
    tokens: Array | None = None
    named: list[Array] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    chosen: list[Rows] = field(default_factory=list)

    @property
    def rows(self) -> tuple[int, int]:
        """How many rows and timesteps there are."""
        like = next(a for a in (self.tokens, self.vectors, *self.named) if a is not None)
        batch, time = like.shape[:2]
        return batch, time

    def gathered(self, params: Mapping[str, Array], active: Array | None) -> list[Array]:
        """The inputs with a name of the step that is scanned; that without one may become a table and its
        tokens. `active` (batch, time): where integers are read."""
        if not self.step.lookups:
            return self.named
        named = dict(zip(self.step.inputs, self.named, strict=True))
        row = self.step.projected
        found, self.chosen = gather(self.step.lookups, named, params, active, row)
        if row is not None:
            self.vectors = np.ascontiguousarray(params[row.table])
            self.tokens = inside(named[row.integer], row, self.vectors.shape, active)
        return list(found.values())

    def given_back(self, own: Array | None, named: Sequence[Array]) -> Any:
        """Gradients as the inputs were given, None for integers; from those of the step that is scanned."""
        found: list[Array | None] = []
        if own is not None and self.step.projected is None:
            found.append(own if self.tokens is not None else own.reshape(self.shapes[0]))
        gradients = dict(zip(self.step.scanned.inputs, named, strict=True))
        for name, shape in zip(self.step.inputs, self.shapes[len(found) :], strict=True):
            found.append(gradients[name].reshape(shape) if name in gradients else None)
        return tuple(found) if self.several else found[0]

    def table_gradients(
        self, own: Array | None, named: Sequence[Array], shapes: Mapping[str, tuple[int, ...]]
    ) -> dict[str, Array]:
        """The gradients of tables, of these shapes, from those of the inputs of the step that is scanned."""
        found = table_gradients(self.chosen, dict(zip(self.step.scanned.inputs, named, strict=True)), shapes)
        row = self.step.projected
        return found if row is None or own is None else found | {row.table: own}


def several(step: Step, given: Any) -> Sequence[Any]:
    """Return what was given for each of a step's inputs: `given` itself, or a tuple of as many."""
    names = step.input_names
    if len(names) == 1:
        return (given,)
    if not isinstance(given, (tuple, list)) or len(given) != len(names):
        raise TypeError(
            f"{step.name} has {len(names)} inputs, {', '.join(names)}; give a tuple of as many arrays"
        )
    return given


def checked_inputs(step: Step, given: Any, table: Any, params: Any) -> Inputs:
    """Return checked inputs; TypeError or ValueError for what does not fit. The dtype is that of the first
    that is not of integers, or of the parameters."""
    values = [np.asarray(value) for value in several(step, given)]
    if table is not None and not step.takes_features:
        raise ValueError(f"{step.name} has no input without a name, whose vectors a table could hold")
    numbers = [v for name, v in zip(step.input_names, values, strict=True) if name not in step.integers]
    numbers = numbers[:1] if table is None else [np.asarray(table)]
    if not numbers and isinstance(params, Mapping):
        numbers = [np.asarray(value) for value in params.values()]
    found = Inputs(step, checked_dtype(numbers[0].dtype if numbers else np.float32), len(values) > 1)
    if step.takes_features:
        _own(found, values.pop(0), table)
    for (name, dims), value in zip(step.inputs.items(), values, strict=True):
        if dims == SCALAR:
            _integers(found, name, value)
        else:
            _named(found, name, dims[0], value)
    return found


def _own(found: Inputs, values: Array, table: Any) -> None:
    """Check the input without a name."""
    if table is not None:
        tokens, vectors = _checked_tokens(values, np.asarray(table))
        found.single = tokens.ndim == 1
        found.tokens = np.ascontiguousarray(tokens[None] if found.single else tokens)
        found.vectors = np.ascontiguousarray(vectors)
    else:
        if values.ndim not in (2, 3):
            raise ValueError(
                f"inputs has shape {values.shape}, expected (batch, time, features) or (time, features)"
            )
        found.single = values.ndim == 2
        found.vectors = np.ascontiguousarray(values[None] if found.single else values)
    found.sizes["features"] = found.vectors.shape[-1]
    found.shapes.append(found.vectors.shape if table is not None else values.shape)


def _named(found: Inputs, name: str, axis: str, values: Array) -> None:
    """Check an input with a name; one number a timestep may be given without an axis of its own."""
    first = not found.shapes
    if first:
        if values.ndim not in (2, 3):
            raise ValueError(
                f"input {name} has shape {values.shape}, expected (batch, time, {axis}) or (time, {axis})"
            )
        found.single = values.ndim == 2
    size = values.shape[-1] if values.ndim and not axis.isdecimal() else 1
    if not axis.isdecimal():
        size = found.sizes.setdefault(axis, size)
    shape = (*(values.shape[:-1] if first else _leading(found)), size_of(axis, {axis: size}))
    if values.shape != shape and (first or axis != "1" or values.shape != shape[:-1]):
        raise ValueError(f"input {name} has shape {values.shape}, expected {shape}")
    if values.dtype != found.dtype:
        raise TypeError(f"input {name} is {values.dtype}, not {found.dtype}; convert it with .astype")
    found.shapes.append(values.shape)
    array = values.reshape(shape)
    found.named.append(np.ascontiguousarray(array[None] if found.single else array))


def _integers(found: Inputs, name: str, values: Array) -> None:
    """Check an input of integers, (batch, time)."""
    checked_integers(values, name)
    first = not found.shapes
    if first and values.ndim in (1, 2):
        found.single = values.ndim == 1
    shape = None if first and values.ndim in (1, 2) else "(batch, time)" if first else _leading(found)
    if shape is not None and values.shape != shape:
        raise ValueError(f"input {name} has shape {values.shape}, expected {shape}, an integer a timestep")
    found.shapes.append(values.shape)
    found.named.append(values[None] if found.single else values)


def _leading(found: Inputs) -> tuple[int, ...]:
    batch, time = found.rows
    return (time,) if found.single else (batch, time)


def _checked_tokens(tokens: Array, table: Array) -> tuple[Array, Array]:
    if not np.issubdtype(tokens.dtype, np.integer):
        raise TypeError(f"with a table, inputs are integers that choose its rows, not {tokens.dtype.name}")
    if tokens.ndim not in (1, 2) or table.ndim != 2:
        raise ValueError(
            f"inputs has shape {tokens.shape} and table {table.shape}, "
            "expected (batch, time) and (vocabulary_size, features)"
        )
    if tokens.dtype == np.uint64 and tokens.size and tokens.max() > np.iinfo(np.int64).max:
        raise error_of(Status("token", value=int(tokens.max()), limit=len(table)))
    return tokens if tokens.dtype in TOKENS else tokens.astype(np.int64), table
