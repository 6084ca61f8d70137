"""What the tests of kernels allow for rounding: nothing to a plain cell, much where a difference cancels."""

from __future__ import annotations

from stepfold import cell, cells, tanh
from tests.runtime.scan_arrays import LIMITS, magnitude
from tests.runtime.scan_helpers import problem


@cell
def saturated(x, h, *, W):
    return tanh(W @ x + 12.0) + 0.5 * h


def test_a_plain_cell_gets_nothing() -> None:
    made = problem(cells.lstm, 3, 4, 5, 6)
    expected = made.reference()
    for key, off in made.rounding().items():
        assert 0 < off < 1e-4 * LIMITS["float64"] * magnitude(expected[key]), key


def test_a_gradient_behind_a_saturated_function_gets_what_is_lost() -> None:
    made = problem(saturated, 3, 4, 5, 6)
    value = magnitude(made.reference()["gradient of W"])
    assert LIMITS["float64"] * value < made.rounding()["gradient of W"] < 1e-3 * value
