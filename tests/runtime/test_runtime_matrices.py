"""States that are matrices: outer products, products with vectors, whatever their sizes and how they lie."""

# ruff: noqa: F722, F821, UP037
from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import stepfold
from stepfold import (
    Cell,
    Scalar,
    Stream,
    cell,
    concatenate,
    exp,
    maximum,
    outer,
    sigmoid,
    split,
    tanh,
)
from stepfold._llvm import target
from stepfold._runtime import Engine
from stepfold._transform import zoneout
from tests.runtime.scan_groups import groups_of
from tests.runtime.scan_helpers import problem, ragged
from tests.targets import TARGETS


@cell
def linear_attention(
    x, C: "value key", *, W_q: "key features", W_k: "key features", W_v: "value features", w: "key"
):
    """A gate of each row; the output is no state."""
    k = tanh(W_k @ x)
    C = sigmoid(stepfold.sum(w * k)) * C + outer(W_v @ x, k)
    return C @ (W_q @ x), C


@cell
def stabilised(
    x, C: "value key", n: "key", m: Scalar, *, W_q: "key features", W_k: "key features",
    W_v: "value features", U: "1 features", V: "1 features",
):  # fmt: skip
    """mLSTM (Beck et al. 2024): exponential gates, a stabiliser."""
    q, k, v = W_q @ x, W_k @ x, W_v @ x
    i, f = stepfold.sum(U @ x), stepfold.sum(V @ x)
    new = maximum(f + m, i)
    i, f = exp(i - new), exp(f + m - new)
    C = f * C + i * outer(v, k)
    n = f * n + i * k
    return C @ q / maximum(abs(stepfold.sum(n * q)), exp(-new)), C, n, new


@cell
def selective(
    x, C: "units order", *, W: "units features", B: "order features", Q: "order features", A: "units order",
):  # fmt: skip
    """Like Mamba's selective step: a parameter of two axes, element by element."""
    step = stepfold.softplus(W @ x)
    C = exp(-exp(A) * stepfold.mean(step)) * C + outer(step * (W @ x), B @ x) * A
    return C @ (Q @ x), C


@cell
def delta_rule(x, C: "key key", *, W_k: "key features", W_v: "key features", U: "key key"):
    """Two products with the matrix before, one with that after; square."""
    k, v = tanh(W_k @ x), W_v @ x
    C = C + outer(v - C @ k, k) * 0.5 + 0.1 * outer(C.T @ v, U @ k)
    return C @ k + stepfold.mean(C), C


@cell
def only_a_matrix(x, C: "value key", *, W: "value features", V: "key features"):
    """The first state, and so the output, is a matrix."""
    bent = outer(tanh(C @ (V @ x)), tanh(C.T @ (W @ x)))
    return tanh(0.5 * C + outer(W @ x, V @ x) + 0.1 * bent)


@cell
def heads(x, S: "2*value key", *, W_k: "2*key features", W_v: "2*value features", a: "2", b: "2*value key"):
    """Two heads, rows of one matrix: taken apart, put together, turned about, as parts that overlap."""
    found = []
    for head, (M, k, v) in enumerate(zip(split(S, 2), split(W_k @ x, 2), split(W_v @ x, 2), strict=True)):
        k = tanh(k)
        found.append(sigmoid(a[head]) * M + outer(v - M @ k, k))
    S = concatenate(found)
    read = S @ tanh(S[0]) + stepfold.sum(S[1])
    return read, 0.5 * S + 0.2 * concatenate([S[1:], b[:1]])


@cell
def read_late(x, S: "value key", n: "key", *, W_v: "value features", W_k: "key features"):
    """States before are read behind the stores of those after: they cannot lie in the same memory."""
    k = tanh(W_k @ x)
    m = 0.5 * n + k / (1 + stepfold.sum(k * k))
    new = 0.5 * S + outer(W_v @ x, m)
    return S @ tanh(new.T @ (new @ n)), new, m


CELLS = {
    found.name: found
    for found in (linear_attention, stabilised, selective, delta_rule, only_a_matrix, read_late)
}
SIZES = ((3, 5), (17, 16), (32, 33), (1, 64), (4, 1), (8, 100))


def sizes_of(found: Cell, first: int, second: int) -> tuple[int, dict[str, int]]:
    """The units, and the sizes of other axes."""
    own = {"value": first, "key": second, "order": second}
    return first, {axis: own[axis] for axis in found.step.own_axes if axis in own}


@pytest.mark.parametrize("name", CELLS)
def test_matrices_as_the_reference_has_them(name: str) -> None:
    found = CELLS[name]
    layouts = ("batch", "time", "packed", "batch", "batch", "time")
    paddings = ("repeat", "zero", "repeat", "none", "repeat", "zero")
    for (first, second), layout, padding in zip(SIZES, layouts, paddings, strict=True):
        units, sizes = sizes_of(found, first, second)
        lengths = [6, 4, 3, 3] if layout == "packed" else [3, 6, 0, 5]
        made = problem(found, 4, 6, 5, units, "float64", sizes=sizes, mask=ragged(lengths, 6))
        made = made.but(layout=layout, padding=padding, reverse=layout == "time")
        if layout == "packed":
            mask = made.mask.reshape(*made.mask.shape, *[1] * (made.output_gradient.ndim - 2))
            made = made.but(output_gradient=made.output_gradient * mask)
        made.check()


