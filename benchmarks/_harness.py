"""Compares sides in one process: first their results, then their times, A B A B."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

NamedArrays = Mapping[str, NDArray[Any]]

_PAUSE = 0.01  # in which the idle threads of the previous side stop spinning
_SHORT = 0.05  # a call shorter than this is warmed up again after every pause


class DisagreementError(AssertionError):
    """Two sides differ that should compute the same, so that comparing their times means nothing."""


@dataclass(frozen=True)
class Side:
    """One side of a comparison.

    `run` is timed, and returns when its work is finished. `arrays` turns its result into named arrays, with
    the same names on every side.
    """

    name: str
    run: Callable[[], Any]
    arrays: Callable[[Any], NamedArrays]


@dataclass(frozen=True)
class Times:
    """The seconds of each call of one side."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median."""
        return statistics.median(self.seconds)

    @property
    def minimum(self) -> float:
        """The minimum."""
        return min(self.seconds)


def check(sides: Sequence[Side], tolerance: float) -> dict[str, float]:
    """Run every side once and compare its arrays with the first side's.

    A value may differ by `tolerance` × the greatest magnitude in the first side's array, or × 1e-4 of that in
    all of them: a gradient that is zero but for rounding has no digits to compare. Returns the greatest such
    difference for each other side; raises DisagreementError, naming the side and the array, above the
    tolerance.
    """
    first = sides[0].arrays(sides[0].run())
    return {side.name: _greatest_difference(sides[0].name, first, side, tolerance) for side in sides[1:]}


def _greatest_difference(name: str, first: NamedArrays, side: Side, tolerance: float) -> float:
    other = side.arrays(side.run())
    if set(other) != set(first) or not first:
        raise DisagreementError(f"{name} gives {sorted(first)}, {side.name} gives {sorted(other)}")
    worst = 0.0
    least = 1e-4 * max(float(np.max(np.abs(each), initial=0.0)) for each in first.values())
    for key, expected in first.items():
        found = other[key]
        if found.shape != expected.shape:
            raise DisagreementError(f"{key}: {name} {expected.shape}, {side.name} {found.shape}")
        scale = max(float(np.max(np.abs(expected), initial=0.0)), least) or 1.0
        off = float(np.max(np.abs(expected.astype(np.float64) - found), initial=0.0)) / scale
        if not off <= tolerance:
            raise DisagreementError(
                f"{key}: {side.name} differs from {name} by {off:.2g}, allowed is {tolerance:.2g}"
            )
        worst = max(worst, off)
    return worst


def time_alternating(
    sides: Sequence[Side], *, seconds: float, min_rounds: int = 5, max_rounds: int = 200
) -> dict[str, Times]:
    """Time the sides A B A B … for about `seconds`, at least `min_rounds` and at most `max_rounds`.

    Each turn begins with a pause, in which the threads of the previous side go to sleep, and for short calls
    with one more call that is not counted. So every side is timed as it runs in a loop of its own.
    """
    for side in sides:
        side.run()
        side.run()
    found: dict[str, list[float]] = {side.name: [] for side in sides}
    start = time.perf_counter()
    for turn in range(max_rounds):
        for side in sides if turn % 2 == 0 else list(reversed(sides)):
            time.sleep(_PAUSE)
            if not found[side.name] or found[side.name][-1] < _SHORT:
                side.run()
            before = time.perf_counter()
            side.run()
            found[side.name].append(time.perf_counter() - before)
        if turn + 1 >= min_rounds and time.perf_counter() - start > seconds:
            break
    return {name: Times(tuple(values)) for name, values in found.items()}


def geometric_mean(values: Sequence[float]) -> float:
    """The geometric mean of positive values."""
    return float(np.exp(np.mean(np.log(values))))
