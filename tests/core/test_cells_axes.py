"""Cells with axes of their own: their papers' equations in plain NumPy, and gradients by differences."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from stepfold import Cell, cells
from stepfold._dims import size_of
from stepfold._initial import legendre
from stepfold._reference import Reference

Array = NDArray[np.float64]
Params = Mapping[str, Array]
SIZES = {"units": 5, "features": 3, "projection": 4, "rank": 2, "key": 3, "order": 2, "1": 1}
BATCH, TIME = 2, 6


def sigma(v: Array) -> Array:
    return 1 / (1 + np.exp(-v))


# ---- one row at one timestep, as the papers have it: inputs, states → output, states ----------------------


def lstm_gates(p: Params, x: Array, h: Array, c: Array) -> tuple[Array, Array]:
    gate = {g: p[f"W_{g}"] @ x + p[f"U_{g}"] @ h + p[f"b_{g}"] for g in "ifco"}
    c = sigma(gate["f"]) * c + sigma(gate["i"]) * np.tanh(gate["c"])
    return sigma(gate["o"]) * np.tanh(c), c


def projected_lstm(p: Params, x: Array, h: Array, c: Array) -> tuple[Array, ...]:
    m, c = lstm_gates(p, x, h, c)
    return p["P"] @ m, p["P"] @ m, c


def low_rank_rnn(p: Params, x: Array, h: Array) -> tuple[Array, ...]:
    h = np.tanh(p["W"] @ x + (p["P"] @ p["Q"]) @ h + p["b"])
    return h, h


def mogrifier_lstm(p: Params, x: Array, h: Array, c: Array) -> tuple[Array, ...]:
    x = 2 * sigma(p["Q_1"] @ h) * x
    h = 2 * sigma(p["R_1"] @ x) * h
    x = 2 * sigma(p["Q_2"] @ h) * x
    h = 2 * sigma(p["R_2"] @ x) * h
    h, c = lstm_gates(p, x, h, c)
    return h, h, c


def phased_lstm(p: Params, x: Array, t: Array, h: Array, c: Array) -> tuple[Array, ...]:
    tau = np.exp(p["period"])
    phase = np.mod(t - p["shift"], tau) / tau
    r = p["open"]
    k = np.select([phase < r / 2, phase < r], [2 * phase / r, 2 - 2 * phase / r], 0.001 * phase)
    i = sigma(p["W_i"] @ x + p["U_i"] @ h + p["w_i"] * c + p["b_i"])
    f = sigma(p["W_f"] @ x + p["U_f"] @ h + p["w_f"] * c + p["b_f"])
    new_c = f * c + i * np.tanh(p["W_c"] @ x + p["U_c"] @ h + p["b_c"])
    o = sigma(p["W_o"] @ x + p["U_o"] @ h + p["w_o"] * new_c + p["b_o"])
    h = k * (o * np.tanh(new_c)) + (1 - k) * h
    return h, h, k * new_c + (1 - k) * c


def gru_d(p: Params, x: Array, m: Array, delta: Array, h: Array, last: Array) -> tuple[Array, ...]:
    gamma_x = np.exp(-np.maximum(0, p["w_x"] * delta + p["b_x"]))
    gamma_h = np.exp(-np.maximum(0, p["W_g"] @ delta + p["b_g"]))
    x_hat = np.where(m == 1, x, gamma_x * last + (1 - gamma_x) * p["usual"])
    h = gamma_h * h
    gate = {g: p[f"W_{g}"] @ x_hat + p[f"V_{g}"] @ m + p[f"b_{g}"] for g in "zrh"}
    z, r = (sigma(gate[g] + p[f"U_{g}"] @ h) for g in "zr")
    h = (1 - z) * h + z * np.tanh(gate["h"] + p["U_h"] @ (r * h))
    return h, h, np.where(m == 1, x, last)


def ltc(p: Params, x: Array, h: Array) -> tuple[Array, ...]:
    for _ in range(6):
        f = sigma(p["W"] @ x + p["U"] @ h + p["b"])
        h = (h + f * p["A"] / 6) / (1 + (1 / np.log1p(np.exp(p["tau"])) + f) / 6)
    return h, h


def fast_weights(p: Params, x: Array, h: Array, A: Array) -> tuple[Array, ...]:
    A = 0.95 * A + 0.5 * np.outer(h, h)
    z = p["W"] @ x + p["U"] @ h
    s = z + A @ np.maximum(z, 0)
    s = (s - s.mean()) / np.sqrt(s.var() + 1e-3) * p["g"] + p["b"]
    return np.maximum(s, 0), np.maximum(s, 0), A


def linear_attention(p: Params, x: Array, S: Array, z: Array) -> tuple[Array, ...]:
    def phi(v: Array) -> Array:
        return np.where(v > 0, v + 1, np.exp(v))

    q, k = phi(p["W_q"] @ x), phi(p["W_k"] @ x)
    S, z = S + np.outer(p["W_v"] @ x, k), z + k
    return S @ q / (z @ q + 1e-6), S, z


def retnet(p: Params, x: Array, S: Array) -> tuple[Array, ...]:
    S = 0.97 * S + np.outer(p["W_v"] @ x, p["W_k"] @ x)
    return S @ (p["W_q"] @ x), S


def gated_linear_attention(p: Params, x: Array, S: Array) -> tuple[Array, ...]:
    S = S @ np.diag(sigma(p["W_a"] @ x + p["b_a"])) + np.outer(p["W_v"] @ x, p["W_k"] @ x)
    r = p["W_r"] @ x + p["b_r"]
    return r * sigma(r) * (S @ (p["W_q"] @ x)), S


def delta_rule(p: Params, x: Array, S: Array) -> tuple[Array, ...]:
    q, k = (v / np.sqrt(v @ v + 1e-6) for v in (p["W_q"] @ x, p["W_k"] @ x))
    beta = sigma(p["W_b"] @ x + p["b_b"])[0]
    S = S @ (np.eye(len(k)) - beta * np.outer(k, k)) + beta * np.outer(p["W_v"] @ x, k)
    return S @ q, S


def gated_delta_net(p: Params, x: Array, S: Array) -> tuple[Array, ...]:
    return delta_rule(p, x, sigma(p["W_a"] @ x + p["b_a"])[0] * S)


def mlstm(p: Params, x: Array, C: Array, n: Array, m: Array) -> tuple[Array, ...]:
    """Without the stabiliser: `C`, `n` are stored times exp(-m)."""
    scale = np.exp(m[0])
    q, k, v = (p[f"W_{g}"] @ x + p[f"b_{g}"] for g in "qkv")
    k = k / np.sqrt(len(k))
    i = np.exp(p["W_i"] @ x + p["b_i"])[0]
    f = sigma(p["W_f"] @ x + p["b_f"])[0]
    C, n = f * C * scale + i * np.outer(v, k), f * n * scale + i * k
    h = sigma(p["W_o"] @ x + p["b_o"]) * (C @ q) / max(abs(n @ q), 1.0)
    m = np.maximum(np.log(f) + m, np.log(i))
    return h, C / np.exp(m[0]), n / np.exp(m[0]), m


def mamba(p: Params, x: Array, S: Array) -> tuple[Array, ...]:
    delta = np.log1p(np.exp(p["W_d"] @ x + p["b_d"]))[:, None]
    u = (p["W"] @ x)[:, None]
    S = np.exp(delta * -np.exp(p["A_log"])) * S + delta * (p["W_b"] @ x) * u
    return S @ (p["W_c"] @ x) + p["D"] * u[:, 0], S


def s4d(p: Params, x: Array, S_re: Array, S_im: Array) -> tuple[Array, ...]:
    step = np.exp(p["log_step"])[:, None]
    pole = -np.exp(p["A_log"]) + 1j * p["frequency"]
    u = p["W"] @ x
    S = np.exp(step * pole) * (S_re + 1j * S_im) + (np.exp(step * pole) - 1) / pole * u[:, None]
    y = 2 * ((p["C_re"] + 1j * p["C_im"]) * S).sum(1).real + p["D"] * u
    return y, S.real, S.imag


def lmu(p: Params, x: Array, h: Array, m: Array) -> tuple[Array, ...]:
    u = p["e_x"] @ x + p["e_h"] @ h + p["e_m"] @ m
    m = p["A"] @ m + p["B"] @ u
    h = np.tanh(p["W"] @ x + p["U"] @ h + p["V"] @ m)
    return h, h, m


def delta_product(p: Params, x: Array, S: Array) -> tuple[Array, ...]:
    H = S.T  # the paper's state is (key, value)
    for k, v, b in zip(
        p["W_k"].reshape(2, -1, 3), p["W_v"].reshape(2, -1, 3), sigma(p["W_b"] @ x + p["b_b"]), strict=True
    ):
        key = k @ x * sigma(k @ x)
        key = key / np.sqrt(key @ key + 1e-6)
        H = H - 2 * b * np.outer(key, key) @ H + 2 * b * np.outer(key, v @ x)
    q = p["W_q"] @ x * sigma(p["W_q"] @ x)
    return H.T @ (q / np.sqrt(q @ q + 1e-6)), H.T


def longhorn(p: Params, x: Array, S: Array) -> tuple[Array, ...]:
    k, beta = p["W_k"] @ x, sigma(p["W_b"] @ x + p["b_b"])
    delta = beta / (1 + beta * (k @ k))
    S = (1 - np.outer(delta, k**2)) * S + np.outer(delta * (p["W"] @ x), k)
    return S @ (p["W_q"] @ x), S


PAPERS: dict[str, Callable[..., tuple[Array, ...]]] = {
    f.__name__: f
    for f in (
        projected_lstm,
        low_rank_rnn,
        mogrifier_lstm,
        phased_lstm,
        gru_d,
        ltc,
        fast_weights,
        linear_attention,
        retnet,
        gated_linear_attention,
        gated_delta_net,
        mlstm,
        mamba,
        s4d,
        lmu,
        delta_product,
        longhorn,
    )
} | {"delta_net": delta_rule}


def problem(name: str) -> tuple[Cell, Array, dict[str, Array], dict[str, Array], list[Array]]:
    """Inputs, inputs with a name, parameters and initial states of a cell."""
    cell, random = getattr(cells, name), np.random.default_rng(7)
    step = cell.step

    def drawn(dims: tuple[str, ...], *before: int) -> Array:
        return random.standard_normal((*before, *(size_of(axis, SIZES) for axis in dims)))

    params = {p: np.asarray(drawn(dims) * 0.6) for p, dims in step.parameters.items()}
    if name == "phased_lstm":
        params["open"], params["period"] = np.full(5, 0.4), np.linspace(0.5, 1.5, 5)
    named = {n: drawn(dims, BATCH, TIME) for n, dims in step.inputs.items()}
    if name == "gru_d":
        named["observed"] = (named["observed"] > 0).astype(float)
        named["gap"] = np.abs(named["gap"])
    if name == "phased_lstm":
        named["time_now"] = np.cumsum(np.abs(named["time_now"]), axis=1)
    states = [drawn(step.dims_of(s), BATCH) * 0.5 for s in step.states]
    if step.output:
        states[0] = np.zeros_like(states[0])
    return cell, drawn(("features",), BATCH, TIME), named, params, states


@pytest.mark.parametrize("name", PAPERS)
def test_the_papers_equations(name: str) -> None:
    cell, x, named, params, states = problem(name)
    run = Reference(cell.step, x, params, states, named=named)
    for row in range(BATCH):
        own = [s[row] for s in states[cell.step.output :]]
        for t in range(TIME):
            given = ([x[row, t]] if cell.step.takes_features else []) + [v[row, t] for v in named.values()]
            output, *own = PAPERS[name](params, *given, *own)
            np.testing.assert_allclose(run.outputs[row, t], output, rtol=1e-9, atol=1e-12)
        for found, state in zip(run.states[cell.step.output :], own, strict=True):
            np.testing.assert_allclose(found[row], state, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", PAPERS)
def test_the_gradient_is_the_slope(name: str) -> None:
    cell, x, named, params, states = problem(name)
    run, random = Reference(cell.step, x, params, states, named=named), np.random.default_rng(1)
    weights = random.standard_normal(run.outputs.shape)
    to_inputs, to_params, _ = run.backward(weights)
    gradients = {"x": to_inputs, **to_params, **run.named_gradients}
    at = {"x": x, **params, **named}
    for each, value in at.items():
        if each in ("observed", "time_now"):  # conditions on times have no slope where they jump
            continue
        direction = random.standard_normal(value.shape)

        def loss(e: float, each: str = each, direction: Array = direction) -> float:
            now = {**at, each: at[each] + e * direction}
            moved = Reference(
                cell.step, now["x"], {n: now[n] for n in params}, states, named={n: now[n] for n in named}
            )
            return float((moved.outputs * weights).sum())

        e = 1e-5
        slope = (8 * (loss(e) - loss(-e)) - (loss(2 * e) - loss(-2 * e))) / (12 * e)
        assert abs((gradients[each] * direction).sum() - slope) < 1e-6 * (1 + abs(slope)), each


def test_a_legendre_memory_is_its_differential_equation() -> None:
    """theta dm/dt = A m + B u over one timestep, by many steps of Runge and Kutta."""
    order, theta, u = 5, 7.0, 0.8
    A = np.array(
        [[(2 * i + 1) * (-1.0 if i < j else (-1.0) ** (i - j + 1)) for j in range(5)] for i in range(5)]
    )
    B = np.array([(2 * i + 1) * (-1.0) ** i for i in range(order)])
    start = np.linspace(-1, 1, order)
    m, dt = start, 1 / 64

    def slope(m: Array) -> Array:
        return np.asarray((A @ m + B * u) / theta)

    for _ in range(64):
        a = slope(m)
        b = slope(m + dt / 2 * a)
        c = slope(m + dt / 2 * b)
        m = m + dt / 6 * (a + 2 * b + 2 * c + slope(m + dt * c))
    held, entering = legendre(order, theta, square=True), legendre(order, theta, square=False)
    np.testing.assert_allclose(held @ start + entering[:, 0] * u, m, rtol=1e-6)
    params = cells.lmu.replace(theta=theta).init(3, 4, order=order, dtype="float64")
    np.testing.assert_array_equal(params["A"], held)
    np.testing.assert_array_equal(params["B"], entering)
    assert not params["e_m"].any()
    assert np.isfinite(legendre(128, 784.0, square=True)).all()
    assert legendre(1, 2.0, square=True) == pytest.approx(np.exp(-0.5))
    assert legendre(1, 2.0, square=False) == pytest.approx(1 - np.exp(-0.5))


def test_every_cell_with_axes_is_here() -> None:
    own = [
        n
        for n in cells.names()
        if (s := cells.by_name(n).step).axes != ("units",) or s.state_dims or s.inputs
    ]
    assert set(own) <= PAPERS.keys()
