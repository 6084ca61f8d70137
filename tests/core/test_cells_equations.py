"""Built-in cells against their papers' equations, written once more in plain NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from core_helpers import Problem, close
from numpy.typing import NDArray

import stepfold
from stepfold import cells

Array = NDArray[np.float64]
State = tuple[Array, ...]


def sigma(v: Array) -> Array:
    return 1 / (1 + np.exp(-v))


def fast_rnn(p: dict[str, Array], x: Array, h: Array) -> State:
    return (sigma(p["alpha"]) * np.tanh(p["W"] @ x + p["U"] @ h + p["b"]) + sigma(p["beta"]) * h,)


def fast_grnn(p: dict[str, Array], x: Array, h: Array) -> State:
    z = sigma(p["W"] @ x + p["U"] @ h + p["b_z"])
    candidate = np.tanh(p["W"] @ x + p["U"] @ h + p["b_h"])
    return ((sigma(p["zeta"]) * (1 - z) + sigma(p["nu"])) * candidate + z * h,)


EQUATIONS: dict[str, Callable[..., State]] = {each.__name__: each for each in (fast_rnn, fast_grnn)}


def parameters(name: str) -> dict[str, Any]:
    """Parameters as a training would leave them: near their initial values, none alike."""
    random = np.random.default_rng(1)
    params = cells.by_name(name).init(3, 5, seed=0, dtype="float64")
    return {key: value + 0.2 * random.standard_normal(value.shape) for key, value in params.items()}


@pytest.mark.parametrize("name", EQUATIONS)
def test_a_cell_is_its_paper_s_equations(name: str) -> None:
    cell, params = cells.by_name(name), parameters(name)
    inputs = np.random.default_rng(2).standard_normal((6, 3))
    found = stepfold.record(cell, inputs, params)
    state: State = tuple(np.zeros(5) for _ in cell.states)
    for x in inputs:
        state = EQUATIONS[name](params, x, *state)
    for mine, theirs in zip(found.states, state, strict=True):
        close(mine, theirs, 1e-12)


@pytest.mark.parametrize("name", EQUATIONS)
def test_its_gradient_is_the_slope(name: str) -> None:
    cell = cells.by_name(name)
    Problem(cell, parameters(name), batch=2, time=4, features=3, units=5, seed=3).check_gradients()
