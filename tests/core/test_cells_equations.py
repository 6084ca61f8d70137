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


def lru(p: dict[str, Array], x: Array, h: Array, a: Array, b: Array) -> State:
    eigenvalue = np.exp(-np.exp(p["nu"]) + 1j * np.exp(p["theta"]))
    state = eigenvalue * (a + 1j * b) + np.exp(p["gamma"]) * ((p["B_re"] + 1j * p["B_im"]) @ x)
    return ((p["C_re"] + 1j * p["C_im"]) @ state).real + p["D"] @ x, state.real, state.imag


def silu(v: Array) -> Array:
    return v * sigma(v)


def hgrn(p: dict[str, Array], x: Array, h: Array, a: Array, b: Array, gamma: float = 0.0) -> State:
    forget = gamma + (1 - gamma) * sigma(p["W_f"] @ x + p["b_f"])
    new = silu(p["W_a"] @ x + p["b_a"]) + 1j * silu(p["W_b"] @ x + p["b_b"])
    state = forget * np.exp(1j * p["theta"]) * (a + 1j * b) + (1 - forget) * new
    gates = sigma(p["W_p"] @ x + p["b_p"]), sigma(p["W_q"] @ x + p["b_q"])
    joined = np.concatenate([gates[0] * state.real, gates[1] * state.imag])
    return np.concatenate([p["V_a"], p["V_b"]], 1) @ joined + p["b_o"], state.real, state.imag


def antisymmetric_rnn(
    p: dict[str, Array], x: Array, h: Array, epsilon: float = 0.1, gamma: float = 0.01
) -> State:
    matrix = p["U"] - p["U"].T - gamma * np.eye(len(h))
    z = sigma(matrix @ h + p["W_z"] @ x + p["b_z"])
    return (h + epsilon * z * np.tanh(matrix @ h + p["W"] @ x + p["b"]),)


EQUATIONS: dict[str, Callable[..., State]] = {
    each.__name__: each for each in (fast_rnn, fast_grnn, lru, hgrn, antisymmetric_rnn)
}


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


@pytest.mark.parametrize(
    ("name", "values"), [("hgrn", {"gamma": 0.4}), ("antisymmetric_rnn", {"epsilon": 0.5, "gamma": 0.2})]
)
def test_other_hyperparameters(name: str, values: dict[str, float]) -> None:
    cell, params = cells.by_name(name).replace(**values), parameters(name)
    random = np.random.default_rng(4)
    x, states = random.standard_normal(3), [random.standard_normal(5) for _ in cell.states]
    expected = EQUATIONS[name](params, x, *states, **values)
    for mine, theirs in zip(np.atleast_2d(cell(x, *states, **params)), expected, strict=True):
        close(mine, theirs, 1e-13)


@pytest.mark.parametrize("name", EQUATIONS)
def test_its_gradient_is_the_slope(name: str) -> None:
    cell = cells.by_name(name)
    Problem(cell, parameters(name), batch=2, time=4, features=3, units=5, seed=3).check_gradients()
