"""Figures derived from what a report is given: per class, per word, over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ._parts import Confusion, Reading


@dataclass(frozen=True)
class ClassFigures:
    """Precision, recall and F1 of one class; None where the class was never predicted or never there."""

    name: str
    precision: float | None
    recall: float | None
    f1: float | None
    count: int


def per_class(confusion: Confusion) -> list[ClassFigures]:
    """Return the figures of each class."""
    counts = confusion.table
    right, predicted, true = np.diag(counts), counts.sum(0), counts.sum(1)
    return [
        ClassFigures(
            str(name), _ratio(right[k], predicted[k]), _ratio(right[k], true[k]),
            _ratio(2 * right[k], predicted[k] + true[k]), int(true[k]),
        )
        for k, name in enumerate(confusion.classes)
    ]  # fmt: skip


def macro(rows: Sequence[ClassFigures]) -> ClassFigures:
    """Return the unweighted means over the classes that occur; what is undefined counts as 0."""
    present = [row for row in rows if row.count] or list(rows)

    def mean(name: str) -> float:
        return sum(getattr(row, name) or 0.0 for row in present) / len(present)

    return ClassFigures(
        "mean over classes", mean("precision"), mean("recall"), mean("f1"), sum(row.count for row in rows)
    )


def _ratio(part: np.int64, whole: np.int64) -> float | None:
    return float(part / whole) if whole else None


def frequent_confusions(confusion: Confusion, most: int) -> list[tuple[str, str, int, float]]:
    """Return what is confused most often: true class, predicted class, count, share of the true class."""
    counts = confusion.table.copy()
    true = counts.sum(1)
    np.fill_diagonal(counts, 0)
    order = np.argsort(counts, axis=None, kind="stable")[::-1][:most]
    pairs = [divmod(int(place), len(true)) for place in order]
    return [
        (
            str(confusion.classes[t]),
            str(confusion.classes[p]),
            int(counts[t, p]),
            float(counts[t, p] / true[t]),
        )
        for t, p in pairs
        if counts[t, p] > 0
    ]


@dataclass(frozen=True)
class Move:
    """A word, where it stands (from 1), and the output before and after it."""

    token: str
    place: int
    before: float
    after: float


def largest_moves(reading: Reading, most: int) -> tuple[list[Move], list[Move]]:
    """Return the words after which the output rose most and those after which it fell most.

    Each word counts once; changes too small to be seen are left out.
    """
    output, tokens = reading.output, reading.explanation["tokens"]
    change = np.nan_to_num(np.diff(output), nan=0.0)
    order = np.argsort(change, kind="stable")

    def moves(places: Sequence[int]) -> list[Move]:
        found: dict[str, Move] = {}
        for k in places:
            if len(found) < most:
                move = Move(str(tokens[k]), k + 1, float(output[k]), float(output[k + 1]))
                found.setdefault(move.token, move)
        return list(found.values())

    least = 0.005 if reading.probabilities else 0.02 * float(np.abs(change).max(initial=0.0))
    rises = [k for k in order[::-1].tolist() if change[k] > least]
    return moves(rises), moves([k for k in order.tolist() if change[k] < -least])


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean and the sample standard deviation, None for a single value."""
    array = np.asarray(values, np.float64)
    return float(array.mean()), float(array.std(ddof=1)) if len(array) > 1 else None
