"""Hyper-parameters: keyword-only arguments with defaults, numbers that are fixed when a step is traced."""

from __future__ import annotations

import copy
import json
import pickle
import sys
from typing import Any

import numpy as np
import pytest
from core_helpers import Problem, close

import stepfold
from stepfold import Cell, CellError, cell, tanh


@cell(vectors={"b": 0.5})
def deep(x, h, *, W, U, b, alpha=0.25, depth=2, gated=True):
    """A leaky network of some depth (a test of 2026)."""
    new = W @ x + b
    for _ in range(depth):
        new = tanh(U @ h + new)
    return (1 - alpha) * h + alpha * new if gated else new


def expected(x: Any, h: Any, params: Any, alpha: float = 0.25, depth: int = 2) -> Any:
    new = params["W"] @ x + params["b"]
    for _ in range(depth):
        new = np.tanh(params["U"] @ h + new)
    return (1 - alpha) * h + alpha * new


def test_values_are_fixed_in_the_step() -> None:
    params = deep.init(3, 4, seed=0, dtype="float64")
    x, h = np.linspace(-1, 1, 3), np.linspace(0, 1, 4)
    other = deep.replace(alpha=np.float64(0.5), depth=np.int64(3))
    assert deep.hyperparameters == {"alpha": 0.25, "depth": 2, "gated": True}
    assert other.hyperparameters == {"alpha": 0.5, "depth": 3, "gated": True}
    assert type(other.hyperparameters["depth"]) is int
    assert repr(other) == "<cell deep(x, h, *, W, U, b, alpha=0.5, depth=3, gated=True)>"
    assert other != deep
    assert other.replace(alpha=0.25, depth=2) == deep
    assert deep.replace(gated=False).step.outputs[0].op == "tanh"
    assert deep.replace() is deep
    np.testing.assert_array_equal(other.init(3, 4)["b"], 0.5)
    for rows in ((), (2,)):  # by the function, and by the graph
        xs, hs = np.broadcast_to(x, (*rows, 3)), np.broadcast_to(h, (*rows, 4))
        close(deep(xs, hs, **params), np.broadcast_to(expected(x, h, params), hs.shape), 1e-14)
        wanted = np.broadcast_to(expected(x, h, params, 0.5, 3), hs.shape)
        close(other(xs, hs, **params), wanted, 1e-14)
        close(deep(xs, hs, **params, alpha=0.5, depth=3), wanted, 1e-14)
    if sys.version_info >= (3, 13):
        assert copy.replace(deep, alpha=0.5, depth=3) == other


def test_kernels_and_gradients_of_another_value() -> None:
    other = deep.replace(alpha=0.7, depth=1)
    problem = Problem(
        other, other.init(3, 4, seed=1, dtype="float64"), batch=2, time=3, features=3, units=4, seed=2
    )
    problem.check_gradients()
    run = stepfold.record(other, problem.inputs, problem.params)
    base = problem.run(problem.inputs, problem.params, [np.zeros((2, 4))])
    close(run.output, base.states[0], 1e-12)
    gradients = run.backward(problem.to_states[0])
    _, to_params, _ = base.backward(None, problem.to_states)
    for name, value in to_params.items():
        close(gradients.params[name], value, 1e-12)


def test_json_keeps_names_and_values() -> None:
    other = deep.replace(alpha=0.5, gated=True)
    for loaded in (Cell.from_json(other.to_json()), pickle.loads(pickle.dumps(other))):
        assert loaded == other
        assert loaded.step.hyperparameters == {"alpha": 0.5, "depth": 2, "gated": True}
        assert type(loaded.hyperparameters["gated"]) is bool
        assert loaded.replace(alpha=0.5) is loaded
        with pytest.raises(
            CellError, match=r"^deep was loaded without its function, its hyper-parameters are"
        ):
            loaded.replace(alpha=0.3)
    assert "hyperparameters" not in stepfold.cells.lstm.to_json()  # earlier versions can read it
    assert Cell.from_json(stepfold.cells.lstm.to_json()).hyperparameters == {}
    # the same maths is the same kernel
    assert deep.step.key == json.loads(json.dumps(Cell.from_json(deep.to_json()).step.key))


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([], "'hyperparameters' is not an object"),
        ({"a b": 1}, "'a b' cannot name a hyper-parameter; a Python name of its own can"),
        ({"U": 1}, "'U' cannot name a hyper-parameter; a Python name of its own can"),
        ({"a": None}, r"hyper-parameter a must be a finite number \(bool, int or float\), not None"),
        ({"a": float("inf")}, r"hyper-parameter a must be a finite number .*, not inf"),
        ({"a": 10**400}, r"hyper-parameter a must be a finite number .*, not 1000"),
    ],
)
def test_json_of_values_that_are_none(values: Any, text: str) -> None:
    data = json.loads(deep.to_json()) | {"hyperparameters": values}
    with pytest.raises(ValueError, match=f"^this is not a saved cell: {text}"):
        Cell.from_json(json.dumps(data))


def test_views_show_them() -> None:
    text = deep.show()
    assert "Hyper-parameters, fixed in the equations\n  alpha = 0.25\n  depth = 2\n  gated = True\n" in text
    assert "0.75 * h + 0.25 * " in text
    assert "Hyper-parameters" not in stepfold.cells.lstm.show()


def test_a_cell_inside_another_keeps_its_values() -> None:
    inner = deep.replace(alpha=0.5, depth=1)

    @cell
    def outer(x, h, *, W, U, b):
        return inner(x, h, W=W, U=U, b=b) + deep(x, h, W=W, U=U, b=b, alpha=1)

    params = outer.init(3, 4, seed=0, dtype="float64")
    x, h = np.ones(3), np.linspace(0, 1, 4)
    close(outer(x, h, **params), expected(x, h, params, 0.5, 1) + expected(x, h, params, 1.0, 2), 1e-14)

    def learned(x, h, *, W, U, b, a):
        return deep(x, h, W=W, U=U, b=b, alpha=a)

    with pytest.raises(
        CellError, match=r":\d+: hyper-parameter alpha must be a finite number .*, not <parameter"
    ):
        cell(learned)


def test_names_and_values_that_are_refused() -> None:
    with pytest.raises(TypeError, match=r"^deep has no hyper-parameter beta; it has alpha, depth, gated$"):
        deep.replace(beta=1.0)
    with pytest.raises(TypeError, match=r"^lstm has no hyper-parameter alpha; it has none$"):
        stepfold.cells.lstm.replace(alpha=1.0)
    for value, text in ((float("nan"), "nan"), ("fast", "'fast'"), (np.ones(2), r"array\(\[1., 1.\]\)")):
        with pytest.raises(ValueError, match=rf"^hyper-parameter alpha must be a finite .*, not {text}$"):
            deep.replace(alpha=value)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^deep has no rate; its parameters are W, U, b$"):
        deep(np.ones(3), np.ones(4), **deep.init(3, 4), rate=1.0)
