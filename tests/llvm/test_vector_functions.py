"""exp, log, tanh, sigmoid, erf, sin and cos on every target that this processor can run, against more digits.

Errors are counted in units in the last place (ulp) of the exact result. The bounds, for every value:
float32 two units (erf: four), float64 four units (erf: 1e-14 relative); sin and cos up to their range.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
import pytest
from vector_helpers import DTYPES, SPECIAL, run

from stepfold._llvm._periodic import RANGE
from stepfold._llvm._vectors import Vectors
from tests.targets import TARGETS

FUNCTIONS = ("exp", "log", "tanh", "sigmoid", "erf", "sin", "cos")
PERIODIC = ("sin", "cos")
BOUNDS = {np.float32: dict.fromkeys(FUNCTIONS, 2.0) | {"erf": 4.0}, np.float64: dict.fromkeys(FUNCTIONS, 4.0)}


def _sigmoid(x: np.ndarray) -> np.ndarray:
    tail = np.exp(-np.abs(x))
    return np.where(x < 0, tail, 1) / (1 + tail)


REFERENCES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "exp": np.exp,
    "log": np.log,
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
    "erf": np.vectorize(math.erf, otypes=[np.float64]),
    "sin": np.sin,
    "cos": np.cos,
}


def reference(function: str, x: np.ndarray) -> np.ndarray:
    """The exact results, in double for float32 and in long double for float64."""
    with np.errstate(all="ignore"):
        return REFERENCES[function](x.astype(np.float64 if x.dtype == np.float32 else np.longdouble))


def units(result: np.ndarray, right: np.ndarray) -> np.ndarray:
    """How many units in the last place results are wrong by: infinitely many for a wrong NaN or infinity."""
    kind = np.finfo(result.dtype)
    with np.errstate(all="ignore"):
        _, exponent = np.frexp(right)
        unit = np.ldexp(right.dtype.type(1), np.maximum(exponent, kind.minexp + 1) - kind.nmant - 1)
        return np.nan_to_num(np.abs(result - right) / unit, nan=np.inf, posinf=np.inf)


def check(function: str, x: np.ndarray, result: np.ndarray, right: np.ndarray) -> None:
    """Assert the error bound of a function for these values."""
    with np.errstate(all="ignore"):
        rounded = right.astype(x.dtype)
    doubtful = np.flatnonzero((result != rounded) & ~(np.isnan(result) & np.isnan(right)))
    if function in PERIODIC:  # beyond their range they are bounded, and no more
        assert not (np.abs(result) > 1).any()
        doubtful = doubtful[~(np.abs(x[doubtful]) > RANGE) | np.isinf(x[doubtful])]
    x, result, right = x[doubtful], result[doubtful], right[doubtful]
    error, bound = units(result, right), BOUNDS[x.dtype.type][function]
    if function == "erf" and x.dtype == np.float64:
        error, bound = np.abs(result - right) / np.maximum(np.abs(right), 1e-300), 1e-14
    if error.size:
        worst = np.argmax(error)
        assert error[worst] <= bound, f"{function}({x[worst]!r}) is {result[worst]!r}, not {right[worst]!r}"


@functools.cache
def spread(bits: int) -> np.ndarray:
    """Values of all sizes, dense where the functions bend, and the special ones."""
    special = np.array(SPECIAL)
    if bits == 32:
        everywhere = np.arange(0, 1 << 32, 2147, dtype=np.uint64).astype(np.uint32).view(np.float32)
        with np.errstate(over="ignore"):
            return np.concatenate([special.astype(np.float32), everywhere])
    rng = np.random.default_rng(5)
    everywhere = rng.integers(0, 1 << 64, 100_000, dtype=np.uint64).view(np.float64)
    scales = (1e-3, 0.5, 1, 3, 20, 745)
    near = [rng.uniform(-scale, scale, 50_000) for scale in scales]
    positive = np.abs(1 + near[1])
    return np.concatenate([special, everywhere, *near, positive])


@functools.cache
def right_results(function: str, bits: int) -> np.ndarray:
    return reference(function, spread(bits))


@pytest.mark.parametrize("bits", DTYPES)
@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_functions_stay_within_their_bounds(function: str, name: str, bits: int) -> None:
    check(
        function,
        spread(bits),
        run(getattr(Vectors, function), name, spread(bits)),
        right_results(function, bits),
    )


@pytest.mark.exhaustive
@pytest.mark.parametrize("function", ["exp", "log", "tanh", "sigmoid", "sin", "cos"])
def test_every_float32(function: str) -> None:
    for start in range(0, 1 << 32, 1 << 21):
        x = np.arange(start, start + (1 << 21), dtype=np.uint64).astype(np.uint32).view(np.float32)
        right = reference(function, x)
        checked: np.ndarray | None = None
        for name in TARGETS:
            result = run(getattr(Vectors, function), name, x)
            new = slice(None) if checked is None else np.flatnonzero(result.view(np.int32) != checked)
            check(function, x[new], result[new], right[new])
            checked = result.view(np.int32)


@pytest.mark.parametrize("bits", DTYPES)
@pytest.mark.parametrize("name", TARGETS)
def test_limits_and_signs(name: str, bits: int) -> None:
    x = np.array([0.0, -0.0, math.inf, -math.inf, math.nan], DTYPES[bits])
    expected = {
        "exp": [1, 1, math.inf, 0, math.nan],
        "log": [-math.inf, -math.inf, math.inf, math.nan, math.nan],
        "tanh": [0.0, -0.0, 1, -1, math.nan],
        "sigmoid": [0.5, 0.5, 1, 0, math.nan],
        "erf": [0.0, -0.0, 1, -1, math.nan],
        "sin": [0.0, -0.0, math.nan, math.nan, math.nan],
        "cos": [1, 1, math.nan, math.nan, math.nan],
    }
    for function, values in expected.items():
        result = run(getattr(Vectors, function), name, x)
        np.testing.assert_array_equal(result, np.array(values, x.dtype), err_msg=function)
        real = ~np.isnan(result)
        np.testing.assert_array_equal(
            np.signbit(result[real]), np.signbit(np.array(values)[real]), err_msg=function
        )


@pytest.mark.parametrize("bits", DTYPES)
@pytest.mark.parametrize("name", TARGETS)
def test_ranges_and_odd_functions(name: str, bits: int) -> None:
    x = np.linspace(0, 30, 300_001).astype(DTYPES[bits])
    for function in ("tanh", "erf"):
        result = run(getattr(Vectors, function), name, x)
        assert np.all((result >= 0) & (result <= 1))
        assert result[-1] == 1
        np.testing.assert_array_equal(run(getattr(Vectors, function), name, -x), -result)
    for both in (x, -x):
        result = run(Vectors.sigmoid, name, both)
        assert np.all((result > 0) & (result <= 1))


@pytest.mark.parametrize("bits", DTYPES)
@pytest.mark.parametrize("name", TARGETS)
def test_sin_and_cos_up_to_their_range_and_near_their_zeros(name: str, bits: int) -> None:
    rng = np.random.default_rng(6)
    quarters = np.concatenate([np.arange(2000), np.arange(1, int(RANGE / 1.6), 9973)]) * (np.pi / 2)
    x = np.concatenate([quarters, -quarters, *(rng.uniform(-s, s, 30_000) for s in (1e3, 1e5, RANGE))])
    x = x.astype(DTYPES[bits])
    for function in PERIODIC:
        check(function, x, run(getattr(Vectors, function), name, x), reference(function, x))


@pytest.mark.parametrize("name", TARGETS)
def test_the_number_of_lanes_changes_no_bit(name: str) -> None:
    x = spread(32)[:100_000:7]
    for function in FUNCTIONS:
        results = [run(getattr(Vectors, function), name, x, lanes=lanes) for lanes in (2, 4, 16, 32)]
        for other in results[1:]:
            np.testing.assert_array_equal(other, results[0], err_msg=function)