@pytest.mark.slow
@pytest.mark.parametrize("on", TARGETS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", [*CELLS, "heads"])
def test_matrices_on_every_target(name: str, dtype: str, on: str) -> None:
    found = CELLS.get(name, heads)
    for first, second in SIZES:
        units, sizes = sizes_of(found, first, second)
        made = problem(found, 3, 5, 4, units, dtype, sizes=sizes)
        made.check(engine=Engine(found.step, units, dtype, target(on), made.recipe.sizes))


@pytest.mark.parametrize("name", ["linear_attention", "only_a_matrix", "read_late"])
def test_matrices_of_rows_that_share_a_prefix(name: str) -> None:
    random = np.random.default_rng(0)
    tokens = random.integers(1, 9, (6, 12))
    for row, depth in enumerate((3, 7, 7, 12, 0, 5)):
        tokens[row, :depth] = 0
    units, sizes = sizes_of(CELLS[name], 3, 5)
    step = CELLS[name].step
    made = problem(step, 6, 12, 4, units, sizes=sizes, initial=[None] * len(step.states))
    made = made.but(inputs=random.standard_normal((9, 4)), tokens=tokens)
    assert any(group.header["shared"] for group in groups_of(made, 1))
    made.check()


@pytest.mark.parametrize("rows", [1, 40, 70])
def test_any_number_of_rows_of_matrices(rows: int) -> None:
    """Chunks of one timestep and of many, groups of all rows and of some."""
    lengths = np.random.default_rng(rows).integers(0, 8, rows)
    lengths[0] = 7
    made = problem(delta_rule, rows, 7, 3, 1, "float64", sizes={"key": 17}, mask=ragged(list(lengths), 7))
    made.check()


@pytest.mark.parametrize("sizes", [(3, 5), (16, 17)])
def test_heads_are_rows_of_a_matrix(sizes: tuple[int, int]) -> None:
    units, others = sizes_of(heads, *sizes)
    problem(heads, 4, 6, 5, units, "float64", sizes=others, mask=ragged([3, 6, 0, 5], 6)).check()


def test_zoneout_of_a_matrix() -> None:
    step = zoneout(linear_attention.step)
    assert [n.dims for n in step.nodes if n.op == "step_input"] == [("value", "key")]
    problem(step, 3, 5, 4, 1, sizes={"value": 5, "key": 3}, mask=ragged([5, 2, 0], 5)).check()


# ---- the surface ------------------------------------------------------------------------------------------


def arrays_of(found: Cell, first: int, second: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    units, sizes = sizes_of(found, first, second)
    random = np.random.default_rng(0)
    params = found.init(3, units, seed=0, dtype="float64", **sizes)
    return random.standard_normal((4, 6, 3)), params


def test_scan_record_and_checkpoints() -> None:
    for found in (linear_attention, only_a_matrix):
        inputs, params = arrays_of(found, 5, 3)
        C = np.random.default_rng(1).standard_normal((4, 5, 3))
        more: dict[str, Any] = {"initial_state": [C], "lengths": [6, 2, 0, 3], "return_sequences": True}
        output, last = stepfold.scan(found, inputs, params, return_state=True, **more)
        assert last.shape == (4, 5, 3)
        np.testing.assert_array_equal(last[2], C[2])
        whole = stepfold.record(found, inputs, params, **more)
        kept = stepfold.record(found, inputs, params, checkpoint=True, **more)
        np.testing.assert_allclose(whole.output, output, rtol=1e-12)
        np.testing.assert_allclose(kept.output, output, rtol=1e-12)
        gradients = [run.backward(np.ones_like(output), [np.ones_like(last)]) for run in (whole, kept)]
        assert gradients[0].initial_state[0].shape == (4, 5, 3)
        for name in gradients[0].params:
            np.testing.assert_allclose(gradients[0].params[name], gradients[1].params[name], rtol=1e-9)
        np.testing.assert_allclose(gradients[0].initial_state[0], gradients[1].initial_state[0], rtol=1e-9)
    with pytest.raises(ValueError, match=r"initial state 'C' has shape \(4, 3, 5\), expected \(4, 5, 3\)"):
        stepfold.scan(found, inputs, params, initial_state=[C.transpose(0, 2, 1)])


@pytest.mark.parametrize("name", ["stabilised", "only_a_matrix"])
def test_a_stream_of_matrices(name: str) -> None:
    found = CELLS[name]
    inputs, params = arrays_of(found, 5, 3)
    outputs, *last = stepfold.scan(found, inputs, params, return_sequences=True, return_state=True)
    one, many = Stream(found, params), Stream(found, params, 4)
    for t in range(6):
        if t == 3:
            stored, many = many.save_state(), Stream(found, params, 4)
            many.load_state(stored)
        single, all_rows = one.step(inputs[:1, t]), many.step(inputs[:, t])
        np.testing.assert_allclose(single, outputs[:1, t], rtol=1e-9)
        np.testing.assert_allclose(all_rows, outputs[:, t], rtol=1e-9)
    for state, expected in zip(many.state, last, strict=True):
        np.testing.assert_allclose(state, expected, rtol=1e-9)
    many.state = many.state
    assert [s.shape for s in many.state] == [s.shape for s in last]
