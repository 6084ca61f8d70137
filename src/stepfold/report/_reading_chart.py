"""The chart of a reading: inputs, the curve of the output, the state as a heat map, one below the other."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._chart import ACCENT, GRID, INK, MUTED, TEXT, canvas, colour, panel, plain_ticks, svg, thinned
from ._curves import Drawing
from ._numbers import largest_moves, ordered_state
from ._parts import Reading
from ._text import clean, shorten

_LEFT, _RIGHT, _TOP, _GAP = 48.0, 14.0, 28.0, 36.0  # px
_INPUTS, _OUTPUT = 110.0, 150.0  # px, heights of the panels
_UNITS = 96  # rows of the largest heat map
_FEATURES = 12
# RGB of the state's colours, seen on white and on near black alike; the alpha says how far from zero.
_POSITIVE, _NEGATIVE = (37, 120, 229), (226, 118, 28)


def draw_reading(reading: Reading, width: float, kind: str) -> Drawing:
    """Return the chart of a reading, so many pixels wide; `kind` is the CSS class of its SVG."""
    output = np.asarray(reading.output, np.float64)
    n = len(output)
    labelled = reading.tokens is not None and 64 + 19 * n <= width
    inputs = None if reading.inputs is None else np.asarray(reading.inputs, np.float64)
    state = None if reading.state is None else ordered_state(reading, _UNITS, int(width / 2))
    heights = [_INPUTS] * (inputs is not None) + [_OUTPUT]
    if state is not None:
        heights.append(float(np.clip(4 * len(state[0]), 60, 240)))
    figure, panels = _panels(heights, width, n, 92 if labelled else 46)
    if inputs is not None:
        kept = thinned(n, 1200)
        for k in range(min(inputs.shape[1], _FEATURES)):
            panels[0].plot(np.asarray(kept) + 1, inputs[kept, k], color=colour(k), linewidth=1.3)
        plain_ticks(panels[0].yaxis, 3)
        shown = f", the first {_FEATURES} of {inputs.shape[1]}" if inputs.shape[1] > _FEATURES else ""
        _head(panels[0], f"inputs{shown}")
    head = _output(panels[-1 if state is None else -2], reading, output, width)
    remark = ""
    if state is not None:
        remark = _state(panels[-1], reading, *state)
    if labelled:
        names = [shorten(token, 14) for token in reading.tokens or ()]
        panels[-1].set_xticks(range(1, n + 1), names, rotation=60, ha="right", rotation_mode="anchor")
    else:
        plain_ticks(panels[-1].xaxis, 9 if width > 600 else 5, integer=True)
        panels[-1].set_xlabel(reading.unit)
    ends = f"{output[0]:.2f} after the first, {output[-1]:.2f} at the end"
    label = f"{clean(head)} after each of {n} {reading.unit}s: {ends}"
    return Drawing(svg(figure, label, f"chart {kind}".rstrip()), "", (), remark)


def _panels(heights: list[float], width: float, n: int, bottom: float) -> tuple[Any, list[Any]]:
    height = _TOP + sum(heights) + _GAP * (len(heights) - 1) + bottom
    figure = canvas(width, height)
    panels = []
    for k, size in enumerate(heights):
        above = _TOP + sum(heights[:k]) + _GAP * k
        axes = panel(figure, _LEFT, above, _RIGHT, height - above - size)
        axes.set_xlim(0.5, n + 0.5)
        axes.tick_params(labelbottom=k == len(heights) - 1)
        panels.append(axes)
    return figure, panels


def _head(axes: Any, text: str) -> None:
    axes.set_title(text, loc="left", fontsize=TEXT, pad=9, color=MUTED)


def _output(axes: Any, reading: Reading, output: NDArray[np.float64], width: float) -> str:
    """Draw the curve of the output, with the words that moved it most, and return its heading."""
    kept = thinned(len(output), 1200)
    axes.plot(np.asarray(kept) + 1, output[kept], color=ACCENT, linewidth=1.8)
    if reading.regression:
        plain_ticks(axes.yaxis, 4)
        axes.margins(y=0.15)
        head = f"prediction: {shorten(reading.outcome, 60)}"
    else:
        axes.set_ylim(-0.16, 1.16)
        axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
        head = f"probability of {shorten(reading.outcome, 60)}"
    if reading.tokens is not None:
        _mark(axes, reading, width)
    _head(axes, head)
    return head


def _mark(axes: Any, reading: Reading, width: float) -> None:
    """Write the words that moved the output most at the curve, as many as do not touch each other."""
    step = (width - _LEFT - _RIGHT) / len(np.asarray(reading.output))
    rises, falls = largest_moves(reading, 8)
    least = 0.3 * max([abs(move.after - move.before) for move in rises + falls], default=0.0)
    for moves, above in ((rises, True), (falls, False)):
        taken: list[tuple[float, float]] = []
        for move in moves:
            word = shorten(move.token, 16)
            end = (move.place - 0.5) * step - 4
            span = (end - 7 * len(word) - 10, end + 10)
            if len(taken) == 4 or abs(move.after - move.before) < least or span[0] < -8:
                continue
            if any(a < span[1] and span[0] < b for a, b in taken):
                continue
            taken.append(span)
            axes.annotate(
                word, (move.place, move.after), xytext=(-4, 4 if above else -4), textcoords="offset points",
                ha="right", va="bottom" if above else "top", color=INK, fontsize=11,
            )  # fmt: skip
            axes.plot([move.place], [move.after], "o", color=ACCENT, markersize=4)


def _state(axes: Any, reading: Reading, units: NDArray[np.float64], block: int) -> str:
    """Draw a state as (units, columns), its opacity saying how large the values are, and return a remark."""
    size = np.abs(units)
    largest = float(np.quantile(size, 0.99)) or float(size.max()) or 1.0
    alpha = np.rint(np.clip(size / largest, 0, 1) * 15) * 17  # few levels: the PNG stays small
    image = np.empty((*units.shape, 4), np.uint8)
    image[..., :3] = np.where((units >= 0)[..., None], _POSITIVE, _NEGATIVE)
    image[..., 3] = alpha
    image[alpha == 0] = 0
    limits = axes.get_xlim()
    extent = (0.5, 0.5 + block * units.shape[1], len(units), 0)
    axes.imshow(image, extent=extent, interpolation="none", aspect="auto")
    axes.set_xlim(*limits)
    axes.grid(visible=False)
    axes.set_yticks([])
    axes.spines["bottom"].set_color(GRID)
    shown, whole = len(units), np.asarray(reading.state).shape[1]
    named = f"state of {shorten(reading.layer, 40)}" if reading.layer else "state"
    _head(axes, f"{named}, {shown} units" if shown == whole else f"{named}, {shown} of {whole} units")
    remark = (
        "Each row of the state is a unit: blue is positive, orange negative, clear near zero. Units that "
        "rise with the curve are at the top, those that fall with it at the bottom"
    )
    if shown < whole:
        remark += f"; the {whole - shown} units that follow it least are left out"
    if block > 1:
        remark += f"; neighbouring {reading.unit}s share a column, which shows their mean"
    return remark + "."
