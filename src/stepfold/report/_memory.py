"""Charts of what cells remember: gradient flow, and the longest lag that each solves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ._chart import (
    ACCENT,
    INK,
    MUTED,
    NARROW,
    canvas,
    colour,
    dashes,
    decades,
    legend,
    panel,
    plain_ticks,
    style,
    svg,
    thinned,
)  # fmt: skip
from ._content import GradientFlow, LongestLag, MemoryReport
from ._curves import Drawing
from ._sentences import power_of
from ._text import shorten

_FLOOR, _CEILING = 1e-12, 1e6  # what lies beyond is drawn at the edge


def flow_charts(content: MemoryReport) -> list[Drawing]:
    """Return the gradient flow of all cells at initialisation, and after training where there is one."""
    flows = content.flows
    if not flows:
        return []
    charts = [("At initialisation", "initial")]
    if any(flow.trained is not None for flow in flows):
        after = f"After training on {content.trained_on}" if content.trained_on else "After training"
        charts.append((after, "trained"))
    values = np.concatenate([_values(flow, key) for flow in flows for _, key in charts])
    low = 10.0 ** np.floor(np.log10(values.min()))
    high = 10.0 ** np.ceil(np.log10(max(values.max(), 1.0)) + 0.05)
    with style():
        return [_flow(flows, heading, key, float(low), float(high)) for heading, key in charts]


def _values(flow: GradientFlow, key: str) -> np.ndarray:
    array = getattr(flow, key)
    if array is None:
        return np.ones(1)
    return np.clip(
        np.nan_to_num(np.asarray(array, np.float64), nan=_FLOOR, posinf=_CEILING), _FLOOR, _CEILING
    )


def _flow(flows: Sequence[GradientFlow], heading: str, key: str, low: float, high: float) -> Drawing:
    figure = canvas(NARROW, 300)
    axes = panel(figure, 56, 12, 16, 44)
    axes.set_yscale("log")
    axes.axhline(1, color=MUTED, linewidth=1)
    for k, flow in enumerate(flows):
        if getattr(flow, key) is None:
            continue
        lags = np.asarray(flow.lags, np.float64)
        kept = thinned(len(lags), 500)
        pattern = dashes(k)
        values = _values(flow, key)
        values = np.where(values > low, values, np.nan)  # a curve ends where it leaves the chart
        axes.plot(lags[kept], values[kept], color=colour(k), dashes=pattern or (None, None))
    axes.set_ylim(low, high)
    axes.set_xlim(0, max(float(np.asarray(flow.lags)[-1]) for flow in flows))
    decades(axes.yaxis, low, high)
    plain_ticks(axes.xaxis, 6, integer=True)
    axes.set_xlabel("T − t, timesteps")
    ends = "; ".join(
        f"{f.cell} {power_of(float(_values(f, key)[-1]))}" for f in flows if getattr(f, key) is not None
    )
    drawn = [(f.cell, colour(k), dashes(k)) for k, f in enumerate(flows) if getattr(f, key) is not None]
    label = f"Gradient flow {heading}, left at the longest lag: {ends}"
    return Drawing(svg(figure, label), heading, legend(*zip(*drawn, strict=True)))


def lag_charts(content: MemoryReport) -> list[Drawing]:
    """Return a chart for each task: a bar for each cell, as long as the lag that it solves."""
    tasks = list(dict.fromkeys(row.task for row in content.lags))
    cells = list(dict.fromkeys(row.cell for row in content.lags))
    longest = max(
        [8, *(max(row.lag, *row.seeds, 0) for row in content.lags), *(row.limit or 0 for row in content.lags)]
    )
    with style():
        return [_lags([r for r in content.lags if r.task == task], cells, task, longest) for task in tasks]


def lag_text(row: LongestLag) -> str:
    """Return the longest lag solved: 64, ≥ 64 if no longer one was tried, or none."""
    at_limit = row.limit is not None and row.lag >= row.limit > 0
    return f"≥\N{NO-BREAK SPACE}{row.lag:,}" if at_limit else f"{row.lag:,}" if row.lag else "none"


def _lags(rows: Sequence[LongestLag], cells: Sequence[str], task: str, longest: int) -> Drawing:
    by_cell = {row.cell: row for row in rows}
    names = [shorten(cell, 22) for cell in cells]
    figure = canvas(340, 12 + 30 * len(cells) + 44)
    axes = panel(figure, 20 + 6.6 * max(len(name) for name in names), 8, 52, 44)
    axes.grid(visible=False, axis="y")
    axes.grid(axis="x")
    axes.set_xscale("log")
    for k, cell in enumerate(cells):
        row = by_cell.get(cell)
        if row is None:
            axes.text(1.1, k, "not tried", va="center", color=MUTED)
            continue
        if row.lag > 0:
            axes.barh(k, row.lag - 1, left=1, height=0.52, color=ACCENT, alpha=0.85)
        if len(row.seeds) > 1:
            axes.plot([max(lag, 1) for lag in row.seeds], [k] * len(row.seeds), "|", color=INK, markersize=9)
        end = (max(1, row.lag, *row.seeds), k)
        axes.annotate(lag_text(row), end, (6, 0), textcoords="offset points", va="center", color=INK)
    axes.set_xlim(1, longest * 1.15)
    axes.set_ylim(len(cells) - 0.4, -0.6)
    axes.set_yticks(range(len(cells)), names, color=INK)
    decades(axes.xaxis, 1, longest)
    axes.set_xlabel("longest lag solved, timesteps")
    label = f"Longest lag solved, {task}: " + "; ".join(f"{row.cell} {row.lag}" for row in rows)
    return Drawing(svg(figure, label), task)
