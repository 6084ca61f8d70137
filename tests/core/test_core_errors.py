"""Errors of steps that cannot be traced: the file and line, what is wrong, the cure."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import stepfold
from stepfold import CellError, cell, tanh, where

LEARNED = np.ones((3, 3))


def message(function: Callable[..., Any], line: str, **options: Any) -> str:
    """The error's text without its location, which must be the line of the function that contains `line`."""
    source, first = inspect.getsourcelines(function)
    number = first + next(k for k, text in enumerate(source) if line in text)
    with pytest.raises(CellError) as caught:
        cell(**options)(function)
    place, _, text = str(caught.value).partition(": ")
    assert place == f"{__file__}:{number}"
    return text


def test_a_parameter_used_two_ways() -> None:
    def step(x, h, *, W, b):
        first = W @ x
        return tanh(first + W @ h + b)

    text = message(step, "return")
    line = step.__code__.co_firstlineno + 1
    assert text == (
        "parameter 'W' is used as a recurrent kernel (units, units), "
        f"but before that as a kernel (units, features) (line {line}); make it two parameters"
    )

    def vector(x, h, *, W):
        return tanh(W @ x) * W

    assert message(vector, "return").startswith(
        "parameter 'W' is used elementwise, as a vector (units,), but before"
    )


def test_elementwise_maths_on_the_input() -> None:
    def step(x, h, *, W):
        return tanh(x + h) + W @ x

    expected = (
        "the input has features, not units; project it first with a kernel, W @ x, or declare its axis, "
        'x: "units"'
    )
    assert message(step, "return") == expected

    def function(x, h, *, W):
        y = tanh(x)
        return W @ y

    assert message(function, "y = tanh(x)") == expected

    def power(x, h, *, W):
        return W @ x + x**2

    assert message(power, "return") == expected


def test_a_branch_on_a_value() -> None:
    def step(x, h, *, W):
        y = W @ x
        if y > 0:
            return y
        return h

    assert message(step, "if y") == (
        "a step cannot branch on a value that it computes; "
        "write where(condition, a, b), and &, | and ~ for and, or and not"
    )

    def chained(x, h, *, W):
        return where(-1 < W @ x < 1, h, 0.0)

    assert "cannot branch" in message(chained, "return")


def test_numpy_functions() -> None:
    def ufunc(x, h, *, W):
        return np.tanh(W @ x)

    assert message(ufunc, "return") == (
        "numpy.tanh cannot take a value of the step; use stepfold's functions (stepfold.tanh)"
    )

    def function(x, h, *, W):
        return h * np.mean(W @ x)

    assert message(function, "return") == (
        "numpy.mean cannot take a value of the step; use stepfold's functions (stepfold.mean)"
    )

    def conversion(x, h, *, W):
        return np.asarray(W @ x)

    assert message(conversion, "return") == (
        "a value of the step is not an array while traced; use stepfold's functions (stepfold.tanh, …)"
    )

    def math_module(x, h, *, W):
        import math

        return math.tanh(W @ x)

    assert message(math_module, "math.tanh") == (
        "a value of the step is not a number while traced; use stepfold's functions (stepfold.tanh, …)"
    )


def test_array_methods() -> None:
    def step(x, h, *, W):
        return (W @ x).sum()

    with pytest.raises(AttributeError) as caught:
        cell(step)
    assert str(caught.value) == (
        f"{__file__}:{step.__code__.co_firstlineno + 1}: a value of the step has no attribute 'sum'; "
        "use stepfold's functions (stepfold.sum)"
    )


def test_arrays_from_outside() -> None:
    expected = (
        "an array of shape (3, 3) cannot be an operand in a step; "
        "make it a parameter (a keyword-only argument)"
    )

    def product(x, h, *, W):
        return W @ x + LEARNED @ h

    assert message(product, "return") == expected

    def term(x, h, *, W):
        return W @ x + LEARNED

    assert message(term, "return") == expected

    def factor(x, h, *, W):
        return LEARNED * (W @ x)

    assert message(factor, "return") == expected

    def undefined(x, h, *, W):
        return W @ x + float("nan")

    assert message(undefined, "return") == (
        "NaN cannot be an operand in a step; choose between values with where(condition, a, b)"
    )

    def nothing(x, h, *, W):
        return W @ x + None

    assert (
        message(nothing, "return")
        == "None (NoneType) cannot be an operand in a step; values of the step and numbers can"
    )


def test_numpy_numbers_are_numbers() -> None:
    @cell
    def step(x, h, *, W):
        return np.float32(2.0) * (W @ x) + np.float64(0.5) * h * np.int64(3) - np.float32(1.0)

    @cell
    def same(x, h, *, W):
        return 2.0 * (W @ x) + 0.5 * h * 3 - 1.0

    assert step.step.outputs == same.step.outputs


def test_states() -> None:
    def none(x):
        return tanh(x)

    assert message(none, "def") == (
        "a cell takes the input and at least one state; write none(x, h, *, …), parameters after the *"
    )

    def positional(h):
        return h

    assert "at least one state" in message(positional, "def")

    def one_of_two(x, h, c, *, W):
        return tanh(W @ x)

    assert message(one_of_two, "def") == (
        "one_of_two has 2 states (h, c) but returns 1; return the new states, as many and in the same order"
    )

    def three_of_one(x, h, *, W):
        return W @ x, h, h

    assert message(three_of_one, "def").endswith(
        "has 1 state (h) but returns 3; return the new states, as many and in the same order, "
        "and before them the output if that is no state"
    )

    def forgotten(x, h, *, W):
        tanh(W @ x)

    assert message(forgotten, "def") == (
        "the new state 'h' is None; end the step with return and the new states"
    )

    def features(x, h):
        return x

    assert message(features, "def") == (
        "the new state 'h' has the axes (features,), expected (units,); project it, W @ x"
    )

    def comparison(x, h, *, W):
        return W @ x > h

    assert message(comparison, "def") == (
        "the new state 'h' is a comparison, which is boolean; use where(condition, a, b)"
    )


