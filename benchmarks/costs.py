"""The costs besides a step's time: importing, compiling, memory, long sequences, threads, padding.

Run it as `python -m benchmarks.costs [--quick] [--only import compile memory length checkpoints threads
padding]`.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from stepfold import cells

from . import _report
from ._harness import Side, check, time_alternating
from ._ours import training_step
from ._problems import SHAPES, Shape, problem

TOLERANCE = 2e-4


def probe(*arguments: object, cache: str | None = None) -> float:
    """Measure in a fresh process; `cache` is the folder of its cache."""
    environment = {
        **os.environ,
        "MALLOC_MMAP_THRESHOLD_": "65536",
    }  # freed arrays return to the system at once
    if cache is not None:
        environment["XDG_CACHE_HOME"] = cache
    command = [sys.executable, "-m", "benchmarks._cost_probes", *map(str, arguments)]
    return float(
        subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
    )


def importing(report: _report.Report) -> None:
    probe("import")
    found = statistics.median(probe("import") for _ in range(3 if report.quick else 9))
    report.bar("importing the core", 1e3 * found, 150, at_most=True, unit="ms")


def compiling(report: _report.Report) -> None:
    """Time the first call with an empty cache and with a filled one.

    Training compiles two kernels, forward and backward: its bar is twice that of one kernel.
    """
    for cell in ("lstm",) if report.quick else ("lstm", "gru", "simple_rnn", "layer_norm_lstm"):
        for what, kernels in (("inference", 1), ("training", 2)):
            cold, cached = [], []
            for _ in range(2 if report.quick else 5):
                with tempfile.TemporaryDirectory() as cache:
                    cold.append(probe("first-call", cell, what, cache=cache))
                    cached.append(probe("first-call", cell, what, cache=cache))
            title = f"{cell}, {what}: {kernels} kernel{'s' * (kernels > 1)}"
            report.bar(
                f"{title} compiled cold",
                1e3 * statistics.median(cold),
                100 * kernels,
                at_most=True,
                unit="ms",
            )
            report.bar(
                f"{title} cached", 1e3 * statistics.median(cached), 10 * kernels, at_most=True, unit="ms"
            )


def memory(report: _report.Report) -> None:
    for shape in SHAPES[:1] if report.quick else SHAPES:
        ours, theirs = (probe("memory", side, "lstm", *shape) for side in (_report.OURS, "torch"))
        text = f"lstm {shape}: peak memory of a training step (torch nn {theirs / 2**20:.0f} MiB)"
        report.bar(text, ours / 2**20, theirs / 2**20, at_most=True, unit="MiB")


def length(report: _report.Report) -> None:
    """Time per timestep at growing lengths, one sequence."""
    lengths = (1_000, 10_000, 100_000) if report.quick else (1_000, 10_000, 100_000, 1_000_000)
    per_timestep = {}
    for n in lengths:
        run = training_step(problem(cells.lstm, (1, n, 32, 32)), 1)
        times = time_alternating([Side(str(n), run, _arrays)], seconds=0.5, min_rounds=2, max_rounds=20)[
            str(n)
        ]
        per_timestep[n] = times.minimum / n
        print(
            f"lstm, batch 1, {n:>9,} timesteps, forward and backward: "
            f"{1e9 * per_timestep[n]:.0f} ns per timestep"
        )
    # the shortest one consists mostly of the cost of a call
    worst = max(per_timestep[n] for n in lengths[1:]) / per_timestep[lengths[1]]
    text = f"time per timestep, {lengths[1]:,} to {lengths[-1]:,}: worst ÷ first"
    report.bar(text, worst, 1.3, at_most=True)


def checkpoints(report: _report.Report) -> None:
    """Time and memory of a training step that saves one state of every √time timesteps."""
    shape = (1, 100_000, 32, 32) if report.quick else (1, 1_000_000, 32, 32)
    p = problem(cells.lstm, shape)
    sides = [
        Side("checkpoints", training_step(p, 1, checkpoint=True), _arrays),
        Side("all residuals", training_step(p, 1), _arrays),
    ]
    check(sides, TOLERANCE)
    report.bar(
        f"lstm {shape}: time with checkpoints ÷ without", _ratio(sides, report.quick), 1.4, at_most=True
    )
    given = 4 * sum(value.size for value in sides[0].run()[:2])  # the output and the gradient of the inputs
    full, checkpointed = (
        probe("memory", side, "lstm", *shape) - given for side in (_report.OURS, "checkpoints")
    )
    text = f"lstm {shape}: memory for the backward pass with checkpoints ÷ without"
    report.bar(text, checkpointed / full, 20 / shape[1] ** 0.5, at_most=True)


def threads(report: _report.Report) -> None:
    chosen = SHAPES[1:3] if report.quick else SHAPES[1:]
    for cell in ("lstm",) if report.quick else ("lstm", "gru", "simple_rnn", "layer_norm_lstm"):
        for shape in chosen:
            p = problem(cells.by_name(cell), shape)
            sides = [
                Side("one thread", training_step(p, 1), _arrays),
                Side("two threads", training_step(p, 2), _arrays),
            ]
            check(sides, TOLERANCE)
            ratio = _ratio(sides, report.quick)
            report.bar(f"{cell} {shape}: one thread ÷ two", ratio, 1.8)


def padding(report: _report.Report) -> None:
    """Time with the lengths of real reviews beside all steps active."""
    for cell in ("lstm",) if report.quick else ("lstm", "gru", "simple_rnn", "layer_norm_lstm"):
        for shape in SHAPES[:1] if report.quick else SHAPES:
            p = problem(cells.by_name(cell), shape)
            lengths = _review_lengths(shape)
            share = float(lengths.mean() / shape[1])
            sides = [
                Side("all", training_step(p, 2), _arrays),
                Side("active", training_step(p, 2, lengths=lengths), _arrays),
            ]
            text = f"{cell} {shape}: time with {share:.0%} of the steps active ÷ full time"
            report.bar(text, 1 / _ratio(sides, report.quick), 1.1 * share + 0.05, at_most=True)


def _review_lengths(shape: Shape) -> Any:
    """Lengths spread like those of the reviews among 500: a fifth of full length, the others log-normal."""
    batch, time = shape[:2]
    drawn = np.exp(np.random.default_rng(11).normal(5.25, 0.65, batch)) / 500
    return np.clip(np.round(drawn * time), 1, time).astype(np.int64)


def _arrays(result: Any) -> dict[str, Any]:
    output, input_gradient, param_gradients = result
    return {"output": output, "inputs": input_gradient, **param_gradients}


def _ratio(sides: list[Side], quick: bool) -> float:
    """The first side's time ÷ the second's."""
    times = time_alternating(sides, seconds=0.6 if quick else 2, min_rounds=5)
    return times[sides[0].name].median / times[sides[1].name].median


QUESTIONS = {
    "import": importing,
    "compile": compiling,
    "memory": memory,
    "length": length,
    "checkpoints": checkpoints,
    "threads": threads,
    "padding": padding,
}


def main(arguments: Sequence[str]) -> None:
    parser = _report.options(__doc__)
    parser.add_argument("--only", nargs="+", choices=QUESTIONS, default=list(QUESTIONS))
    chosen = parser.parse_args(arguments)
    report = _report.begin("costs", chosen)
    print()
    for name in chosen.only:
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        QUESTIONS[name](report)
        report.check_load()
    report.end()


if __name__ == "__main__":
    main(sys.argv[1:])
