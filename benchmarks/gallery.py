"""Every built-in cell: its training step beside the LSTM's, one timestep of a stream, what it remembers.

Run it as `python -m benchmarks.gallery [--quick] [--cells lstm gru …] [--page FILE]`.

`--page docs/figures/cells.json` writes the figures of the gallery in the documents. The time is that of the
processor, on one thread: the least of many calls, in turn with the LSTM's, and the ratio that of both. The
gradient is exact, in float64. The lag depends on no clock, for steps of training are its budget.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import stepfold
from stepfold import Cell, cells
from stepfold._defaults import default_sizes
from stepfold.probe import Budget, gradient_flow, longest_lag
from stepfold.tasks import temporal_order

from . import _figures, _report
from ._ours import training_step
from ._problems import Shape, problem

SHAPE: Shape = (32, 100, 64, 128)
"""Batch, timesteps, features, units."""
UNITS, TIMESTEPS = 32, 100
"""Of the measurements of memory."""
REFERENCE = "lstm"
_LOOP = 200  # timesteps of a stream between two readings of the clock


def measure(cell: Cell, *, rounds: int, budget: Budget) -> dict[str, Any]:
    """Return the figures of one cell."""
    mine, lstm = (training_step(problem(each, SHAPE), 1) for each in (cell, cells.by_name(REFERENCE)))
    shortest = _least((mine, lstm), rounds)
    flow = gradient_flow(cell, units=UNITS, steps=TIMESTEPS + 1)
    found = longest_lag(cell, temporal_order, units=UNITS, budget=budget)
    return {
        "milliseconds": float(f"{1e3 * shortest[0]:.3g}"),
        "ratio": float(f"{shortest[0] / shortest[1]:.3g}"),
        "stream_microseconds": float(f"{1e6 * _stream(cell, rounds):.3g}"),
        "gradient": float(f"{flow[TIMESTEPS]:.3g}"),
        "lag": found.lag,
    }


def _least(calls: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """The least processor time of each call, in seconds, of so many rounds A B A B …."""
    for call in calls:
        call()
    tries: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for call, seconds in zip(calls, tries, strict=True):
            start = time.process_time()
            call()
            seconds.append(time.process_time() - start)
    return [min(seconds) for seconds in tries]


def _stream(cell: Cell, rounds: int) -> float:
    """The least processor time of a timestep of a stream of one sequence, in seconds."""
    _, _, features, units = SHAPE
    stream = stepfold.Stream(cell, cell.init(features, units, seed=0, **default_sizes(cell, units)))
    x = np.random.default_rng(0).standard_normal((1, features)).astype(np.float32)

    def steps() -> None:
        for _ in range(_LOOP):
            stream.step(x)

    return _least((steps,), rounds)[0] / _LOOP


def about(report: _report.Report, budget: Budget) -> dict[str, Any]:
    """Return what is said of all figures in the documents."""
    batch, timesteps, features, units = SHAPE
    return {
        "command": "python -m benchmarks.gallery",
        "machine": f"one thread of an {_figures.processor(report.machine)}",
        "shape": f"{batch} sequences of {timesteps} timesteps, {features} features, {units} units",
        "lag_steps": budget.steps,
        "most_lag": budget.longest,
    }


def main() -> int:
    parser = _report.options(__doc__)
    names = [name for name in cells.names() if len(cells.by_name(name).step.input_names) == 1]
    parser.add_argument("--cells", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument("--page", type=Path, help="a file for the figures that the documents show")
    chosen = parser.parse_args()
    budget = Budget(
        seconds=3600.0,
        steps=30 if chosen.quick else 300,
        longest=16 if chosen.quick else 128,
        learning_rates=(1e-2,),
        threads=1,
    )
    report = _report.begin("gallery", chosen)
    figures = {}
    for name in chosen.cells:
        figures[name] = measure(cells.by_name(name), rounds=3 if chosen.quick else 25, budget=budget)
        print(f"{name:20}", "  ".join(f"{key} {value:g}" for key, value in figures[name].items()), flush=True)
        if chosen.page:
            _figures.keep(chosen.page, about(report, budget), figures)
    report.results.append({"title": "the built-in cells", "cells": figures})
    report.check_load()
    report.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
