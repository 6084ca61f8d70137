"""One sequence read step by step, made ready for the page: coloured words and charts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ._chart import NARROW, WIDE, style
from ._curves import Drawing
from ._numbers import Move, largest_moves
from ._parts import Reading
from ._reading_chart import draw_reading
from ._text import shorten

MOST_STEPS = 2000  # of a longer sequence, the last ones are shown
_LEVELS = 6  # of colour, on either side


@dataclass(frozen=True)
class Shown:
    """A reading made ready for the page.

    Args:
        reading: the steps that are shown.
        words: each token with its CSS class (the level of its colour) and its output as text.
        chart: the curves and the heat map.
        rises, falls: the words that moved the output most.
        remark: what was left out, or "".
    """

    reading: Reading
    words: Sequence[tuple[str, str, str]]
    chart: Drawing
    rises: Sequence[Move]
    falls: Sequence[Move]
    remark: str


def show_reading(reading: Reading) -> Shown:
    """Return a reading made ready for the page."""
    n = len(np.asarray(reading.output))
    remark = ""
    if n > MOST_STEPS:
        remark = f"The last {MOST_STEPS:,} of {n:,} {reading.unit}s are shown."
        reading = _last(reading, MOST_STEPS)
    if reading.known is not None and not all(reading.known):
        strange = len(reading.known) - sum(map(bool, reading.known))
        remark += (
            f" The vocabulary lacks {strange:,} of the {len(reading.known):,} words, underlined with dots."
        )
    words = [] if reading.tokens is None else _words(reading)
    moves: tuple[list[Move], list[Move]] = ([], [])
    if reading.tokens is not None:
        moves = largest_moves(reading, 5)
    width = float(np.clip(64 + 19 * n, NARROW, WIDE))
    with style():
        if width > NARROW:
            chart = draw_reading(reading, width, "wide has-narrow")
            chart = replace(chart, narrow=draw_reading(reading, NARROW, "narrow").svg)
        else:
            chart = draw_reading(reading, width, "")
    return Shown(reading, words, chart, *moves, remark)


def _last(reading: Reading, most: int) -> Reading:
    def cut(array: object) -> NDArray[np.float64] | None:
        return None if array is None else np.asarray(array, np.float64)[-most:]

    return Reading(
        output=np.asarray(reading.output, np.float64)[-most:],
        outcome=reading.outcome,
        tokens=None if reading.tokens is None else list(reading.tokens)[-most:],
        known=None if reading.known is None else list(reading.known)[-most:],
        inputs=cut(reading.inputs),
        state=cut(reading.state),
        layer=reading.layer,
        truth=reading.truth,
        other=reading.other,
        regression=reading.regression,
    )


def _words(reading: Reading) -> list[tuple[str, str, str]]:
    output = np.asarray(reading.output, np.float64)
    if reading.regression:
        finite = output[np.isfinite(output)]
        middle = float(np.median(finite)) if len(finite) else 0.0
        span = float(np.abs(finite - middle).max()) if len(finite) else 0.0
        strength = (output - middle) / (span or 1.0)
    elif reading.other is not None:
        strength = 2 * output - 1
    else:
        strength = output
    levels = np.rint(np.clip(np.nan_to_num(strength), -1, 1) * _LEVELS).astype(int)
    tokens = reading.tokens or ()
    known = reading.known or [True] * len(tokens)
    return [
        (
            shorten(token, 80),
            (f"h{level}" if level >= 0 else f"l{-level}") + " new" * (not has),
            f"{value:.2f}",
        )
        for token, has, level, value in zip(tokens, known, levels.tolist(), output.tolist(), strict=True)
    ]
