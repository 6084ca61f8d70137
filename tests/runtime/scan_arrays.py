"""Arrays between guards and walls, and how close two arrays are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stepfold._native import aligned
from stepfold._runtime import Operand

Array = np.ndarray

GUARD, MARK = 64, 777.0
LIMITS = {"float64": 1e-10, "float32": 1e-5}
"""How far a kernel may be off, as a share of the greatest value."""
FINER = {"float64": "longdouble", "float32": "float64"}


def guarded(shape: tuple[int, ...], dtype: Any) -> tuple[Array, Array]:
    """An array filled with NaN, and the memory in whose middle it lies, marked before and behind."""
    size = int(np.prod(shape))
    memory = np.full(size + 2 * GUARD, MARK, dtype)
    inner = memory[GUARD : GUARD + size].reshape(shape)
    inner[...] = np.nan
    return inner, memory


def guarded_integers(shape: int | tuple[int, ...], dtype: Any = np.int64) -> tuple[Array, Array]:
    """The same with integers, filled with a number that is neither an index nor a count."""
    size = int(np.prod(shape))
    memory = np.full(size + 2 * GUARD, 119, dtype)
    inner = memory[GUARD : GUARD + size].reshape(shape)
    return inner, memory


def guarded_bytes(size: int, shift: int = 0) -> tuple[Array, Array]:
    """So many bytes on a cache line (or `shift` bytes past one), all of them NaN to who reads floats."""
    memory = aligned(size + shift + 2 * GUARD, np.uint8)
    memory[:] = 255
    memory[: GUARD + shift] = 119
    memory[GUARD + shift + size :] = 119
    return memory[GUARD + shift : GUARD + shift + size], memory


def walled(array: Array) -> Array:
    """A copy between walls: whoever reads too far finds NaN, or an integer that is an error."""
    wall = np.nan if array.dtype.kind == "f" else True if array.dtype == bool else np.iinfo(array.dtype).min
    memory = np.full(array.size + 2 * GUARD, wall, array.dtype)
    inner = memory[GUARD : GUARD + array.size].reshape(array.shape)
    inner[...] = array
    return inner


def assert_unharmed(memory: Array, what: str) -> None:
    mark = MARK if memory.dtype.kind == "f" else 119
    assert (memory[:GUARD] == mark).all(), f"{what}: something was written before it"
    assert (memory[-GUARD:] == mark).all(), f"{what}: something was written behind it"


def magnitude(array: Array) -> float:
    """The greatest absolute value, NaN aside."""
    return float(np.max(np.abs(np.nan_to_num(array, nan=0.0)), initial=0.0))


def distance(a: Array, b: Array) -> float:
    """The greatest difference, infinite if only one of them is NaN somewhere."""
    if a.shape != b.shape or not np.array_equal(np.isnan(a), np.isnan(b)):
        return np.inf
    with np.errstate(invalid="ignore"):
        difference = np.abs(a - b)
    return float(np.max(difference[~np.isnan(b)], initial=0.0))


def close(
    found: Array, expected: Array, limit: float, what: str, slack: float = 0.0, *, nan: bool = False
) -> None:
    """Assert that two arrays are equal within `limit` of the greatest value, which is finite; with `nan` both
    may be NaN at the same places."""
    assert found.shape == expected.shape, f"{what}: shape {found.shape}, expected {expected.shape}"
    known = ~np.isnan(expected) if nan else np.ones(expected.shape, bool)
    assert np.isfinite(expected[known]).all(), f"{what}: nothing is close to what is expected"
    off, allowed = distance(found, expected), limit * magnitude(expected) + slack
    assert off <= allowed, f"{what}: off by {off:.3g}, allowed {allowed:.3g}"


class Results:
    """The arrays that a program writes, each between guards, by the operands' names."""

    def __init__(self, dtype: str, shift: int = 0) -> None:
        self._dtype, self._shift = dtype, shift
        self.made: dict[str, Array] = {}
        self._guards: dict[str, Array] = {}

    def arrays(self, operands: Sequence[Operand], given: Mapping[str, Array]) -> list[Array]:
        """The arrays of all operands: those given, or new ones."""
        return [given[o.name] if o.name in given else self._new(o) for o in operands]

    def _new(self, operand: Operand) -> Array:
        name = operand.name
        if operand.dtype == "bytes":
            (size,) = operand.shape
            self.made[name], self._guards[name] = guarded_bytes(size, self._shift)
        else:
            self.made[name], self._guards[name] = guarded(operand.shape, self._dtype)
        return self.made[name]

    def check(self) -> None:
        for what, memory in self._guards.items():
            assert_unharmed(memory, what)
