"""Charts of a comparison: scores with their spread, and the learning curves of every run."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np

from ._chart import ACCENT, GRID, INK, QUIET, SURFACE, canvas, panel, plain_ticks, style, svg
from ._content import ComparisonReport, ComparisonRow
from ._curves import NAMES, Drawing, finish, series
from ._numbers import mean_and_deviation
from ._sentences import MEASURES, ranked, spread
from ._text import clean, shorten

_MOST_PANELS = 24
_MOST_ROWS = 60
_MOST_POINTS = 30_000  # of all curves together


def spread_chart(content: ComparisonReport) -> Drawing:
    """Return a dot for every run and a mark at the mean of every setting, the best at the top."""
    rows = ranked(content.rows)[:_MOST_ROWS]
    remark = "A dot is one seed, the line the mean, the band one standard deviation on either side."
    if len(rows) < len(content.rows):
        remark += f" The best {len(rows)} of {len(content.rows)} settings are drawn."
    with style():
        wide = _spread(content, rows, 640, "middle has-narrow")
        return Drawing(wide, "", (), remark, narrow=_spread(content, rows, 380, "narrow"))


def _spread(content: ComparisonReport, rows: Sequence[ComparisonRow], width: int, kind: str) -> str:
    beside = max(len(row.name) for row in rows) <= width // 19  # else the names stand above their rows
    names = ["\n".join(_lines(row.name, width // 7)) for row in rows]
    lines = max(name.count("\n") for name in names) + 1
    height = 34 if beside else 34 + 14 * lines
    measure = MEASURES[content.measure]
    figure = canvas(width, 24 + height * len(rows) + 44)
    axes = panel(figure, 20 + 6.4 * max(len(name) for name in names) if beside else 16, 12, 16, 48)
    axes.grid(visible=False, axis="y")
    axes.grid(axis="x")
    for k, row in enumerate(rows):
        axes.axhline(k, color=GRID, linewidth=1, zorder=0)
        scores = [score for score in row.scores if np.isfinite(score)]
        if not scores:
            axes.text(0.02, k, "no finite score", transform=axes.get_yaxis_transform(), va="center")
            continue
        mean, deviation = mean_and_deviation(scores)
        tone = ACCENT if k == 0 else QUIET
        if deviation is not None:
            axes.plot([mean - deviation, mean + deviation], [k, k], color=tone, linewidth=7, alpha=0.28)
        axes.plot(scores, [k] * len(scores), "o", color=tone, markersize=6, alpha=0.75, markeredgewidth=0)
        axes.plot([mean], [k], "|", color=INK, markersize=18, markeredgewidth=2)
    axes.set_ylim(len(rows) - 0.4, -0.6 if lines == 1 else -0.8)
    axes.set_yticks(range(len(rows)), names if beside else [], color=INK)
    for k, name in enumerate([] if beside else names):
        axes.text(0, k - 0.28, name, transform=axes.get_yaxis_transform(), va="bottom", color=INK)
    axes.margins(x=0.08)
    plain_ticks(axes.xaxis, 6 if width > 400 else 4)
    axes.set_xlabel(f"{measure} on held-out examples")
    label = f"{measure} of {len(rows)} settings: " + "; ".join(
        f"{r.name} {spread(r.scores)}" for r in rows[:12]
    )
    return svg(figure, label, f"chart {kind}")


def learning_curves(content: ComparisonReport) -> list[Drawing]:
    """Return a chart for every setting: its runs stand out from those of all others, drawn in grey."""
    rows = [row for row in ranked(content.rows) if row.histories]
    key = shown_figure(content)
    runs = sum(len(row.histories) for row in rows)
    most = max(12, _MOST_POINTS // (runs * min(len(rows), _MOST_PANELS) or 1))
    lines = [[series(history, key, most) for history in row.histories] for row in rows]
    epochs = [epoch for runs in lines for line in runs for epoch in line[0]]
    values = np.asarray([value for runs in lines for line in runs for value in line[1]])
    values = values[np.isfinite(values)]
    if not epochs or not len(values):
        return []
    # The first epochs are far from the others, and may lie outside.
    low, high = float(np.quantile(values, 0.1)), float(values.max())
    if key.endswith("loss"):
        low, high = float(values.min()), float(np.quantile(values, 0.9))
    space = 0.08 * (high - low) or 0.05
    with style():
        return [
            _panel(rows, lines, k, epochs, (low - space, high + space), key.removeprefix("val_"))
            for k in range(min(len(rows), _MOST_PANELS))
        ]


def _lines(name: str, width: int) -> list[str]:
    """Return a name in at most two lines of so many characters."""
    lines = textwrap.wrap(clean(name), width) or [""]
    return lines if len(lines) < 3 else [lines[0], shorten(" ".join(lines[1:]), width)]


def shown_figure(content: ComparisonReport) -> str:
    """Return the figure that every epoch of the runs has, the nearest to the score: one of `Epoch`."""
    names = (f"val_{content.measure}", content.measure, "val_loss", "loss")
    runs = [history for row in content.rows for history in row.histories]
    return next((name for name in names if any(series(run, name)[0] for run in runs)), names[0])


def _panel(
    rows: Sequence[ComparisonRow], lines: Sequence[Sequence[tuple[list[int], list[float]]]], chosen: int,
    epochs: Sequence[int], limits: tuple[float, float], measure: str,
) -> Drawing:  # fmt: skip
    figure = canvas(320, 190)
    axes = panel(figure, 44, 8, 10, 38)
    for k, runs in enumerate(lines):
        if k == chosen or len(rows) > _MOST_PANELS:
            continue
        for line in runs:
            axes.plot(*line, color=QUIET, linewidth=1, alpha=0.35)
    for line in lines[chosen]:
        axes.plot(*line, color=ACCENT, linewidth=1.8, marker="o" if len(line[0]) < 3 else None, markersize=4,
                  markeredgecolor=SURFACE)  # fmt: skip
    finish(axes, epochs, "epoch")
    axes.set_ylim(*limits)
    plain_ticks(axes.yaxis, 4)
    row = rows[chosen]
    label = f"{NAMES[measure]} over the epochs: {row.name}, {len(row.histories)} runs"
    return Drawing(svg(figure, label, "chart small"), row.name)
