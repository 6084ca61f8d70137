"""What a newcomer writes in a step, and what the answer is."""

from __future__ import annotations

import inspect
import math
import random
import subprocess
import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from stepfold import CellError, cell, cells, tanh, where
from stepfold._trace import Traced

OUTSIDE = "use stepfold's functions (stepfold.tanh"


def both(x, h, *, W):
    return where(h > 0 and h < 1, W @ x, h)


def either(x, h, *, W):
    return where(h > 0 or h < -1, W @ x, h)


def neither(x, h, *, W):
    return where(not h > 0, W @ x, h)


def torch_s(x, h, *, W):
    return Traced.__torch_function__(np.tanh, (), (W @ x,))  # what torch.tanh(W @ x) calls


def math_s(x, h, *, W):
    return math.tanh(W @ x)


def numpy_s(x, h, *, W):
    return np.tanh(W @ x)


def unknown_operator(x, h, *, W):
    return (W @ x) % 2.0


def dot(x, h, *, W):
    return W @ x + h @ h


def in_place(x, h, *, W):
    h[:] = W @ x
    return h


def mapping(x, h, *, W):
    return {"h": W @ x}


def generator(x, h, *, W):
    yield W @ x


def nothing(x, h, c, *, W):
    tanh(W @ x)


def python_s_random(x, h, *, W):
    return W @ x + random.random()


def numpy_s_random(x, h, *, W):
    return np.random.default_rng().normal() * h + W @ x


def difference(x, h, *, W, U):
    return (U - U.T) @ h + W @ x


def behind(x, h, *, W, U):
    return h @ U.T + W @ x


def of_the_input(x, h, *, W):
    return W.T @ (W @ x)


RANDOM = "computes something else each time it is called; a random number (random, numpy.random) would be"
ANSWERS: dict[Callable[..., Any], tuple[str, str]] = {
    both: (
        "return",
        "a step cannot branch on a value that it computes; write where(condition, a, b), and &, | and ~ ",
    ),
    either: (
        "return",
        "a step cannot branch on a value that it computes; write where(condition, a, b), and &",
    ),
    neither: (
        "return",
        "a step cannot branch on a value that it computes; write where(condition, a, b), and &",
    ),
    torch_s: ("return", f"torch.tanh cannot take a value of the step; {OUTSIDE})"),
    numpy_s: ("return", f"numpy.tanh cannot take a value of the step; {OUTSIDE})"),
    math_s: ("return", f"a value of the step is not a number while traced; {OUTSIDE}, …)"),
    unknown_operator: (
        "return",
        "unsupported operand type(s) for %: 'Traced' and 'float'; use stepfold's functions",
    ),
    dot: (
        "return",
        "the left side of @ must be a parameter (a keyword-only argument); write W @ x or U @ h; the dot ",
    ),
    in_place: ("h[:]", "a value of the step cannot be changed in place; choose with where(condition, a, b)"),
    mapping: ("def", "mapping returns a dict; return the new states alone, return h"),
    generator: ("def", "generator returns a generator; return the new states alone, return h"),
    nothing: ("def", "nothing returns nothing; end the step with return h, c"),
    python_s_random: ("def", f"python_s_random {RANDOM}"),
    numpy_s_random: ("def", f"numpy_s_random {RANDOM}"),
    difference: (
        "return",
        "U.T can only stand on the left of @; write U.T @ h, and (U - U.T) @ h as U @ h - U.T @ h",
    ),
    behind: ("return", "the left side of @ must be a parameter (a keyword-only argument); write U.T @ …"),
    of_the_input: ("return", "W.T @ … would have the axes (features,); only a recurrent kernel has a .T"),
}


@pytest.mark.parametrize("function", ANSWERS, ids=lambda f: f.__name__)
def test_the_answer(function: types.FunctionType) -> None:
    line, text = ANSWERS[function]
    source, first = inspect.getsourcelines(function)
    number = first + next(k for k, written in enumerate(source) if line in written)
    with pytest.raises(CellError) as caught:
        cell(function)
    assert str(caught.value).startswith(f"{__file__}:{number}: {text}")


def test_a_sum_in_place_is_a_sum() -> None:
    @cell
    def step(x, h, *, W):
        h += W @ x
        h *= 2.0
        return h

    @cell
    def same(x, h, *, W):
        return (h + W @ x) * 2.0

    assert step.step.outputs == same.step.outputs


def test_a_type_error_of_the_user_s_own_stays() -> None:
    def step(x, h, *, W):
        raise TypeError("mine")

    with pytest.raises(TypeError, match=r"^mine$"):
        cell(step)


def test_built_in_cells_are_traced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    cells.simple_rnn_with(lambda v: calls.append(v) or v)
    assert len(calls) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("package", "name"), [("jax.numpy", "tanh"), ("torch", "tanh"), ("torch", "where")])
def test_functions_of_the_frameworks(package: str, name: str) -> None:
    call = "f(W @ x > 0, h, h)" if name == "where" else "f(W @ x)"
    code = f"""
import importlib, stepfold
f = getattr(importlib.import_module({package!r}), {name!r})
def step(x, h, *, W):
    return {call}
try:
    stepfold.cell(step)
except stepfold.CellError as error:
    assert str(error).startswith("<string>:5: "), error
    assert "use stepfold's functions" in str(error), error
"""
    subprocess.run([sys.executable, "-c", code], check=True)
