"""Every built-in cell: its training step beside the LSTM's, one timestep of a stream, what it remembers.

Run it as `python -m benchmarks.gallery [--quick] [--cells lstm gru …] [--page FILE]`.

The figures of the gallery in the documents: `--threads 1 --page docs/figures/cells.json` writes them. The
time is the shortest of many calls, in turn with the LSTM's, and the ratio that of both; the gradient is
exact, in float64; the lag depends on no clock, for steps of training are its budget.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import stepfold
from stepfold import Cell, cells
from stepfold.probe import Budget, gradient_flow, longest_lag
from stepfold.tasks import temporal_order

from . import _report
from ._harness import time_alternating
from ._ours import ours
from ._problems import Shape, problem

SHAPE: Shape = (32, 100, 64, 128)
"""Batch, timesteps, features, units."""
UNITS, TIMESTEPS = 32, 100
"""Of the measurements of memory."""
REFERENCE = "lstm"
_LOOP = 200  # timesteps of a stream between two readings of the clock
_TRIES = 20


def measure(cell: Cell, threads: int, *, seconds: float, budget: Budget) -> dict[str, Any]:
    """Return the figures of one cell."""
    sides = [
        replace(ours(problem(each, SHAPE), threads, training=True), name=name)
        for each, name in ((cell, "cell"), (cells.by_name(REFERENCE), REFERENCE))
    ]
    times = time_alternating(sides, seconds=seconds)
    shortest = [times[side.name].minimum for side in sides]
    flow = gradient_flow(cell, units=UNITS, steps=TIMESTEPS + 1)
    found = longest_lag(cell, temporal_order, units=UNITS, budget=budget)
    return {
        "milliseconds": round(1e3 * shortest[0], 3),
        "ratio": round(shortest[0] / shortest[1], 3),
        "stream_microseconds": round(1e6 * _stream(cell), 2),
        "gradient": float(f"{flow[TIMESTEPS]:.3g}"),
        "lag": found.lag or 0,
    }


def _stream(cell: Cell) -> float:
    """The shortest time of a timestep of a stream of one sequence, in seconds."""
    _, _, features, units = SHAPE
    stream = stepfold.Stream(cell, cell.init(features, units, seed=0))
    x = np.random.default_rng(0).standard_normal((1, features)).astype(np.float32)
    stream.step(x)
    tries = []
    for _ in range(_TRIES):
        start = time.perf_counter()
        for _ in range(_LOOP):
            stream.step(x)
        tries.append((time.perf_counter() - start) / _LOOP)
    return min(tries)


def write_page(path: Path, figures: dict[str, Any], report: _report.Report, budget: Budget) -> None:
    """Write the figures that the documents show, with the machine and the command."""
    batch, timesteps, features, units = SHAPE
    processor = report.machine["processor"].partition(",")[0].removeprefix("model name ")
    content = {
        "command": f"python -m benchmarks.gallery --threads {report.threads}",
        "machine": f"{report.threads} thread{'s' * (report.threads > 1)} of an {processor}",
        "shape": f"{batch} sequences of {timesteps} timesteps, {features} features, {units} units",
        "lag_steps": budget.steps,
        "most_lag": budget.longest,
        "cells": figures,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)


def main() -> int:
    parser = _report.options(__doc__)
    parser.add_argument("--cells", nargs="+", choices=cells.names(), default=cells.names(), metavar="NAME")
    parser.add_argument("--page", type=Path, help="a file for the figures that the documents show")
    chosen = parser.parse_args()
    budget = Budget(
        seconds=3600.0,
        steps=30 if chosen.quick else 400,
        longest=16 if chosen.quick else 256,
        learning_rates=(1e-2, 3e-3),
        threads=1,
    )
    report = _report.begin("gallery", chosen)
    figures = {}
    for name in chosen.cells:
        figures[name] = measure(
            cells.by_name(name), chosen.threads, seconds=0.2 if chosen.quick else 1.5, budget=budget
        )
        print(f"{name:20}", "  ".join(f"{key} {value:g}" for key, value in figures[name].items()), flush=True)
        if chosen.page:
            write_page(chosen.page, figures, report, budget)
    report.results.append({"title": "the built-in cells", "cells": figures})
    report.check_load()
    report.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
