"""Comparing sides: first their numbers, then their times, in turn and in one process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = Mapping[str, NDArray[Any]]

_PAUSE = 0.01  # lets the idle threads of the side before stop spinning
_SHORT = 0.05  # a call shorter than this is warmed up again after every pause


class DisagreementError(AssertionError):
    """Two sides that should compute the same do not; their times would compare nothing."""


@dataclass(frozen=True)
class Side:
    """One side of a comparison.

    `run` is what is timed: it has finished its work when it returns. `numbers` turns what it returned into
    named arrays, the same names on every side.
    """

    name: str
    run: Callable[[], Any]
    numbers: Callable[[Any], Numbers]


@dataclass(frozen=True)
class Times:
    """The seconds that one side took, call by call."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.seconds)

    @property
    def minimum(self) -> float:
        """The least one."""
        return min(self.seconds)


def check(sides: Sequence[Side], tolerance: float) -> dict[str, float]:
    """Run every side once and compare its numbers with the first side's.

    An array may differ by `tolerance` × the greatest magnitude in the first side's array. Returns the
    greatest such difference for each other side; raises DisagreementError, naming the side and the array,
    above the tolerance.
    """
    first = sides[0].numbers(sides[0].run())
    return {side.name: _furthest(sides[0].name, first, side, tolerance) for side in sides[1:]}


def _furthest(name: str, first: Numbers, side: Side, tolerance: float) -> float:
    other = side.numbers(side.run())
    if set(other) != set(first) or not first:
        raise DisagreementError(f"{name} gives {sorted(first)}, {side.name} gives {sorted(other)}")
    worst = 0.0
    for key, expected in first.items():
        found = other[key]
        if found.shape != expected.shape:
            raise DisagreementError(f"{key}: {name} {expected.shape}, {side.name} {found.shape}")
        scale = float(np.max(np.abs(expected), initial=0.0)) or 1.0
        off = float(np.max(np.abs(expected.astype(np.float64) - found), initial=0.0)) / scale
        if not off <= tolerance:
            raise DisagreementError(
                f"{key}: {side.name} differs from {name} by {off:.2g}, allowed is {tolerance:.2g}"
            )
        worst = max(worst, off)
    return worst


def time_in_turn(
    sides: Sequence[Side], *, budget: float, least: int = 5, most: int = 200
) -> dict[str, Times]:
    """Time the sides A B A B … for about `budget` seconds, at least `least` rounds and at most `most`.

    Each turn begins with a pause, in which the threads of the side before go to sleep, and for short calls
    with one more call that is not counted; so every side is timed as it runs in a loop of its own.
    """
    for side in sides:
        side.run()
        side.run()
    seconds: dict[str, list[float]] = {side.name: [] for side in sides}
    start = time.perf_counter()
    for turn in range(most):
        for side in sides if turn % 2 == 0 else list(reversed(sides)):
            time.sleep(_PAUSE)
            if not seconds[side.name] or seconds[side.name][-1] < _SHORT:
                side.run()
            before = time.perf_counter()
            side.run()
            seconds[side.name].append(time.perf_counter() - before)
        if turn + 1 >= least and time.perf_counter() - start > budget:
            break
    return {name: Times(tuple(values)) for name, values in seconds.items()}


def geometric_mean(values: Sequence[float]) -> float:
    """The geometric mean of positive numbers."""
    return float(np.exp(np.mean(np.log(values))))
