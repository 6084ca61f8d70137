"""Inputs of a cell that are integers: the rows of its parameters that they choose, gathered before a scan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from .._lookups import Lookup
from .._step import Step

_EXACT = {"float64": 2**53, "float32": 2**24}
"""Up to which integer each dtype has them all."""


def gathered(
    step: Step, named: Mapping[str, Any], tables: Mapping[str, Any], dtype: str, without: Lookup | None = None
) -> dict[str, Any]:
    """Return the inputs with a name of `step.gathered`, in its order, those of rows in a dtype; of the row
    `without` the integers, int32.

    `named`: those of the step, integers (…, 1) of any dtype among them; `tables`: its parameters. ValueError
    for integers in a dtype that does not have them all; where they can be seen, ValueError for what is no
    integer and IndexError for one that is no row: under a compiler the first is cut off, and the second gives
    what `keras.ops.take` makes of it.
    """
    found: dict[str, Any] = {}
    for name, value in named.items():
        if name not in step.integers:
            found[name] = value
            continue
        of = [row for row in step.lookups if row.integer == name]
        _check_dtype(step.name, name, keras.backend.standardize_dtype(value.dtype), tables[of[0].table])
        ids = ops.cast(value[..., 0], "int32")
        _check_integers(ids, value[..., 0], name)
        for row in of:
            table = tables[row.table]
            if row == without:
                found[row.name] = ids
                continue
            _check_inside(ids, row, tuple(table.shape))
            rows = ops.take(table if len(table.shape) > 1 else table[:, None], ids, axis=0)
            found[row.name] = ops.cast(rows, dtype)
    return found


def _check_dtype(cell: str, name: str, dtype: str, table: Any) -> None:
    count = int(table.shape[0])
    if "float" in dtype and count > _EXACT.get(dtype, 0):
        raise ValueError(
            f"the input {name} of {cell} is an integer up to {count - 1}, and {dtype} does not have all "
            "of these; give the layer a sequence of int32, or dtype='float32'"
        )


def _check_integers(ids: Any, values: Any, name: str) -> None:
    if "float" not in keras.backend.standardize_dtype(values.dtype) or _is_traced(ids):
        return
    fractions = ops.convert_to_numpy(ops.not_equal(ops.cast(ids, values.dtype), values))
    if fractions.any():
        found = ops.convert_to_numpy(ops.cast(values, "float32"))[fractions][0]
        raise ValueError(
            f"input {name} is {found:g}, but it holds integers, which choose rows of a parameter; "
            "round them, or declare a number as Scalar"
        )


def _check_inside(ids: Any, row: Lookup, shape: tuple[int, ...]) -> None:
    if _is_traced(ids):
        return
    array = ids.numpy() if hasattr(ids, "numpy") else np.asarray(ids)
    outside = array[(array < 0) | (array >= shape[0])]
    if outside.size:
        raise IndexError(
            f"input {row.integer} is {outside[0]}, but {row.table}, of shape {shape}, has the rows "
            f"0…{shape[0] - 1}; make it longer, or replace such integers by one for all others"
        )


def _is_traced(value: Any) -> bool:
    """Whether a compiler or a functional model sees a tensor whose elements are not there."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return isinstance(value, jax.core.Tracer)
    if backend == "torch":
        import torch

        return bool(torch.compiler.is_compiling()) or value.device.type != "cpu"
    return backend == "tensorflow" and not hasattr(value, "numpy")  # a tensor of a graph
