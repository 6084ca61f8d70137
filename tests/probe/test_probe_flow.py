"""Gradient flow against Jacobians in NumPy, and what theory says about it."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from stepfold import cell as cell_of
from stepfold import cells
from stepfold.probe import gradient_flow
from stepfold.probe._flow import state_gradients

STEPS, UNITS, FEATURES = 6, 4, 3


def sigmoid(a: Any) -> Any:
    return 1 / (1 + np.exp(-a))


def simple_rnn(p: Any, x: Any, s: Any) -> tuple[Any, Any]:
    """One step and its Jacobian, both written out."""
    new = np.tanh(p["W"] @ x + p["U"] @ s + p["b"])
    return new, (1 - new**2)[:, None] * p["U"]


def lstm(p: Any, x: Any, s: Any) -> tuple[Any, Any]:
    h, c = np.split(s, 2)
    a = {k: p[f"W_{k}"] @ x + p[f"U_{k}"] @ h + p[f"b_{k}"] for k in "ifco"}
    i, f, o, k = sigmoid(a["i"]), sigmoid(a["f"]), sigmoid(a["o"]), np.tanh(a["c"])
    new = f * c + i * k
    c_by_h = (
        (c * f * (1 - f))[:, None] * p["U_f"]
        + (k * i * (1 - i))[:, None] * p["U_i"]
        + (i * (1 - k**2))[:, None] * p["U_c"]
    )
    c_by_c = np.diag(f)
    slope = (o * (1 - np.tanh(new) ** 2))[:, None]
    h_by_h = (np.tanh(new) * o * (1 - o))[:, None] * p["U_o"] + slope * c_by_h
    return np.concatenate([o * np.tanh(new), new]), np.block([[h_by_h, slope * c_by_c], [c_by_h, c_by_c]])


@pytest.mark.parametrize("step", [simple_rnn, lstm])
def test_state_gradients_are_those_of_the_jacobian(step: Any) -> None:
    cell = cells.by_name(step.__name__)
    params = cell.init(FEATURES, UNITS, seed=1, dtype=np.float64)
    x = np.random.default_rng(2).standard_normal((STEPS, FEATURES))
    n = UNITS * len(cell.states)
    found = state_gradients(cell, params, np.repeat(x[None], n, 0), np.eye(n))  # (STEPS, n, n)
    state, jacobians = np.zeros(n), []
    for t in range(STEPS):
        state, jacobian = step(params, x[t], state)
        jacobians.append(jacobian)
    product = np.eye(n)
    for k in range(STEPS):
        np.testing.assert_allclose(found[k], product, rtol=1e-9, atol=1e-12)
        product = product @ jacobians[-1 - k]


def test_the_norm_is_that_of_frobenius_over_the_root_of_n() -> None:
    params = cells.simple_rnn.init(FEATURES, UNITS, seed=1, dtype=np.float64)
    x = np.random.default_rng(2).standard_normal((STEPS, FEATURES))
    state, product = np.zeros(UNITS), np.eye(UNITS)
    for t in range(STEPS):
        state, jacobian = simple_rnn(params, x[t], state)
        if t:
            product = jacobian @ product
    expected = np.linalg.norm(product) / np.sqrt(UNITS)
    inputs = np.repeat(x[None], 20_000, 0)
    found = gradient_flow(cells.simple_rnn, UNITS, STEPS, 0, params, inputs=inputs)
    assert found[-1] == pytest.approx(expected, rel=0.02)
    assert found[0] == pytest.approx(1)


def test_flow_of_a_tanh_network_falls_exponentially() -> None:
    flow = gradient_flow(cells.simple_rnn, steps=101)
    assert flow.shape == (101,)
    assert flow.dtype == np.float64
    rates = np.diff(np.log(flow[::20])) / 20  # per timestep
    assert (rates < -0.2).all()
    assert rates.std() < 0.2 * abs(rates.mean())
    assert flow[50] < 1e-5


def test_flow_of_cells_with_a_memory_falls_less() -> None:
    at = {name: gradient_flow(cells.by_name(name))[-1] for name in ("simple_rnn", "lstm", "irnn", "indrnn")}
    assert at["simple_rnn"] < 1e-6 * at["lstm"]
    assert at["lstm"] < 1e-6 * at["irnn"]
    assert min(at["irnn"], at["indrnn"]) > 0.1


def test_flow_of_a_linear_identity_is_exactly_one() -> None:
    @cell_of(kernels={"U": ("identity", 1.0)})
    def adder(x, h, *, W, U):
        return W @ x + U @ h

    np.testing.assert_allclose(gradient_flow(adder, 5, 30), 1.0, rtol=1e-12)


def test_seeds_and_own_parameters() -> None:
    one, again, other = (gradient_flow(cells.gru, 6, 9, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one[1:] != other[1:]).all()
    params = cells.gru.init(2, 6, seed=0)
    assert gradient_flow(cells.gru, steps=3, params=params).shape == (3,)  # units and features are theirs


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"^steps must be an integer of at least 1, not 0$"):
        gradient_flow(cells.lstm, steps=0)
    expected = "inputs has shape (2, 5, 3), expected (batch, time, features) of at least 6 timesteps"
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}$"):
        gradient_flow(cells.lstm, steps=6, inputs=np.zeros((2, 5, 3)))
