"""Axes that a step declares; parameters of one number."""

from __future__ import annotations

import json
from typing import Annotated, Any

import numpy as np
import pytest
from core_helpers import Problem

import stepfold
from stepfold import Cell, CellError, Scalar, cell, sigmoid, tanh
from stepfold._graph import KERNEL, RECURRENT_KERNEL, SCALAR, UNITS
from tests.runtime.scan_helpers import problem


def body(x: Any, h: Any, *, W: Any, U: Any, b: Any, a: Any) -> Any:
    return sigmoid(a) * tanh(W @ x + U @ h + b) + h / (1.0 + a * a)


class Float:
    """What jaxtyping's annotations are: classes with the axes as text."""

    dim_str = ""


def test_forms_of_a_declaration() -> None:
    @cell
    def plain(x, h, *, W: "units features", U: "units units", b: "units", a: ""):  # noqa: F722, F821, UP037
        return body(x, h, W=W, U=U, b=b, a=a)

    @cell
    def typed(x: np.ndarray, h: Any, *, W: np.ndarray, U: Missing, b: Annotated[Any, "Bias"], a: Scalar):  # noqa: F821
        return body(x, h, W=W, U=U, b=b, a=a)

    @cell
    def foreign(x, h, *, W: Annotated[Any, "units features"], U: Any, b, a: Float):
        return body(x, h, W=W, U=U, b=b, a=a)

    for each in (plain, typed, foreign, Cell.from_json(plain.to_json())):
        assert each.step.parameters == {"W": KERNEL, "U": RECURRENT_KERNEL, "b": UNITS, "a": SCALAR}
        assert each.parameter_shapes(features=3, units=4) == {
            "W": (3, 4)[::-1],
            "U": (4, 4),
            "b": (4,),
            "a": (),
        }
        assert each.step.key == plain.step.key
    assert plain.init(3, 4)["a"].shape == ()


def test_declarations_that_are_refused() -> None:
    def transposed(x, h, *, W: "features units"):  # noqa: F722
        return W @ x

    with pytest.raises(CellError, match=r"'W' is declared as a matrix \(features, units\), but used as a k"):
        cell(transposed)

    def capital(x, h, *, W: "Units features"):  # noqa: F722
        return W @ x

    def three(x, h, *, W: "units features features"):  # noqa: F722
        return W @ x

    def timed(x, h, *, W: "batch time"):  # noqa: F722
        return W @ x

    for function, text in (
        (capital, "'Units features'; an axis is a lower-case name, or an integer: 'rank units', '1'"),
        (three, "'units features features'; a parameter has at most two axes"),
        (timed, "'batch time'; an axis cannot be called 'batch', give it another name"),
    ):
        with pytest.raises(CellError) as caught:
            cell(function)
        assert str(caught.value) == (
            f"{__file__}:{function.__code__.co_firstlineno}: parameter W is declared as {text}"
        )

    def product(x, h, *, W: Scalar):
        return W @ x

    with pytest.raises(
        CellError, match=r"'W' is declared as a scalar, but used as a kernel \(units, features\)$"
    ):
        cell(product)

    def vector(x, h, *, b: "units"):  # noqa: F821, UP037
        return b @ h

    with pytest.raises(CellError, match=r"'b' is declared as a vector \(units,\), but used as a recurrent k"):
        cell(vector)

    def summed(x, h, *, a: Scalar):
        return h * stepfold.sum(a)

    with pytest.raises(CellError, match="sum, mean and max reduce the units of a row, not a scalar"):
        cell(summed)


@cell(vectors={"a": 0.5})
def mixed(x, h, c, *, W, U, b, a: Scalar, s: Scalar):
    """Scalars alone, with per-row scalars, in a condition, in a new state, and with a vector."""
    new = stepfold.where(a > h, tanh(W @ x + U @ h + a), stepfold.mean(h) * s) + stepfold.max(
        c
    ) * stepfold.exp(a)
    return new * b + stepfold.maximum(a, s), a * s


@pytest.mark.parametrize("units", [1, 13, 32])
def test_kernels_and_gradients(units: int) -> None:
    for dtype in ("float64", "float32"):
        problem(mixed, 5, 6, 3, units, dtype, seed=3).check()


def test_gradients_are_slopes() -> None:
    params = mixed.init(3, 4, seed=1, dtype="float64") | {"s": np.array(0.3), "b": np.linspace(0.5, 1, 4)}
    Problem(mixed, params, batch=2, time=3, features=3, units=4, seed=2).check_gradients()


def test_a_batch_of_many_tasks_sums_its_gradients() -> None:
    fast = stepfold.cells.fast_grnn
    made = problem(fast, 200, 9, 3, 13, "float64", seed=4)
    made.check()
    params = fast.init(3, 13, seed=0)
    run = stepfold.record(fast, np.zeros((0, 4, 3), np.float32), params)
    assert run.backward(run.output).params["zeta"] == 0.0
    with pytest.raises(ValueError, match=r"^zeta has shape \(1,\), expected \(\) = \(\)$"):
        stepfold.scan(fast, made.inputs.astype("f"), params | {"zeta": np.ones(1, "f")})


def test_views_count_scalars() -> None:
    text = stepfold.cells.fast_grnn.show(units=4, features=3)
    assert "  zeta       scalar             ()                  1                1\n" in text
    assert "  in total units * features + units**2 + 2 * units + 2 = 38 with 4 units and 3 features\n" in text
    assert "alone\n  sigmoid(zeta)\n  sigmoid(nu)\n" in text
    assert "  h', v2, v3\n" in text
    assert "d_nu   += sum(d_h' * v3) * sigmoid(nu) * (1 - sigmoid(nu))" in stepfold.cells.fast_grnn.show(
        "gradient"
    )


def test_json_of_axes_that_a_parameter_cannot_have() -> None:
    data = json.loads(stepfold.cells.fast_rnn.to_json())
    data["parameters"]["alpha"] = ["units"]
    with pytest.raises(ValueError, match=r"parameter 'alpha' is not declared with the axes \[\]"):
        Cell.from_json(json.dumps(data))
