"""One sequence read step by step: the coloured words, the curve of the output, the state as a heat map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._chart import (
    ACCENT,
    GRID,
    NARROW,
    SURFACE,
    TEXT,
    WIDE,
    canvas,
    colour,
    panel,
    plain_ticks,
    style,
    svg,
    thinned,
)
from ._curves import Drawing
from ._numbers import Move, largest_moves, ordered_state
from ._parts import Reading
from ._text import clean, shorten

MOST_STEPS = 2000  # of a longer sequence, the last ones are shown
_LEVELS = 6  # of colour, on either side
_UNITS, _COLUMNS = 96, 520  # the largest heat map
# RGB of the state's colours, seen on white and on near black alike; the alpha says how far from zero.
_POSITIVE, _NEGATIVE = (37, 120, 229), (226, 118, 28)


@dataclass(frozen=True)
class Shown:
    """A reading made ready for the page.

    Args:
        reading: the steps that are shown.
        words: each token with the name of its colour's level and its output as text.
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
    words = [] if reading.tokens is None else _words(reading)
    moves: tuple[list[Move], list[Move]] = ([], [])
    if reading.tokens is not None:
        moves = largest_moves(reading, 5)
    with style():
        chart = _chart(reading)
    return Shown(reading, words, chart, *moves, remark)


def _last(reading: Reading, most: int) -> Reading:
    def cut(array: object) -> NDArray[np.float64] | None:
        return None if array is None else np.asarray(array, np.float64)[-most:]

    output = cut(reading.output)
    assert output is not None
    return Reading(
        output=output, outcome=reading.outcome, inputs=cut(reading.inputs), state=cut(reading.state),
        tokens=None if reading.tokens is None else list(reading.tokens)[-most:], layer=reading.layer,
        truth=reading.truth, other=reading.other, regression=reading.regression,
    )  # fmt: skip


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
    return [
        (shorten(token, 80), f"h{level}" if level >= 0 else f"l{-level}", f"{value:.2f}")
        for token, level, value in zip(tokens, levels.tolist(), output.tolist(), strict=True)
    ]


def _chart(reading: Reading) -> Drawing:
    output = np.asarray(reading.output, np.float64)
    n = len(output)
    width = float(np.clip(60 + 18 * n, NARROW, WIDE))
    labelled = reading.tokens is not None and 18 * n + 60 <= WIDE
    bottom = 96 if labelled else 44
    inputs = None if reading.inputs is None else np.asarray(reading.inputs, np.float64)
    state = None if reading.state is None else ordered_state(reading, _UNITS, _COLUMNS)
    rows = [*([110.0] if inputs is not None else []), 150.0]
    if state is not None:
        rows.append(float(np.clip(4 * len(state[0]), 60, 240)))
    gap, top = 34.0, 26.0
    height = top + sum(rows) + gap * (len(rows) - 1) + bottom
    figure = canvas(width, height)
    places = list(range(1, n + 1))
    panels = []
    for k, row in enumerate(rows):
        above = top + sum(rows[:k]) + gap * k
        axes = panel(figure, 48, above, 14, height - above - row)
        axes.set_xlim(0.5, n + 0.5)
        axes.tick_params(labelbottom=k == len(rows) - 1)
        panels.append(axes)
    kept = [k for k in thinned(n, 1200)]
    if inputs is not None:
        for k in range(min(inputs.shape[1], 12)):
            panels[0].plot([places[i] for i in kept], inputs[kept, k], color=colour(k), linewidth=1.3)
        _head(panels[0], "inputs")
    axes = panels[1 if inputs is not None else 0]
    axes.plot([places[i] for i in kept], output[kept], color=ACCENT, linewidth=1.8)
    if reading.regression:
        plain_ticks(axes.yaxis, 4)
        head = f"prediction: {shorten(reading.outcome, 60)}"
    else:
        axes.set_ylim(-0.03, 1.03)
        axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
        head = f"probability of {shorten(reading.outcome, 60)}"
    _head(axes, head)
    remark = ""
    if state is not None:
        axes = panels[-1]
        units, block = state
        _heat(axes, units, block)
        axes.set_xlim(0.5, n + 0.5)
        shown, width_of = len(units), np.shape(reading.state)[1]
        named = f"state of {shorten(reading.layer, 40)}" if reading.layer else "state"
        _head(
            axes, f"{named}, {shown} units" if shown == width_of else f"{named}, {shown} of {width_of} units"
        )
        remark = (
            "The state: blue is positive, orange negative, a clear cell is zero. Units that rise with the curve are "
            "at the top, those that fall with it at the bottom"
            + (f"; {width_of - shown} units that follow it least are left out" if shown < width_of else "")
            + (f"; each column is the mean of {block} {reading.unit}s" if block > 1 else "")
            + "."
        )
    last = panels[-1]
    if labelled:
        last.set_xticks(places, [shorten(t, 14) for t in reading.tokens or ()], rotation=60, ha="right",
                        rotation_mode="anchor", color=GRID)  # fmt: skip
    else:
        plain_ticks(last.xaxis, 9, integer=True)
        last.set_xlabel(reading.unit)
    label = f"{clean(head)} after each of {n} {reading.unit}s: from {output[0]:.2f} to {output[-1]:.2f}"
    return Drawing(svg(figure, label, "wide" if width > 1.5 * NARROW else ""), "", (), remark)


def _head(axes: Any, text: str) -> None:
    axes.set_title(text, loc="left", fontsize=TEXT, pad=8)


def _heat(axes: Any, units: NDArray[np.float64], block: int) -> None:
    """Draw (units, columns) as an image whose opacity says how large the values are, in few levels."""
    size = np.abs(units)
    largest = float(np.quantile(size, 0.99)) or float(size.max()) or 1.0
    alpha = np.rint(np.clip(size / largest, 0, 1) * 15) * 17
    image = np.empty((*units.shape, 4), np.uint8)
    image[..., :3] = np.where((units >= 0)[..., None], _POSITIVE, _NEGATIVE)
    image[..., 3] = alpha
    image[alpha == 0] = 0
    axes.imshow(
        image, extent=(0.5, 0.5 + block * units.shape[1], len(units), 0), interpolation="none", aspect="auto"
    )
    axes.grid(visible=False)
    axes.set_yticks([])
    axes.set_facecolor(SURFACE)
