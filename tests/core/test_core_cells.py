"""Cells: tracing, initial parameters, a cell called as a function."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from core_helpers import close
from hypothesis import given, settings

import stepfold
from stepfold import Cell, cell, softmax, tanh
from stepfold._graph import KERNEL, RECURRENT_KERNEL, UNITS
from stepfold._reference import Reference
from tests.kinds import UNIFORM
from tests.strategies import cells, parameters


def test_kinds_follow_from_use() -> None:
    @cell
    def step(x, h, c, *, W, U, V, b):
        h = softmax(W @ x + U @ (h * c) + b)
        return h, V @ h

    assert step.name == "step"
    assert step.states == ("h", "c")
    assert step.step.parameters == {"W": KERNEL, "U": RECURRENT_KERNEL, "V": RECURRENT_KERNEL, "b": UNITS}
    assert step.parameter_shapes(features=5, units=3) == {"W": (3, 5), "U": (3, 3), "V": (3, 3), "b": (3,)}
    assert repr(step) == "<cell step(x, h, c, *, W, U, V, b)>"
    assert repr(cell(lambda x, h: h)).endswith("(x, h)>")


def test_a_scalar_per_row_is_broadcast_over_the_units() -> None:
    @cell
    def flat(x, h, *, W):
        return stepfold.mean(W @ x)

    found = flat(np.array([[1.0, 2.0]]), np.zeros((1, 3)), W=np.ones((3, 2)))
    np.testing.assert_array_equal(found, [[3.0, 3.0, 3.0]])


@pytest.mark.parametrize("size", [0, -1, 2.0, True, "3"])
def test_sizes_that_are_refused(size: Any) -> None:
    with pytest.raises(ValueError, match=r"^units must be an integer of at least 1, not "):
        stepfold.cells.lstm.parameter_shapes(features=2, units=size)
    with pytest.raises(ValueError, match=r"^features must be an integer of at least 1, not "):
        stepfold.cells.lstm.parameter_shapes(features=size, units=2)


@pytest.mark.parametrize("dtype", ["float32", np.float64])
@pytest.mark.parametrize("name", UNIFORM)
def test_init(name: str, dtype: Any) -> None:
    cell = stepfold.cells.by_name(name)
    features, units = 7, 19
    params = cell.init(features, units, seed=4, dtype=dtype)
    assert {n: p.shape for n, p in params.items()} == cell.parameter_shapes(features=features, units=units)
    again = cell.init(features, units, seed=4, dtype=dtype)
    other = cell.init(features, units, seed=5, dtype=dtype)
    limit = np.sqrt(6 / (features + units))
    for n, dims in cell.step.parameters.items():
        value = params[n]
        assert value.dtype == np.dtype(dtype)
        assert value.flags.c_contiguous
        assert value.flags.writeable
        np.testing.assert_array_equal(value, again[n])
        kind, number = cell.step.kernels.get(n, ("", 0.0))
        if kind == "normal":
            assert 0.8 * number < value.std() < 1.2 * number
        elif kind == "identity":
            np.testing.assert_array_equal(value, number * np.eye(units))
        elif dims == KERNEL:
            assert np.abs(value).max() <= limit
            assert np.abs(value).max() > 0.9 * limit
            assert abs(value.mean()) < 0.2 * limit
        elif dims == RECURRENT_KERNEL:
            np.testing.assert_allclose(value @ value.T, np.eye(units), atol=1e-5)
        else:
            np.testing.assert_array_equal(value, np.full(value.shape, cell.step.vectors.get(n, 0.0)))
        if len(dims) == 2 and kind != "identity":
            assert (value != other[n]).any()


def test_initial_values_of_forget_gates() -> None:
    for name in ("lstm", "carry_lstm", "peephole_lstm", "coupled_lstm", "layer_norm_lstm"):
        params = stepfold.cells.by_name(name).init(2, 3)
        np.testing.assert_array_equal(params["b_f"], [1, 1, 1])
    np.testing.assert_array_equal(stepfold.cells.layer_norm_gru.init(2, 3)["g_z"], [1, 1, 1])


def test_kernels_begin_as_the_cell_says() -> None:
    @cell(kernels={"U": ("identity", 2), "W": ("normal", 0.01)})
    def begins_so(x, h, *, W, U, V):
        return tanh(W @ x + U @ h + V @ x)

    for made in (begins_so, Cell.from_json(begins_so.to_json())):
        params = made.init(40, 50, seed=0)
        np.testing.assert_array_equal(params["U"], 2 * np.eye(50))
        assert 0.009 < params["W"].std() < 0.011
        assert params["V"].max() > 0.2
    table = begins_so.show("maths")
    assert "normal, deviation 0.01" in table
    assert "2 * identity" in table
    assert "kernels" not in stepfold.cells.lstm.to_json()  # earlier versions can read it


def test_init_dtype() -> None:
    expected = r"^dtype must be float32 or float64, not int32; convert the arrays with \.astype\('float32'\)$"
    with pytest.raises(TypeError, match=expected):
        stepfold.cells.lstm.init(2, 3, dtype="int32")


def one_step(cell: Cell, x: Any, states: list[Any], params: dict[str, Any]) -> list[Any]:
    return Reference(cell.step, x[:, None], params, states).states


def called(cell: Cell, x: Any, states: list[Any], params: dict[str, Any]) -> tuple[Any, ...]:
    found = cell(x, *states, **params)
    return found if isinstance(found, tuple) else (found,)


@pytest.mark.parametrize("loaded", [False, True], ids=["written", "loaded"])
@pytest.mark.parametrize("name", UNIFORM)
def test_a_call_computes_one_step(name: str, loaded: bool) -> None:
    cell = stepfold.cells.by_name(name)
    if loaded:
        cell = Cell.from_json(cell.to_json())
    random = np.random.default_rng(0)
    # as many rows as features, so that exchanged axes are seen
    x, states = random.standard_normal((4, 4)), [random.standard_normal((4, 3)) for _ in cell.states]
    params = parameters(cell, 4, 3, seed=1)
    expected = one_step(cell, x, states, params)
    for a, b in zip(called(cell, x, states, params), expected, strict=True):
        close(a, b, 1e-14)
        assert a.flags.writeable
    for a, b in zip(called(cell, x[2], [s[2] for s in states], params), expected, strict=True):
        close(a, b[2], 1e-14)


@settings(max_examples=40)
@given(cell=cells())
def test_a_call_of_a_random_cell(cell: Cell) -> None:
    random = np.random.default_rng(1)
    x, states = random.standard_normal((2, 3)), [random.standard_normal((2, 4)) for _ in cell.states]
    params = parameters(cell, 3, 4, seed=2)
    expected = one_step(cell, x, states, params)
    for row in range(2):
        found = called(cell, x[row], [s[row] for s in states], params)
        for a, b in zip(found, expected, strict=True):
            close(np.broadcast_to(a, b[row].shape), b[row], 1e-12)


def test_a_call_with_arguments_that_do_not_fit() -> None:
    cell = stepfold.cells.simple_rnn
    x, h, params = np.ones(2), np.ones(3), cell.init(2, 3)
    with pytest.raises(TypeError, match=r"^simple_rnn takes x, h before its parameters, got 1 arrays$"):
        cell(x, **params)
    with pytest.raises(ValueError, match=r"^simple_rnn: state h has shape \(2, 3\), expected \(3,\)$"):
        cell(x, np.ones((2, 3)), **params)
    with pytest.raises(TypeError, match=r"^simple_rnn lacks b and has no q; its parameters are W, U, b$"):
        cell(x, h, W=params["W"], U=params["U"], q=params["b"])
    with pytest.raises(ValueError, match=r"^simple_rnn: parameter W has shape \(3, 2\), expected \(3, 5\)$"):
        cell(np.ones(5), h, **params)
    with pytest.raises(ValueError, match=r"must be arrays \(…, features\) and \(…, units\), not scalars$"):
        cell(1.0, h, **params)


def test_integers_are_converted() -> None:
    cell = stepfold.cells.ugrnn
    params = cell.init(2, 3, seed=0, dtype="float64")
    found = cell(np.ones((1, 2), int), np.ones((1, 3), int), **params)
    close(found, cell(np.ones((1, 2)), np.ones((1, 3)), **params), 0)


def test_a_cell_inside_another() -> None:
    @cell
    def twice(x, h, *, W, U, b):
        h = stepfold.cells.simple_rnn(x, h, W=W, U=U, b=b)
        return tanh(U @ h)

    params = twice.init(2, 3, seed=0, dtype="float64")
    x, h = np.ones((1, 2)), np.ones((1, 3))
    inner = stepfold.cells.simple_rnn(x, h, **params)
    close(twice(x, h, **params), np.tanh(inner @ params["U"].T), 1e-14)

    loaded = Cell.from_json(stepfold.cells.simple_rnn.to_json())
    with pytest.raises(stepfold.CellError, match=r"^simple_rnn was loaded without its function"):

        @cell
        def outer(x, h, *, W, U, b):
            return loaded(x, h, W=W, U=U, b=b)


def test_equal_cells() -> None:
    def simple_rnn(x, h, *, W, U, b):
        return tanh(W @ x + U @ h + b)

    again = cell(simple_rnn)
    assert again == stepfold.cells.simple_rnn
    assert hash(again) == hash(stepfold.cells.simple_rnn)
    assert again != stepfold.cells.simple_rnn_relu
    assert again != "simple_rnn"
    assert len({stepfold.cells.by_name(name) for name in stepfold.cells.names()}) == len(
        stepfold.cells.names()
    )


def test_equal_maths_is_one_graph() -> None:
    @cell
    def other_name(x, h, *, W, U, b):
        return tanh(W @ x + U @ h + b)

    assert other_name.step.outputs[0] is stepfold.cells.simple_rnn.step.outputs[0]


def test_cells_by_name() -> None:
    assert stepfold.cells.by_name("gru") is stepfold.cells.gru
    with pytest.raises(ValueError, match=r"^there is no cell 'gru2'; the cells are simple_rnn, "):
        stepfold.cells.by_name("gru2")


@pytest.mark.parametrize("name", UNIFORM)
def test_every_built_in_cell_names_its_source_and_shapes(name: str) -> None:
    about = stepfold.cells.by_name(name).__doc__
    assert about is not None
    assert any(digit in about.partition("\n")[0] for digit in "12") or "tutorial" in about
    first = stepfold.cells.by_name(name).states[0]
    assert any(f"x (features,), {first}{end}" in about for end in (" ", ", ", " ("))
