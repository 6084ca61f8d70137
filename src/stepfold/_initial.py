"""How parameters begin: what a step may say of it, and the matrices of a Legendre delay."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._graph import Dims

KINDS = ("identity", "normal", "legendre")
"""How kernels may begin: a multiple of the identity, normal numbers of a standard deviation, the matrices of
a Legendre delay of so many timesteps."""
_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = _repr.maxlong = 60


def checked_kernels(kernels: Any, parameters: Mapping[str, Dims]) -> dict[str, tuple[str, float]]:
    """Return how kernels begin, checked; ValueError, naming the kernel, for what none can begin with."""
    if not isinstance(kernels, Mapping):
        raise ValueError("'kernels' is not an object")
    found = {}
    for name, begin in kernels.items():
        if len(parameters.get(name, ())) != 2:
            raise ValueError(f"'kernels' names {_repr.repr(name)}, which is not a kernel")
        if not isinstance(begin, (list, tuple)) or len(begin) != 2 or begin[0] not in KINDS:
            raise ValueError(
                f"'kernels' begins {name!r} with {_repr.repr(begin)}, "
                "expected 'identity', 'normal' or 'legendre' and a number"
            )
        kind, number = begin[0], initial_value(name, begin[1])
        if kind == "identity" and len(set(parameters[name])) != 1:
            raise ValueError(
                f"'kernels' begins {name!r} as the identity, but only a recurrent kernel is square"
            )
        if kind == "normal" and number < 0:
            raise ValueError(
                f"'kernels' begins {name!r} with the standard deviation {number:g}; it is negative"
            )
        if kind == "legendre" and (parameters[name][1] not in ("1", parameters[name][0]) or number <= 0):
            raise ValueError(
                f"'kernels' begins {name!r} as a Legendre delay of {number:g} timesteps; a square matrix or "
                "one of a single column can, of a delay above 0"
            )
        found[name] = (kind, number)
    return found


def initial_value(name: str, value: Any) -> float:
    try:
        number = number_of(value)
    except ValueError as error:
        raise ValueError(f"the initial value of {_repr.repr(name)}: {error}") from None
    if not math.isfinite(number):
        raise ValueError(f"the initial value of {_repr.repr(name)}: {value} is not finite")
    return number


def number_of(value: Any) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise ValueError(f"{_repr.repr(value)} is not a number")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{_repr.repr(value)} is outside the range of a float") from None


def legendre(order: int, delay: float, *, square: bool) -> NDArray[np.float64]:
    """Return a matrix of a linear memory of the last `delay` timesteps, held constant between them.

    `square`: how it goes on, (order, order); else what an input adds, (order, 1). The states are the
    coefficients of the first Legendre polynomials over the window (Voelker et al. 2019, equations 1 and 2).
    """
    i, j = np.mgrid[:order, :order]
    whole = np.zeros((order + 1, order + 1))
    whole[:order, :order] = (2 * i + 1) * np.where(i < j, -1.0, (-1.0) ** (i - j + 1))
    whole[:order, order] = (2 * i[:, 0] + 1) * (-1.0) ** i[:, 0]
    # of both matrices at once: the last row keeps the input
    held = _exponential(whole / delay)
    return held[:order, :order] if square else held[:order, order:]


def _exponential(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The exponential of a matrix, by its series where it is small, squared again (Moler & Van Loan 2003)."""
    halvings = max(0, math.ceil(math.log2(max(np.abs(matrix).sum(1).max(), 1e-300))) + 2)
    small = matrix / 2.0**halvings
    found = term = np.eye(len(matrix))
    for k in range(1, 20):
        term = term @ small / k
        found = found + term
    for _ in range(halvings):
        found = found @ found
    return found
