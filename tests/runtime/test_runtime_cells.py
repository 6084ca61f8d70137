"""Every known cell, forward and back, both dtypes, odd sizes, every target: kernels against reference."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import stepfold
from stepfold import Cell, cell, cells, tanh, where
from tests.kinds import KINDS, UNIFORM
from tests.runtime.scan_helpers import problem
from tests.targets import TARGETS

DTYPES = ("float64", "float32")
# (units, features, batch, time); 256 // rows timesteps are a chunk, 64 rows a group
PLAIN = (17, 5, 13, 7)
MORE = [
    (1, 5, 3, 7),
    (3, 33, 2, 300),
    (32, 1, 13, 45),
    (130, 5, 3, 4),
    (17, 1, 70, 9),
    (5, 7, 140, 5),
]
EDGES = [(3, 5, 2, 0), (3, 5, 2, 1), (3, 5, 1, 1), (3, 1, 1, 7), (3, 33, 65, 3), (3, 2, 1, 257)]


STEADY = [name for name in KINDS if name not in ("slstm", "fast_rnn")]
"""Cells whose rounding in float32 stays within the allowance, which counts operations: the exponentials of
sLSTM magnify it, and the gradient of a scalar is a sum over the units, too, in which much cancels."""


@pytest.mark.parametrize("name", UNIFORM)
def test_a_cell_is_its_reference(name: str) -> None:
    units, features, batch, time = PLAIN
    problem(cells.by_name(name), batch, time, features, units, "float64").check()


@pytest.mark.parametrize("name", STEADY)
def test_a_cell_is_its_reference_in_single_precision(name: str) -> None:
    units, features, batch, time = PLAIN
    problem(cells.by_name(name), batch, time, features, units, "float32").check()


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", MORE)
@pytest.mark.parametrize("name", STEADY)
def test_a_cell_is_its_reference_at_odd_sizes(name: str, sizes: tuple[int, ...], dtype: str) -> None:
    units, features, batch, time = sizes
    problem(cells.by_name(name), batch, time, features, units, dtype, seed=1).check()


@pytest.mark.parametrize("sizes", [*MORE, *EDGES])
@pytest.mark.parametrize("name", ["lstm", "gru_reset_before"])
def test_odd_sizes(name: str, sizes: tuple[int, ...]) -> None:
    units, features, batch, time = sizes
    problem(cells.by_name(name), batch, time, features, units, "float64", seed=2).check()


@pytest.mark.parametrize("on", [name for name in TARGETS if name != "host"])
@pytest.mark.parametrize("name", ["gru", "layer_norm_gru"])
def test_other_targets(name: str, on: str) -> None:
    for dtype in DTYPES:
        problem(cells.by_name(name), 5, 6, 3, 13, dtype, seed=3).check(on)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "on", "dtype", "units"),
    [
        each
        for each in itertools.product(KINDS, TARGETS, DTYPES, (11, 32))
        if each[0] in STEADY or each[2] == "float64"
    ],
)
def test_every_target(name: str, on: str, dtype: str, units: int) -> None:
    mask = np.random.default_rng(4).random((6, 9)) > 0.3
    problem(cells.by_name(name), 6, 9, 5, units, dtype, seed=4, mask=mask).check(on)


@pytest.mark.parametrize("units", [4, 33])
def test_units_that_fill_vectors_and_one_more(units: int) -> None:
    for time in (2, 33):
        problem(cells.simple_rnn, 9, time, 16, units, "float32", seed=5).check()


@cell
def product_of_projection(x, h, *, W, U, V):
    projected = W @ x
    return tanh(U @ projected + V @ h + projected)


@cell
def vector_twice(x, h, *, W, U, b):
    return tanh(W @ x) + 0.1 * tanh(U @ h + b + b)


@cell
def numbers_compared(x, h, *, W, b):
    a = W @ x + h * b
    first = stepfold.sum(a)
    return tanh(a) * where(first > 0, stepfold.sum(tanh(a - first)), first)


@cell
def one_product_twice(x, h, *, W, U):
    seen, kept = W @ x, U @ h
    return tanh(seen + kept) + 0.1 * seen * kept - 0.2 * tanh(kept + kept)


@cell
def product_of_vector(x, h, *, W, U, b, c):
    return tanh(W @ x + U @ (b * 1.0) + c * h) + tanh(U @ tanh(h * b))


ODD = [product_of_projection, vector_twice, numbers_compared, one_product_twice, product_of_vector]


@pytest.mark.parametrize("odd", ODD, ids=lambda c: c.name)
@pytest.mark.parametrize("units", [5, 16])
def test_odd_steps(odd: Cell, units: int) -> None:
    mask = np.random.default_rng(4).random((6, 9)) > 0.3
    problem(odd, 6, 9, 3, units, mask=mask).check()
