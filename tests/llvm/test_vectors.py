"""The operations of one instruction, on every target that this processor can run: results as NumPy's, and the
instructions."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import numpy as np
import pytest
from vector_helpers import DTYPES, SPECIAL, call, run, text

from stepfold._llvm import assembly, target
from stepfold._llvm._text import Function, Module, Value
from stepfold._llvm._vectors import Vectors
from tests.targets import TARGETS


def some(bits: int, seed: int) -> np.ndarray:
    """Values of every size, and all pairs of special ones among the first (with another seed's)."""
    patterns = np.random.default_rng(seed).integers(0, 1 << 62, 2000, dtype=np.uint64)
    special = np.array(SPECIAL, np.float64)
    special = np.repeat(special, len(special)) if seed % 2 else np.tile(special, len(special))
    with np.errstate(over="ignore", invalid="ignore"):
        anywhere = (
            (patterns << np.uint64(2)).view(np.float64)
            if bits == 64
            else patterns.astype(np.uint32).view(np.float32)
        )
        near = np.random.default_rng(seed + 100).normal(size=500)
        return np.concatenate([special, anywhere, near]).astype(DTYPES[bits])


def no_call(code: str) -> bool:
    """Whether assembly calls no function: x86's `call`, ARM's `bl` and `blr`."""
    return not re.search(r"^\s*(call|bl|blr)[a-z]*\s", code, re.MULTILINE)


SINGLE: dict[str, tuple[int, Callable[..., np.ndarray]]] = {
    "add": (2, np.add),
    "subtract": (2, np.subtract),
    "multiply": (2, np.multiply),
    "divide": (2, np.divide),
    "maximum": (2, np.maximum),
    "minimum": (2, np.minimum),
    "negate": (1, np.negative),
    "absolute": (1, np.abs),
    "sqrt": (1, np.sqrt),
    "copysign": (2, np.copysign),
}
COMPARISONS = ("less", "less_equal", "greater", "greater_equal", "equal", "not_equal")


@pytest.mark.parametrize("bits", DTYPES)
@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("operation", SINGLE)
def test_single_instructions_compute_what_numpy_does(operation: str, name: str, bits: int) -> None:
    arity, reference = SINGLE[operation]
    arrays = [some(bits, seed) for seed in range(arity)]
    with np.errstate(all="ignore"):
        expected = reference(*arrays)
    np.testing.assert_array_equal(run(getattr(Vectors, operation), name, *arrays), expected)


@pytest.mark.parametrize("bits", DTYPES)
@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("operation", COMPARISONS)
def test_comparisons_choose_as_numpy_does(operation: str, name: str, bits: int) -> None:
    a, b = some(bits, 0), some(bits, 1)
    result = run(lambda v, a, b: v.where(getattr(v, operation)(a, b), a, b), name, a, b)
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(result, np.where(getattr(np, operation)(a, b), a, b))


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("operation", ["maximum", "minimum"])
@pytest.mark.parametrize("swapped", [False, True])
def test_extremes_with_a_literal_keep_nan_in_one_instruction_of_x86(
    operation: str, name: str, swapped: bool
) -> None:
    def clipped(v: Vectors, a: Value) -> Value:
        pair = (v.constant(0.25), a)
        return getattr(v, operation)(*(pair[::-1] if swapped else pair))

    x = some(32, 0)
    np.testing.assert_array_equal(run(clipped, name, x), getattr(np, operation)(x, np.float32(0.25)))
    code = assembly(text(clipped, 32, target(name).lanes(32), 1), target(name))
    if target(name).architecture == "x86_64":  # ARM compares and selects
        assert f"{operation[:3]}ps" in code
        assert "cmp" not in code.replace("cmpq", "")


@pytest.mark.parametrize("bits", DTYPES)
@pytest.mark.parametrize("name", TARGETS)
def test_fma_and_polynomial(name: str, bits: int) -> None:
    rng = np.random.default_rng(0)
    a, b, c = (rng.normal(size=1000).astype(DTYPES[bits]) for _ in range(3))
    close = 4 * np.finfo(DTYPES[bits]).eps
    np.testing.assert_allclose(run(Vectors.fma, name, a, b, c), a * b + c, rtol=0, atol=8 * close)
    for count in (2, 3, 4, 5, 8):
        coefficients = rng.normal(size=count).tolist()
        result = run(lambda v, x: v.polynomial(x, coefficients), name, a)  # noqa: B023 - called before the next iteration
        wanted = np.polynomial.polynomial.polyval(a.astype(np.float64), coefficients)
        scale = np.polynomial.polynomial.polyval(np.abs(a.astype(np.float64)), np.abs(coefficients))
        assert np.max(np.abs(result - wanted) / scale) < close


@pytest.mark.parametrize("bits", DTYPES)
@pytest.mark.parametrize(
    "value", [0.1, -0.0, 1 / 3, math.pi, 1e-40, 5e-324, 1e300, -1e300, math.inf, math.nan]
)
def test_constants_are_exact(value: float, bits: int) -> None:
    result = run(lambda v, x: v.constant(value), "host", np.zeros(2, DTYPES[bits]))
    with np.errstate(over="ignore", under="ignore"):
        expected = np.full(2, np.array(value).astype(DTYPES[bits]))
    np.testing.assert_array_equal(result, expected)
    np.testing.assert_array_equal(np.signbit(result), np.signbit(expected))


@pytest.mark.parametrize("bits", DTYPES)
@pytest.mark.parametrize("lanes", [2, 4, 8, 16])
@pytest.mark.parametrize("name", TARGETS)
def test_lanes_are_summed_and_the_greatest_is_found(name: str, lanes: int, bits: int) -> None:
    module = Module()
    f = Function(module, "apply", [("result", "ptr"), ("a", "ptr")])
    v = Vectors(f, bits, lanes)
    result, source = f.arguments
    value = v.load(source, constant=True)
    v.store(v.broadcast(v.horizontal_sum(value)), result)
    v.store(v.broadcast(v.horizontal_max(value)), f.offset(result, lanes, v.element))
    v.store(v.splat(f.offset(source, 1, v.element)), f.offset(result, 2 * lanes, v.element))
    module.add(f)
    assert no_call(assembly(module.text(), target(name)))
    rng = np.random.default_rng(lanes)
    for place in range(-1, lanes):
        a = rng.integers(-99, 99, lanes).astype(DTYPES[bits])
        if place >= 0:
            a[place] = math.nan
        out = np.zeros((3, lanes), DTYPES[bits])
        call(module.text(), name, out, a)
        np.testing.assert_array_equal(out, np.repeat([[a.sum()], [a.max()], [a[1]]], lanes, axis=1))


def test_a_splat_is_folded_into_the_product() -> None:
    if target("host").width < 512:
        pytest.skip("only AVX-512 has the folded form")
    operation = lambda v, x: v.fma(x, v.splat(v.function.arguments[1]), x)  # noqa: E731
    assert "{1to16}" in assembly(text(operation, 32, 16, 1), target("host"))


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("bits", DTYPES)
@pytest.mark.parametrize("operation", [*SINGLE, "exp", "log", "tanh", "sigmoid", "erf", "fma"])
def test_no_function_is_called(operation: str, bits: int, name: str) -> None:
    arity = 3 if operation == "fma" else SINGLE.get(operation, (1,))[0]
    code = assembly(text(getattr(Vectors, operation), bits, target(name).lanes(bits), arity), target(name))
    assert no_call(code)


def test_invalid_vectors_raise() -> None:
    f = Function(Module(), "apply", [])
    with pytest.raises(ValueError, match="a vector has elements of 32 or 64 bits, not of 16"):
        Vectors(f, 16, 8)
    for lanes in (0, 1, 3, 12):
        with pytest.raises(ValueError, match=f"a vector has 2, 4, 8, 16 … lanes, not {lanes}"):
            Vectors(f, 32, lanes)
