"""The reference with other rounding: how far apart two right answers may be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np

from stepfold._moves import SUMS
from stepfold._ops import MATRIX_PRODUCTS, PRODUCTS, TABLE

UNITS = 2
"""The kernels' functions are off by less than two units in the last place, NumPy's by up to 1.2; the products
of a kernel round once where NumPy rounds twice."""

ROUNDED = (
    *("add", "subtract", "multiply", "divide", "tanh", "exp", "log", "sqrt", "sin", "cos", "sigmoid", "erf"),
    *("softplus", "sum", *PRODUCTS, *MATRIX_PRODUCTS, *SUMS),
)
"""Operations whose results are rounded; all others choose, compare or move what they are given."""


@contextmanager
def other_rounding(seed: int) -> Iterator[None]:
    """In it the reference's results are off by `UNITS` units in the last place, up or down at random."""
    random = np.random.default_rng(seed)

    def nudged(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*inputs: Any) -> Any:
            value = np.asarray(function(*inputs))
            if value.dtype.kind != "f":
                return value
            off = UNITS * np.finfo(value.dtype).eps
            return value * (1 + random.choice((-off, off), value.shape)).astype(value.dtype)

        return call

    rows = {op: replace(TABLE[op], numpy=nudged(TABLE[op].numpy)) for op in ROUNDED}
    with mock.patch.dict(TABLE, rows):
        yield
