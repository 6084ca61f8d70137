"""States beside a matrix that only change places: what is written first is not what another reads then."""

# ruff: noqa: F722, F821, UP037
from __future__ import annotations

import pytest

from stepfold import Cell, cell, concatenate, cumsum, outer, reverse, roll
from stepfold._plan import plan
from tests.runtime.scan_helpers import problem, ragged


@cell
def swapped(x, A: "value key", B: "value key", *, W: "value features", V: "key features"):
    """Two matrices change places."""
    return W @ x + A @ (V @ x), B, A


@cell
def swapped_vectors(x, A: "value key", m: "key", n: "key", *, W: "value features", V: "key features"):
    """Two vectors change places, one of which is read before."""
    return 0.5 * A + outer(W @ x, n + V @ x), n, m


@cell
def rolled(x, A: "value key", n: "key", *, W: "value features", V: "key features"):
    """A vector whose elements change places, and nothing else."""
    return W @ x + A @ (V @ x), 0.5 * A + outer(W @ x, n), roll(n, 1)


@cell
def moved(x, A: "value key", m: "key", n: "key", *, W: "value features", V: "key features"):
    """A move reads what a move before it has written."""
    return W @ x + A @ (V @ x), 0.5 * A + outer(W @ x, n), reverse(n), cumsum(m)


@cell
def shifted(x, A: "value key", B: "value key", *, W: "value features", V: "key features"):
    """Rows of a matrix move into another, which is read behind them."""
    return W @ x + A @ (V @ x), concatenate([B[1:], A[:1]], axis="value"), A + outer(W @ x, V @ x)


@pytest.mark.parametrize("found", [swapped, swapped_vectors, rolled, moved, shifted], ids=lambda c: c.name)
def test_states_that_change_places(found: Cell) -> None:
    assert not (plan(found.step).infers_in_place and plan(found.step).passes_in_place)
    for (value, key), lengths in (((3, 5), None), ((8, 17), [3, 6, 0, 5])):
        mask = None if lengths is None else ragged(lengths, 6)
        sizes = {"value": value, "key": key}
        problem(found, 4, 6, 5, value, "float64", sizes=sizes, mask=mask).check()
