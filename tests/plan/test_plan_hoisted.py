# ruff: noqa: F722, F821, UP037
"""Values made of parameters alone: computed once, with the same numbers, forward and backward."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import stepfold
from stepfold import Cell, Scalar, Stream, cell, cells, exp, roll, scan, sigmoid, softmax, tanh, where
from stepfold._plan import Arrangement, plan
from tests.runtime.scan_helpers import problem, ragged


@cell
def constants(
    x, h, S: "units rank", *, W, U, V, a: Scalar, b, w, A: "units rank", q: "rank", R: "rank features"
):
    """Functions, reductions, places, conditions, matrices and numbers of parameters."""
    decay = exp(-exp(w))
    mixed = softmax(b) * roll(w, 1) + decay * 0.5
    gate = where(sigmoid(b) > 0.5, tanh(w), w)
    S = sigmoid(A) * S * sigmoid(a) + stepfold.outer(decay * h, R @ x)
    h = decay * h + tanh(W @ x + U @ (gate * h) + V @ tanh(b)) * mixed + exp(-A * A) @ q
    return h * stepfold.mean(sigmoid(w)) + S @ tanh(q), S


@cell
def only_constants(x, h, c, *, W, b, U):
    """A new state that is made of parameters alone."""
    return W @ x + U @ (h * tanh(c)), sigmoid(b) / 3.0


CELLS = {found.name: found for found in (constants, only_constants)}


def ops_of(arrangement: Arrangement | None) -> set[str]:
    """The operations that an arrangement computes."""
    assert arrangement is not None
    stages = arrangement.stages
    nodes = [n for s in stages for n in (*s.body, *s.reductions, *s.scalars, *s.contractions, *s.moves)]
    return {n.op for n in nodes}


def test_the_time_loop_does_not_compute_them() -> None:
    made = {"exp", "sin", "cos", "log", "sqrt", "divide"}
    for name in ("lru", "s4d"):
        found = plan(getattr(cells, name).step)
        assert made.isdisjoint({*ops_of(found.inference), *ops_of(found.training), *ops_of(found.backward)})
        assert {"exp", "sin", "cos"} <= ops_of(found.hoisting) == ops_of(found.backward_hoisting)
        assert "cos" in ops_of(found.hoisted_gradients)
    assert "Computed once, from parameters alone\n  v2\n  v3\n  exp(gamma)\n" in cells.lru.show()
    mamba = plan(cells.mamba.step)
    assert ops_of(mamba.hoisting) == {"exp"}
    assert sum(n.op == "exp" for s in mamba.inference.stages for n in s.body) == 1  # that of the input


def test_what_costs_nothing_stays() -> None:
    @cell
    def cheap(x, h, *, W, a, b: Scalar):
        return (1 - a) * h + W @ x * -a * b

    for found in (cells.lstm, cells.gru, cells.gated_delta_net, cheap):
        assert plan(found.step).hoisting is None
        assert "Computed once" not in found.show()


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_numbers(name: str, dtype: str) -> None:
    found = CELLS[name]
    sizes = {"rank": 3} if "rank" in found.step.own_axes else {}
    problem(found, 4, 5, 6, 9, dtype, sizes=sizes, mask=ragged([5, 3, 0, 5], 5)).check()


def arrays_of(found: Cell, batch: int, time: int) -> tuple[Any, Any]:
    random = np.random.default_rng(0)
    params = {n: random.normal(0, 0.5, p.shape) for n, p in found.init(3, 9, rank=3, dtype="float64").items()}
    return random.standard_normal((batch, time, 3)), params


def test_groups_tasks_and_checkpoints_add_up() -> None:
    """Gradients go to the parameters once a group of rows: those of many groups are the sum of all."""
    x, params = arrays_of(constants, 150, 40)
    arriving = np.random.default_rng(1).standard_normal((150, 40, 9))
    ways = [{}, {"threads": 1}, {"threads": 3}, {"checkpoint": True}]
    runs = [stepfold.record(constants, x, params, return_sequences=True, **way) for way in ways]
    sums = [run.backward(arriving).params for run in runs]
    parts = [
        stepfold.record(constants, x[k : k + 50], params, return_sequences=True)
        .backward(arriving[k : k + 50])
        .params
        for k in range(0, 150, 50)
    ]
    for name in params:
        expected = sum(part[name] for part in parts)
        for found in sums:
            np.testing.assert_allclose(found[name], expected, rtol=1e-9, atol=1e-9)


def test_a_stream_goes_on_as_the_scan() -> None:
    x, params = arrays_of(constants, 70, 4)
    expected = scan(constants, x, params, return_sequences=True)
    for batch in (1, 70):
        stream = Stream(constants, params, batch)
        for t in range(4):
            found = stream.step(x[:batch, t])
            np.testing.assert_allclose(found, expected[:batch, t], rtol=1e-9, atol=1e-12)
