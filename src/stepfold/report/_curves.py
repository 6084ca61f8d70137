"""Curves over the epochs of one training, and predicted beside true values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._chart import (
    ACCENT,
    GRID,
    MUTED,
    NARROW,
    QUIET,
    SURFACE,
    TEXT,
    canvas,
    legend,
    note,
    panel,
    plain_ticks,
    style,
    svg,
    thinned,
)  # fmt: skip
from ._content import TrainingReport
from ._parts import Epoch, Predictions
from ._text import number

NAMES = {"loss": "Loss", "accuracy": "Accuracy", "r2": "R²", "mae": "Mean absolute error"}
_FEW = 16  # epochs, up to which each is marked


@dataclass(frozen=True)
class Drawing:
    """A chart as SVG (for small screens another one, "" if it fits them), its heading, legend and remark.

    An entry of the legend is a name, the CSS of its colour, and the dashes of its line.
    """

    svg: str
    heading: str = ""
    legend: Sequence[tuple[str, str, str]] = ()
    remark: str = ""
    narrow: str = ""


def series(history: Sequence[Epoch], name: str, most: int = 600) -> tuple[list[int], list[float]]:
    """Return the epochs and values of a figure, without those that are missing; NaN where not finite."""
    pairs = [(e.epoch, getattr(e, name)) for e in history if getattr(e, name) is not None]
    pairs = [pairs[k] for k in thinned(len(pairs), most)] if pairs else []
    return [epoch for epoch, _ in pairs], [v if np.isfinite(v) else np.nan for _, v in pairs]


def training_curves(content: TrainingReport) -> list[Drawing]:
    """Return the curve of the loss and that of each other figure in the history."""
    names = [name for name in NAMES if any(getattr(e, name) is not None for e in content.history)]
    with style():
        return [_curve(content, name) for name in names]


def _curve(content: TrainingReport, name: str) -> Drawing:
    figure = canvas(NARROW, 250)
    axes = panel(figure, 48, 12, 14, 40)
    alone = content.split == "none"
    lines: list[tuple[str, str, str, tuple[int, ...]]] = [
        ("training", name, ACCENT if alone else QUIET, () if alone else (4, 2)),
        ("held out", f"val_{name}", ACCENT, ()),
    ]
    shown = []
    for title, key, colour, dashes in lines:
        epochs, values = series(content.history, key)
        if not epochs:
            continue
        shown.append((title, colour, dashes))
        marker = "o" if len(epochs) <= _FEW else None
        axes.plot(epochs, values, color=colour, dashes=dashes or (None, None), marker=marker, markersize=4)
    best = content.best
    held = getattr(best, f"val_{name}")
    value = held if held is not None else getattr(best, name)
    if value is not None and np.isfinite(value):
        tone = ACCENT if held is not None or alone else QUIET
        axes.axvline(best.epoch, color=GRID, linewidth=1, zorder=0)
        axes.plot(
            [best.epoch], [value], "o", color=tone, markersize=12, markeredgecolor=SURFACE, markeredgewidth=2
        )
        _label(
            axes,
            content,
            value,
            [getattr(best, name), *_beside(content, f"val_{name}" if held else name)],
            tone,
        )
    finish(axes, [e.epoch for e in content.history], "epoch")
    label = f"{NAMES[name]} over {len(content.history)} epochs; saved model: {number(value)}"
    return Drawing(svg(figure, label), NAMES[name], legend(*zip(*shown, strict=True)) if shown else ())


def _beside(content: TrainingReport, name: str) -> list[float | None]:
    """Return a figure in the epochs before and after the saved one."""
    place = content.history.index(content.best)
    return [
        getattr(e, name)
        for e in (*content.history[max(place - 1, 0) : place], *content.history[place + 1 : place + 2])
    ]


def _label(axes: Any, content: TrainingReport, value: float, near: Sequence[float | None], tone: str) -> None:
    """Write the saved model's value above or below its dot, away from what is drawn near it."""
    others = [v for v in near if v is not None and np.isfinite(v)]
    above = not others or value >= float(np.mean(others))
    first, last = content.history[0].epoch, content.history[-1].epoch
    share = (content.best.epoch - first) / (last - first) if last > first else 0.5
    side, shift = ("left", -6) if share < 0.08 else ("right", 6) if share > 0.92 else ("center", 0)
    axes.annotate(
        number(value), (content.best.epoch, value), (shift, 11 if above else -11), color=tone, ha=side,
        va="bottom" if above else "top", textcoords="offset points", fontweight="bold",
        bbox={"boxstyle": "square,pad=0.1", "facecolor": SURFACE, "edgecolor": "none", "alpha": 0.85},
    )  # fmt: skip


def finish(axes: Any, epochs: Sequence[int], unit: str) -> None:
    """Give axes over epochs their limits and labels."""
    first, last = min(epochs), max(epochs)
    space = max(0.5, (last - first) * 0.03)
    axes.set_xlim(first - space, last + space)
    plain_ticks(axes.xaxis, 7, integer=True)
    plain_ticks(axes.yaxis)
    axes.set_xlabel(unit)
    axes.margins(y=0.16)
    if not np.isfinite(axes.dataLim.height):
        note(axes, "no finite value")


def scatter(predictions: Predictions, most: int = 1500) -> Drawing:
    """Return predicted values over true ones; of more than `most` examples, evenly spaced ones."""
    truth, predicted = (np.asarray(v, np.float64) for v in (predictions.truth, predictions.predicted))
    finite = np.flatnonzero(np.isfinite(truth) & np.isfinite(predicted))
    places = finite[thinned(len(finite), most)] if len(finite) else finite
    with style():
        figure = canvas(NARROW, 360)
        axes = panel(figure, 60, 12, 14, 44)
        if len(places):
            both = np.concatenate([truth[places], predicted[places]])
            low, high = float(both.min()), float(both.max())
            space = 0.04 * (high - low) or 1.0
            axes.plot(
                [low - space, high + space],
                [low - space, high + space],
                color=MUTED,
                linewidth=1,
                dashes=(4, 3),
            )
            axes.plot(
                truth[places],
                predicted[places],
                "o",
                color=ACCENT,
                alpha=0.45,
                markersize=5,
                markeredgewidth=0,
            )
            axes.set(xlim=(low - space, high + space), ylim=(low - space, high + space))
        else:
            note(axes, "no finite value")
        axes.grid(axis="x")
        plain_ticks(axes.xaxis)
        plain_ticks(axes.yaxis)
        axes.set_xlabel("true value")
        axes.set_ylabel("predicted value")
        axes.yaxis.label.set(color=MUTED, size=TEXT)
        label = f"Predicted over true values of {len(places)} examples"
        remark = "On the dashed line, the prediction is exact."
        if len(places) < len(finite):
            remark += f" {len(places):,} of {len(finite):,} examples are drawn."
        heading = "Predicted and true values" + (f", {predictions.output}" if predictions.output else "")
        return Drawing(svg(figure, label), heading, (), remark)
