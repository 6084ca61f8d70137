"""The cells of the collection: their papers' equations in plain NumPy, and gradients by differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stepfold import cells, record, scan

Array = NDArray[np.float64]
State = tuple[Array, ...]
FEATURES, UNITS, BATCH, TIME = 3, 5, 2, 6


def sigma(v: Array) -> Array:
    return 1 / (1 + np.exp(-v))


def relu(v: Array) -> Array:
    return np.maximum(v, 0)


class P(dict[str, Array]):
    """Parameters by their names; `p("W_f", x)` is a product, row by row."""

    def __call__(self, name: str, v: Array) -> Array:
        return v @ self[name].T


def mgu(p: P, x: Array, h: Array) -> State:
    f = sigma(p("W_f", x) + p("U_f", h) + p["b_f"])
    return ((1 - f) * h + f * np.tanh(p("W_h", x) + p("U_h", f * h) + p["b_h"]),)


def janet(p: P, x: Array, h: Array) -> State:
    s = p("U_s", h) + p("W_s", x) + p["b_s"]
    candidate = np.tanh(p("U_c", h) + p("W_c", x) + p["b_c"])
    return (sigma(s) * h + (1 - sigma(s - 1)) * candidate,)


def li_gru(p: P, x: Array, h: Array) -> State:
    z = sigma(p("W_z", x) + p("U_z", h) + p["b_z"])
    return (z * h + (1 - z) * relu(p("W_h", x) + p("U_h", h) + p["b_h"]),)


def minimal_rnn(p: P, x: Array, h: Array) -> State:
    z = np.tanh(p("W", x) + p["b"])
    u = sigma(p("U_h", h) + p("U_z", z) + p["b_u"])
    return (u * h + (1 - u) * z,)


def star(p: P, x: Array, h: Array) -> State:
    k = sigma(p("W_k", x) + p("U_k", h) + p["b_k"])
    return (np.tanh((1 - k) * h + k * np.tanh(p("W_z", x) + p["b_z"])),)


def atr(p: P, x: Array, h: Array) -> State:
    candidate, past = p("W", x) + p["b"], p("U", h)
    return (sigma(candidate + past) * candidate + sigma(candidate - past) * h,)


def brc(p: P, x: Array, h: Array) -> State:
    a = 1 + np.tanh(p("W_a", x) + p["w_a"] * h + p["b_a"])
    c = sigma(p("W_c", x) + p["w_c"] * h + p["b_c"])
    return (c * h + (1 - c) * np.tanh(p("W", x) + a * h + p["b"]),)


def nbrc(p: P, x: Array, h: Array) -> State:
    a = 1 + np.tanh(p("W_a", x) + p("U_a", h) + p["b_a"])
    c = sigma(p("W_c", x) + p("U_c", h) + p["b_c"])
    return (c * h + (1 - c) * np.tanh(p("W", x) + a * h + p["b"]),)


def mi_rnn(p: P, x: Array, h: Array) -> State:
    product = p["a"] * p("W", x) * p("U", h)
    return (np.tanh(product + p["d_h"] * p("U", h) + p["d_x"] * p("W", x) + p["b"]),)


def scrn(p: P, x: Array, h: Array, s: Array) -> State:
    s = (1 - 0.95) * p("W_s", x) + 0.95 * s
    return sigma(p("U_s", s) + p("W_h", x) + p("U_h", h)), s


def original_lstm(p: P, x: Array, h: Array, c: Array) -> State:
    i, o = (sigma(p(f"W_{g}", x) + p(f"U_{g}", h) + p[f"b_{g}"]) for g in "io")
    c = c + i * np.tanh(p("W_c", x) + p("U_c", h) + p["b_c"])
    return o * np.tanh(c), c


def multiplicative_lstm(p: P, x: Array, h: Array, c: Array) -> State:
    m = p("W_m", x) * p("U_m", h)
    i, f, z, o = (p(f"W_{g}", x) + p(f"U_{g}", m) + p[f"b_{g}"] for g in "ifco")
    c = sigma(f) * c + sigma(i) * np.tanh(z)
    return sigma(o) * np.tanh(c), c


def ran(p: P, x: Array, h: Array, c: Array) -> State:
    i, f = (sigma(p(f"U_{g}", h) + p(f"W_{g}", x) + p[f"b_{g}"]) for g in "if")
    c = i * p("W_c", x) + f * c
    return np.tanh(c), c


def nas(p: P, x: Array, h: Array, c: Array) -> State:
    a = {k: p(f"W_{k}", x) + p(f"U_{k}", h) for k in (1, 2, 3, 5, 6, 7, 8)}
    first = [sigma(a[1]), relu(a[2]), sigma(a[3]), relu(p("W_4", x) * p("U_4", h))]
    first += [np.tanh(a[5]), sigma(a[6]), np.tanh(a[7]), sigma(a[8])]
    second = [np.tanh(first[0] * first[1]), np.tanh(first[2] + first[3])]
    second += [np.tanh(first[4] * first[5]), sigma(first[6] + first[7])]
    c = np.tanh(second[0] + c) * second[1]
    return np.tanh(c * np.tanh(second[2] + second[3])), c


def slstm(p: P, x: Array, h: Array, c: Array, n: Array, m: Array) -> State:
    i, f, z, o = (p(f"W_{g}", x) + p(f"U_{g}", h) + p[f"b_{g}"] for g in "ifzo")
    # without the stabiliser, which changes no output: c and n are kept times exp(-m)
    kept, ones = c * np.exp(m), n * np.exp(m)
    kept = sigma(f) * kept + np.exp(i) * np.tanh(z)
    ones = sigma(f) * ones + np.exp(i)
    top = np.where(n == 0, i, np.maximum(np.log(sigma(f)) + m, i))
    return sigma(o) * kept / ones, kept * np.exp(-top), ones * np.exp(-top), top


def min_lstm(p: P, x: Array, h: Array) -> State:
    f, i = sigma(p("W_f", x) + p["b_f"]), sigma(p("W_i", x) + p["b_i"])
    return (f / (f + i) * h + i / (f + i) * (p("W_h", x) + p["b_h"]),)


def t_rnn(p: P, x: Array, h: Array) -> State:
    f = sigma(p("W_f", x) + p["b_f"])
    return (f * h + (1 - f) * p("W", x),)


def qrnn(p: P, x: Array, h: Array, c: Array) -> State:
    z, f, o = np.tanh(p("W_z", x)), sigma(p("W_f", x)), sigma(p("W_o", x))
    c = f * c + (1 - f) * z
    return o * c, c


def sru(p: P, x: Array, h: Array, c: Array) -> State:
    f = sigma(p("W_f", x) + p["v_f"] * c + p["b_f"])
    r = sigma(p("W_r", x) + p["v_r"] * c + p["b_r"])
    c = f * c + (1 - f) * p("W", x)
    return r * c + (1 - r) * p("W_h", x), c


def rwkv(p: P, x: Array, h: Array, a: Array, b: Array, m: Array) -> State:
    r, k, v = p("W_r", x), p("W_k", x), p("W_v", x)
    above, below = a * np.exp(m), b * np.exp(m)  # without the largest exponent taken out
    wkv = (above + np.exp(p["u"] + k) * v) / (below + np.exp(p["u"] + k))
    decay = np.exp(-np.exp(p["w"]))
    above, below = decay * above + np.exp(k) * v, decay * below + np.exp(k)
    top = np.maximum(m - np.exp(p["w"]), k)
    return sigma(r) * wkv, above * np.exp(-top), below * np.exp(-top), top


def leaky_rnn(p: P, x: Array, h: Array) -> State:
    return (0.5 * h + 0.5 * np.tanh(p("W", x) + p("U", h) + p["b"]),)


def co_rnn(p: P, x: Array, y: Array, z: Array) -> State:
    force = np.tanh(p("U_y", y) + p("U_z", z) + p("W", x) + p["b"])
    z = z + 0.042 * (force - 2.7 * y - 4.7 * z)
    return y + 0.042 * z, z


def unicornn(p: P, x: Array, y: Array, z: Array) -> State:
    step = 0.1 * (0.5 + 0.5 * np.tanh(p["c"] / 2))
    z = z - step * (np.tanh(p["u"] * y + p("W", x) + p["b"]) + y)
    return y + step * z, z


def lem(p: P, x: Array, y: Array, z: Array) -> State:
    one, two = (sigma(p(f"U_{k}", y) + p(f"W_{k}", x) + p[f"b_{k}"]) for k in (1, 2))
    z = (1 - one) * z + one * np.tanh(p("U_z", y) + p("W_z", x) + p["b_z"])
    return (1 - two) * y + two * np.tanh(p("U_y", z) + p("W_y", x) + p["b_y"]), z


def cfc(p: P, x: Array, h: Array) -> State:
    one, two, a, b = (p(f"W_{g}", x) + p(f"U_{g}", h) + p[f"b_{g}"] for g in "12ab")
    between = sigma(a * 1.0 + b)
    return (np.tanh(one) * (1 - between) + between * np.tanh(two),)


def rhn(p: P, x: Array, h: Array) -> State:
    t = sigma(p("W_t", x) + p("U_t", h) + p["b_t"])
    s = np.tanh(p("W_h", x) + p("U_h", h) + p["b_h"]) * t + h * (1 - t)
    t = sigma(p("V_t", s) + p["c_t"])
    return (np.tanh(p("V_h", s) + p["c_h"]) * t + s * (1 - t),)


def mut3(p: P, x: Array, h: Array) -> State:
    z = sigma(p("W_z", x) + p("U_z", np.tanh(h)) + p["b_z"])
    r = sigma(p("W_r", x) + p("U_r", h) + p["b_r"])
    return (np.tanh(p("U_h", r * h) + p("W_h", x) + p["b_h"]) * z + h * (1 - z),)


def cumax(v: Array) -> Array:
    e = np.exp(v - v.max(-1, keepdims=True))
    return np.cumsum(e / e.sum(-1, keepdims=True), -1)


def on_lstm(p: P, x: Array, h: Array, c: Array) -> State:
    f, i, o = (sigma(p(f"W_{g}", x) + p(f"U_{g}", h) + p[f"b_{g}"]) for g in "fio")
    forget, write = (cumax(p(f"W_{g}", x) + p(f"U_{g}", h) + p[f"b_{g}"]) for g in ("forget", "input"))
    write = 1 - write
    overlap = forget * write
    f, i = f * overlap + (forget - overlap), i * overlap + (write - overlap)
    c = f * c + i * np.tanh(p("W_c", x) + p("U_c", h) + p["b_c"])
    return o * np.tanh(c), c


PAPERS: dict[str, Callable[..., State]] = {
    each.__name__: each
    for each in (
        *(mgu, janet, li_gru, minimal_rnn, star, atr, brc, nbrc, mi_rnn, scrn, original_lstm, mut3, rhn, cfc),
        *(multiplicative_lstm, ran, nas, slstm, min_lstm, t_rnn, qrnn, sru, rwkv, leaky_rnn, co_rnn, lem),
        *(unicornn, on_lstm),
    )
}


def problem(name: str) -> tuple[Any, P, Array]:
    cell, random = cells.by_name(name), np.random.default_rng(len(name))
    shapes = cell.parameter_shapes(features=FEATURES, units=UNITS)
    params = P({key: random.normal(0, 0.5, shape) for key, shape in shapes.items()})
    return cell, params, random.normal(size=(BATCH, TIME, FEATURES))


@pytest.mark.parametrize("name", PAPERS)
def test_the_kernel_is_the_paper_s_equations(name: str) -> None:
    cell, params, x = problem(name)
    states: State = tuple(np.zeros((BATCH, UNITS)) for _ in cell.states)
    outputs = []
    for t in range(TIME):
        states = PAPERS[name](params, x[:, t], *states)
        outputs.append(states[0])
    found, *last = scan(cell, x, params, return_sequences=True, return_state=True)
    np.testing.assert_allclose(found, np.stack(outputs, 1), rtol=1e-10, atol=1e-12)
    for mine, theirs in zip(last, states, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", PAPERS)
def test_the_gradient_is_that_of_differences(name: str) -> None:
    cell, params, x = problem(name)
    random = np.random.default_rng(1)
    arriving = random.normal(size=(BATCH, TIME, UNITS))

    def loss(inputs: Array, given: dict[str, Array]) -> float:
        return float((scan(cell, inputs, given, return_sequences=True) * arriving).sum())

    gradients = record(cell, x, params, return_sequences=True).backward(arriving)
    for key, value in {"inputs": x, **params}.items():
        direction = random.normal(size=value.shape)
        moved = [
            loss(x + s * direction, params)
            if key == "inputs"
            else loss(x, {**params, key: value + s * direction})
            for s in (1e-6, -1e-6)
        ]
        expected = (moved[0] - moved[1]) / 2e-6
        gradient = gradients.inputs if key == "inputs" else gradients.params[key]
        assert (gradient * direction).sum() == pytest.approx(expected, rel=1e-5, abs=1e-6), key


def test_every_cell_is_in_one_family_and_names_its_paper() -> None:
    every = [cell for family in cells.FAMILIES.values() for cell in family]
    assert len({cell.name for cell in every}) == len(every) == len(cells.names()) >= 41
    for cell in every:
        first = (cell.__doc__ or "").partition("\n")[0]
        assert len(first) < 110, cell.name
        assert cell.name == "carry_lstm" or any(f"{year}" in first for year in range(1990, 2027)), cell.name
        assert getattr(cells, cell.name) is cell
