"""Rows of a parameter that an integer input chooses, `E[word]`: their names in a graph, and in NumPy how they
are gathered before a scan, and how their gradients are added up to that of the parameter.

In the graph of a step such a row is an input with a name, "E[word]". What runs a step never looks up a row:
`Step.gathered` is the same graph as a step whose inputs are the rows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
START = 0.05
"""Tables begin uniform between -`START` and `START`, as Keras's embeddings do."""

_NAME = re.compile(r"(\w+)\[(\w+)\]")


class Lookup(NamedTuple):
    """A row of the parameter `table` that the input `integer` chooses; `name` is that of its leaf."""

    name: str
    table: str
    integer: str

    @classmethod
    def of(cls, table: str, integer: str) -> Lookup:
        """Return the row of a table that an input chooses."""
        return cls(f"{table}[{integer}]", table, integer)

    @classmethod
    def read(cls, name: str) -> Lookup | None:
        """Return the row that is called so, None for any other name."""
        found = _NAME.fullmatch(name)
        names = found.groups() if found else ()
        return cls(name, *names) if names and all(map(str.isidentifier, names)) else None


class Rows(NamedTuple):
    """The rows that were gathered for an input: their integers (…), all inside the table."""

    lookup: Lookup
    ids: Array


def checked_integers(values: Any, name: str) -> Array:
    """Return the integers of an input as they are; TypeError for anything else."""
    found = np.asarray(values)
    if found.dtype.kind not in "iu":
        raise TypeError(
            f"input {name} holds integers, which choose rows of a parameter, not {found.dtype.name}; convert "
            "them with .astype(int), or declare a number as Scalar"
        )
    return found


def gather(
    lookups: Sequence[Lookup],
    named: Mapping[str, Any],
    tables: Mapping[str, Array],
    active: Array | None = None,
    without: Lookup | None = None,
) -> tuple[dict[str, Any], list[Rows]]:
    """Return the inputs with a name of a gathered step, in its order, and the rows among them, one left out.

    `lookups`: those of the step; `named`: its inputs with a name, integers (…) for some; `tables`: its
    parameters by their names; `active` (…) of booleans: where integers are read, everywhere if left out.
    IndexError for an integer that is no row.
    """
    found: dict[str, Any] = {}
    rows = []
    for name, value in named.items():
        chosen = [each for each in lookups if each.integer == name]
        if not chosen:
            found[name] = value
        for lookup in (each for each in chosen if each != without):
            table = tables[lookup.table]
            ids = inside(value, lookup, table.shape, active)
            found[lookup.name] = np.take(table, ids, axis=0) if table.ndim > 1 else table[ids][..., None]
            rows.append(Rows(lookup, ids))
    return found, rows


def inside(ids: Array, lookup: Lookup, shape: tuple[int, ...], active: Array | None) -> NDArray[np.int64]:
    """Integers that lie in a table, those where nothing is read made to."""
    size = shape[0]
    if ids.size and (ids.min() < 0 or ids.max() >= size):
        outside = (ids < 0) | (ids >= size)
        if active is not None:
            outside &= active
        if outside.any():
            at = tuple(map(int, np.argwhere(outside)[0]))
            place = f" at {at}" if at else ""
            raise IndexError(
                f"input {lookup.integer} is {ids[at]}{place}, but {lookup.table}, of shape {shape}, has the "
                f"rows 0…{size - 1}; make it longer, or replace such integers by one for all others"
            )
        ids = np.clip(ids, 0, size - 1)
    return ids.astype(np.int64)


def table_gradients(
    rows: Sequence[Rows], gradients: Mapping[str, Array], tables: Mapping[str, tuple[int, ...]]
) -> dict[str, Array]:
    """Return the gradients of tables, of these shapes, from those of the rows: each is added to its row."""
    found: dict[str, Array] = {}
    for lookup, ids in rows:
        shape, gradient = tables[lookup.table], gradients[lookup.name]
        if lookup.table not in found:
            found[lookup.table] = np.zeros(shape, gradient.dtype)
        flat = ids.reshape(-1)
        if not flat.size:
            continue
        order = np.argsort(flat, kind="stable")
        chosen, begins = np.unique(flat[order], return_index=True)
        sums = np.add.reduceat(gradient.reshape(len(flat), -1)[order], begins, axis=0)
        found[lookup.table].reshape(shape[0], -1)[chosen] += sums
    return found