def test_parameters() -> None:
    def unused(x, h, *, W, U, b):
        return W @ x

    assert message(unused, "def") == "unused never uses 2 parameters (U, b); remove what is not needed"

    def product(x, h, *, U, V):
        return U @ V @ h

    assert message(product, "return") == "U @ V multiplies two parameters; do that once, outside the step"

    def turned(x, h, *, U):
        return h @ U

    assert message(turned, "return") == (
        "the left side of @ must be a parameter (a keyword-only argument); write U @ …"
    )

    def states(x, h, c):
        return h @ c, c

    assert message(states, "return") == (
        "the left side of @ must be a parameter (a keyword-only argument); write W @ x or U @ h; "
        "the dot product of two values is sum(a * b)"
    )

    def number(x, h, *, U):
        return U @ stepfold.mean(h)

    assert message(number, "return") == (
        "U @ … needs the input (features,) or a value (units,) on its right, not a scalar; "
        "use a vector parameter times that scalar"
    )

    def vectors(x, h, *, W, b):
        return W @ x + b

    assert message(vectors, "def", vectors={"W": 1.0, "q": 2.0}) == (
        "vectors= names W, q, but the vector parameters of vectors are b"
    )
    for value, told in ((float("nan"), "nan"), ("x", "'x'")):
        assert message(vectors, "def", vectors={"b": value}) == (
            f"vectors=: b must be a finite number (bool, int or float), not {told}"
        )
    assert message(vectors, "def", kernels={"b": ("identity", 1.0)}) == (
        "'kernels' names 'b', which is not a kernel"
    )
    assert message(vectors, "def", kernels={"W": 3}) == (
        "'kernels' begins 'W' with 3, expected 'identity', 'normal' or 'legendre' and a number"
    )


def test_comparisons() -> None:
    def number(x, h, *, W):
        return (W @ x > 0) * h

    assert (
        message(number, "return")
        == "a comparison is boolean; use it as the condition of where(condition, a, b)"
    )

    def operand(x, h, *, U):
        return U @ (h > 0)

    assert (
        message(operand, "return")
        == "a comparison is boolean; use it as the condition of where(condition, a, b)"
    )

    def values(x, h, *, W):
        return where(W @ x > h & h > 0, h, 0.0)

    assert message(values, "return") == (
        "&, | and ~ join comparisons, and bind more strongly than they; write (a > b) & (c > d)"
    )

    def number_beside(x, h, *, W):
        return where((W @ x > h) | True, h, 0.0)

    assert message(number_beside, "return").startswith("&, | and ~ join comparisons")

    def condition(x, h, *, W):
        return where(h, W @ x, 0.0)

    assert message(condition, "return") == ("where needs a comparison as its condition, where(a > b, …, …)")


def test_elements_of_a_row() -> None:
    def loop(x, h, *, W):
        total = 0.0
        for value in h:
            total = total + value
        return total

    assert "cannot iterate over them; use sum, mean or max" in message(loop, "for value")

    def length(x, h, *, W):
        return h / len(h)

    assert "the number of units is not known" in message(length, "return")


def test_arguments() -> None:
    def collection(x, *states, W):
        return W @ x

    assert message(collection, "def") == "a cell names its arguments one by one, without *args and **kwargs"

    def default(x, h=0.0, *, W):
        return W @ x

    assert message(default, "def") == (
        "argument h has a default, but the input and the states are arrays; "
        "write a hyper-parameter after the *"
    )

    def array(x, h, *, W=LEARNED):
        return W @ x

    assert message(array, "def").startswith(
        "hyper-parameter W must be a finite number (bool, int or float), not array(["
    )
    assert message(array, "def").endswith("; a parameter, which is an array, has no default")
    with pytest.raises(CellError, match=r"^@cell takes a function that computes one timestep, not 3;"):
        cell(3)  # type: ignore[call-overload]


def test_powers() -> None:
    def base(x, h, *, W):
        return (-2.0) ** (W @ x)

    assert message(base, "return") == "-2.0 ** … needs a number above zero on its left; write exp(…)"

    @cell
    def powers(x, h, *, W, p):
        y = stepfold.abs(W @ x) + 1.0
        return y**0 + y**1 + y**2 + y**3 + y**-1 + y**0.5 + y**1.5 + 2.0**y + y**p + h * 0.0

    params = {"W": np.array([[1.0], [2.0]]), "p": np.array([0.3, -0.7])}
    y = np.array([2.0, 3.0])
    expected = 1 + y + y**2 + y**3 + 1 / y + np.sqrt(y) + y**1.5 + 2**y + y ** params["p"]
    found = powers(np.array([[1.0]]), np.zeros((1, 2)), **params)
    np.testing.assert_allclose(found[0], expected, rtol=1e-14)


def helper(value: Any) -> Any:
    return np.exp(value)


def test_the_line_of_a_helper_of_the_user_s_own() -> None:
    def step(x, h, *, W):
        return helper(W @ x)

    with pytest.raises(CellError) as caught:
        cell(step)
    assert str(caught.value).startswith(f"{__file__}:{helper.__code__.co_firstlineno + 1}: numpy.exp")


def test_a_line_of_stepfold_is_not_the_user_s_line() -> None:
    def step(x, h, *, W):
        return stepfold.hard_sigmoid(x)

    assert message(step, "return").startswith("the input has features")
