# ruff: noqa: F722, F821, UP037
"""Cells whose values have axes of their own: states of other sizes, outputs, several inputs, matrices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

import stepfold
from stepfold import (
    Cell,
    CellError,
    Scalar,
    cell,
    concatenate,
    cumsum,
    exp,
    maximum,
    outer,
    repeat,
    roll,
    shift,
    sigmoid,
    softmax,
    split,
    tanh,
)
from stepfold._dims import size_of
from stepfold._gradient import backward
from stepfold._reference import Reference, sizes_of

SIZES = {"units": 4, "order": 2, "projection": 3, "rank": 2, "features": 5, "value": 3, "key": 2}


@cell
def projected(x, h: "projection", c, *, W_i, U_i, b_i, W_o, U_o, b_o, V: "projection units"):
    """Two sizes; a matrix from one to the other."""
    c = c + sigmoid(W_i @ x + U_i @ h + b_i) * tanh(U_i @ h)
    return V @ (sigmoid(W_o @ x + U_o @ h + b_o) * tanh(c)), c


@cell
def low_rank(x, h, *, W, P: "units rank", Q: "rank units", a: Scalar, g: "rank"):
    """A recurrent kernel of low rank, a vector of its own axis, a scalar beside two axes."""
    return tanh(W @ x + P @ (g * (Q @ h) * a) + a * stepfold.mean(Q @ h))


@cell
def read_out(x, h, *, W, U, O: "projection units"):
    """An output that is no state."""
    h = tanh(W @ x + U @ h)
    return O @ h + 1.0, h


@cell
def decayed(x: "features", m: "features", gap: Scalar, /, h, last: "features", *, W, U, V, w: "features", b):
    """Several inputs, used elementwise and behind matrices (GRU-D without its gates)."""
    fade = exp(-maximum(w * gap, 0.0))
    filled = m * x + (1.0 - m) * fade * last
    return tanh(W @ filled + U @ h + V @ m + b * gap), m * x + (1.0 - m) * last


@cell
def fast_weights(
    x,
    C: "value key",
    n: "key",
    s: Scalar,
    *,
    W_q: "key features",
    W_k: "key features",
    W_v: "value features",
    w: "key",
):
    """A matrix state with a vector and a number beside it, as in mLSTM; the output is no state."""
    q, k, v = W_q @ x, tanh(W_k @ x), W_v @ x
    gate = sigmoid(stepfold.sum(w * k))
    s = maximum(s * 0.5, gate)
    C = gate * C + outer(v - C @ k, k * s) * 0.5
    n = gate * n + C.T @ v
    return C @ q / maximum(abs(stepfold.sum(n * q)), 1.0) + stepfold.mean(C), C, n, s


@cell(vectors={"A": -0.5})
def selective(x: "units", S: "units order", *, W_b: "order units", W_c: "order units", A: "units order", D):
    """A parameter of two axes that is used element by element, as in Mamba; the remainder of a division."""
    S = exp(sigmoid(x) * A * stepfold.mod(W_b @ x, 3.0)) * S + outer(x, W_b @ x)
    read = stepfold.sum(S * (W_c @ x), "order")
    return read + D * x * stepfold.sum(stepfold.sum(S, "units")), S


@cell
def parted(x: "features", h, p: "units/2", *, U: "4*units features+units", b: "rank", c):
    """Parts of vectors, by integers and by the names of their axes; their order, shifts and running sums."""
    i, f, g, o = split(U @ concatenate([h, x]), 4)
    keep, write = split(h, "rank key")
    first, second = split(concatenate([i[[2, 0]], i[2:]]), 2)
    p = 0.5 * p + first * tanh(second[::-1])
    steps = concatenate([h[1:] - h[:-1], h[0] * f[-1]], "units")
    h = cumsum(softmax(f)) * concatenate([write, keep * b], "units") + shift(tanh(g), -1) * roll(c, 5)
    h = sigmoid(o) * tanh(h) + 0.2 * shift(cumsum(tanh(g) * steps, reverse=True), 2)
    return h + 0.1 * repeat(p, 2), p


@cell
def headed(
    x, S: "2*value key", *, W_k: "2*key features", W_v: "2*value features", W_q: "key features", a: "2"
):
    """A matrix for each of two heads, the rows of one state."""
    read, heads = 0.0, []
    for head, (M, k, v) in enumerate(zip(split(S, 2), split(W_k @ x, 2), split(W_v @ x, 2), strict=True)):
        M = sigmoid(a[head]) * M + outer(v - M @ tanh(k), tanh(k))
        read = read + M @ tanh(W_q @ x) * k[0]
        heads.append(M)
    S = concatenate(heads)
    mixed = stepfold.sum(S[:3] @ S[1]) + S[-1:][0][0]
    return read + tanh(mixed), 0.5 * S + 0.3 * concatenate([S[1:], S[:1]])


CELLS = (selective, parted, headed, projected, low_rank, read_out, decayed, fast_weights)


def named(found: Cell, random: np.random.Generator, *shape: int) -> dict[str, np.ndarray]:
    """Random inputs with a name."""
    sizes = {**SIZES, "1": 1}
    return {
        name: random.standard_normal((*shape, *(size_of(axis, sizes) for axis in dims)))
        for name, dims in found.step.inputs.items()
    }


def params_of(found: Cell, random: np.random.Generator) -> dict[str, np.ndarray]:
    others = {axis: SIZES[axis] for axis in found.step.own_axes if axis not in ("units", "features")}
    shapes = found.parameter_shapes(features=5, units=4, **others)
    return {name: np.asarray(random.standard_normal(shape) * 0.7) for name, shape in shapes.items()}


def problem(found: Cell, seed: int = 0) -> tuple[Reference, np.random.Generator]:
    random = np.random.default_rng(seed)
    params = params_of(found, random)
    sizes = {**SIZES, "1": 1}
    states = [
        random.standard_normal((3, *(size_of(axis, sizes) for axis in found.step.dims_of(s)))) * 0.5
        for s in found.step.states
    ]
    if found.step.output:
        states[0] = np.zeros_like(states[0])
    mask = random.random((3, 4)) < 0.8
    x = random.standard_normal((3, 4, 5))
    run = Reference(found.step, x, params, states, mask=mask, named=named(found, random, 3, 4))
    return run, random


@pytest.mark.parametrize("found", CELLS, ids=lambda c: c.name)
def test_the_gradient_is_the_slope(found: Cell) -> None:
    run, random = problem(found)
    to_outputs = random.standard_normal(run.outputs.shape)
    to_states = [random.standard_normal(s.shape) for s in run.states]
    inputs, params, states = run.backward(to_outputs, to_states)

    def loss(
        x: np.ndarray, of: Mapping[str, np.ndarray], begin: list[np.ndarray], given: Mapping[str, np.ndarray]
    ) -> float:
        moved = Reference(found.step, x, of, begin, mask=run.mask, named=given)
        ends = sum(float((a * b).sum()) for a, b in zip(moved.states, to_states, strict=True))
        return float((moved.outputs * to_outputs).sum()) + ends

    begin = run.before[0]
    at: dict[str, Any] = {"x": run.inputs, **run.params, **run.named}
    at |= {f"state {k}": value for k, value in enumerate(begin)}
    gradients = {"x": inputs, **params, **run.named_gradients}
    gradients |= {f"state {k}": value for k, value in enumerate(states)}
    for name, value in at.items():
        direction = random.standard_normal(np.shape(value))

        def moved(e: float, name: str = name, direction: np.ndarray = direction) -> float:
            now = {**at, name: at[name] + e * direction}
            return loss(
                now["x"],
                {n: now[n] for n in run.params},
                [now[f"state {k}"] for k in range(len(begin))],
                {n: now[n] for n in run.named},
            )

        e = 1e-5
        slope = (8 * (moved(e) - moved(-e)) - (moved(2 * e) - moved(-2 * e))) / (12 * e)
        assert abs((gradients[name] * direction).sum() - slope) < 1e-7 * (1 + abs(slope)), name


@pytest.mark.parametrize("found", CELLS, ids=lambda c: c.name)
def test_saved_and_loaded(found: Cell) -> None:
    again = Cell.from_json(found.to_json())
    assert again == found
    assert again.step.key == found.step.key
    assert again.states == found.states
    assert again.step.axes == found.step.axes
    assert repr(again) == repr(found)
    assert [n.dims for n in backward(again.step).nodes] == [n.dims for n in backward(found.step).nodes]


@pytest.mark.parametrize("found", CELLS, ids=lambda c: c.name)
def test_one_row_and_many(found: Cell) -> None:
    """The function itself, the graph, and the reference agree."""
    run, _ = problem(found)
    step = found.step
    own = slice(int(step.output), None)
    inputs = ([run.inputs[:, 0]] if step.takes_features else []) + [v[:, 0] for v in run.named.values()]
    many = found(*inputs, *run.before[0][own], **run.params)
    one = found(*(v[1] for v in inputs), *(s[1] for s in run.before[0][own]), **run.params)
    assert len(many) == len(step.states) if isinstance(many, tuple) else len(step.states) == 1
    for all_rows, row in zip(
        many if isinstance(many, tuple) else (many,), one if isinstance(one, tuple) else (one,), strict=True
    ):
        np.testing.assert_allclose(all_rows[1], row, rtol=1e-12)
    assert sizes_of(step, run.before[0], run.params).keys() >= set(step.own_axes)


def test_what_is_declared_is_shown() -> None:
    assert repr(decayed) == "<cell decayed(x, m, gap, /, h, last, *, W, U, V, w, b)>"
    assert fast_weights.states == ("C", "n", "s")
    assert fast_weights.step.output
    assert projected.parameter_shapes(features=5, units=4, projection=3)["U_i"] == (4, 3)
    assert projected.init(5, 4, projection=3, seed=1)["V"].shape == (3, 4)
    with pytest.raises(ValueError, match=r"^projected needs the size of projection; give projection=…$"):
        projected.init(5, 4)
    with pytest.raises(ValueError, match=r"^projected has no axis rank; it has projection$"):
        projected.init(5, 4, projection=3, rank=2)
    with pytest.raises(ValueError, match=r"^projection must be an integer of at least 1, not 0$"):
        projected.init(5, 4, projection=0)


def test_errors_of_axes() -> None:
    def both(x, C: "units units", *, A: "units units", W):
        return C * A + outer(A @ (W @ x), W @ x)

    with pytest.raises(
        CellError, match=r"parameter 'A' is used as a recurrent kernel .* make it two parameters"
    ):
        cell(both)

    def second(x, gap, /, h, *, W):
        return tanh(W @ x) * gap

    with pytest.raises(
        CellError, match=r"the input gap needs axes, since only the first may do without; write"
    ):
        cell(second)

    def unread(x: "units", gap: Scalar, /, h):
        return x * h

    with pytest.raises(CellError, match="unread never uses the input gap; remove what is not needed"):
        cell(unread)

    def other(x, h: "projection", *, W):
        return tanh(W @ x)

    with pytest.raises(
        CellError, match=r"the new state 'h' has the axes \(units,\), expected \(projection,\); declare"
    ):
        cell(other)

    def mixed(x, h: "projection", c, *, W):
        return h * c, W @ x

    with pytest.raises(CellError, match=r"\(projection,\) and \(units,\) do not fit together elementwise"):
        cell(mixed)

    def of_a_vector(x, h, *, W):
        return h.T @ (W @ x)

    with pytest.raises(CellError, match=r"only a matrix has a \.T, not a value \(units,\)"):
        cell(of_a_vector)

    def cubed(x, C: "a b c", *, W):
        return C

    with pytest.raises(CellError, match="state C is declared as 'a b c'; a state has at most two axes"):
        cell(cubed)


def test_vectors_beside_matrices() -> None:
    def ambiguous(x, C: "units units", *, W):
        return C * (W @ x)

    with pytest.raises(
        CellError, match=r"a vector \(units,\) beside a matrix \(units, units\): which of both"
    ):
        cell(ambiguous)

    def foreign(x, C: "key units", *, W: "rank features"):
        return C * (W @ x)

    with pytest.raises(CellError, match=r"a vector \(rank,\) beside a matrix \(key, units\): do not fit"):
        cell(foreign)

    def unknown(x, C: "key units", *, W):
        return C + stepfold.sum(C, "rank") * (W @ x)

    with pytest.raises(CellError, match=r"axis 'rank' is not one of two different axes \(key, units\)"):
        cell(unknown)


def test_shapes_that_do_not_fit() -> None:
    run, _ = problem(projected)
    h, c = run.before[0]
    with pytest.raises(ValueError, match=r"projected: parameter V has shape \(3, 5\), expected \(3, 4\)"):
        projected(run.inputs[:, 0], h, c, **{**run.params, "V": np.zeros((3, 5))})
    with pytest.raises(ValueError, match=r"projected: state c has shape \(2, 4\), expected \(3, 4\)"):
        projected(run.inputs[:, 0], h, c[:2], **run.params)
