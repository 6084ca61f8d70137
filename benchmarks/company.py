"""A PyTorch training step among the other work of a program: other operations, a data loader; and from NumPy.

Run it as `python -m benchmarks.company [--quick] [--parts alone program loader] [--cells lstm gru …]`.

`alone` is the layer's training step and nothing else, beside the same kernels called from NumPy; `program` is
the layer's share of a step of Embedding → layer → Linear → loss → Adam, whose other operations keep PyTorch's
threads awake; `loader` is the same program, fed by a `DataLoader` with two worker processes. The settings are
the default ones: no affinity, no environment variable. Steps follow one another without a pause, as in
training. Outputs and gradients are compared first.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from stepfold import cells

from . import _report
from ._company_program import NUMPY, WORKERS, Step, Tagger, alone, batches, from_numpy, layers
from ._harness import Side, Times, check, geometric_mean
from ._problems import SHAPES, Problem, Shape, problem, read_shape

TOLERANCE = 2e-4  # float32 sums of up to 128 × 500 terms in another order, relative to the greatest
CELLS = ("lstm", "gru", "simple_rnn", "layer_norm_lstm")
PARTS = ("alone", "program", "loader")
MEAN_BARS = {"lstm": 1.4, "gru": 3.0, "simple_rnn": 2.7, "layer_norm_lstm": 6.0}
LEAST_BARS = {"lstm": 1.05}
NUMPY_BAR, NUMPY_UNITS = 1.15, 128
"""Ours under PyTorch ÷ the same kernels from NumPy, at most, from so many units on."""
_PAUSE = 0.01  # in which the idle threads of the previous side stop spinning
_TURN = 0.1  # seconds of one side's steps in a row, and at least `_STEPS` of them
_STEPS = 3


class Found(NamedTuple):
    """What the steps of one side took: in the layer, and as a whole; and the executor."""

    layer: Times
    whole: Times
    executor: str


class Ratios(NamedTuple):
    """The ratios of one cell over the shapes: PyTorch's layer ÷ ours, and ours under PyTorch ÷ from NumPy."""

    torch: list[float]
    numpy: list[float]


def timed(sides: Sequence[Side], budget: float) -> dict[str, Found]:
    """Time the sides A B A B … for about `budget` seconds, in three rounds at least.

    A turn is a pause, one step that is not counted, and then steps without a pause between them.
    """
    found: dict[str, list[tuple[float, float]]] = {side.name: [] for side in sides}
    executors = dict.fromkeys(found, "")
    rounds, first = 0, time.perf_counter()
    while rounds < 3 or time.perf_counter() - first < budget:
        for side in sides if rounds % 2 == 0 else sides[::-1]:
            time.sleep(_PAUSE)
            side.run()
            start, steps = time.perf_counter(), 0
            while steps < _STEPS or time.perf_counter() - start < _TURN:
                before = time.perf_counter()
                step: Step = side.run()
                found[side.name].append((step.layer_seconds, time.perf_counter() - before))
                executors[side.name] = step.executor
                steps += 1
        rounds += 1
    return {
        name: Found(
            Times(tuple(layer for layer, _ in pairs)),
            Times(tuple(whole for _, whole in pairs)),
            executors[name],
        )
        for name, pairs in found.items()
    }


def sides_of(part: str, p: Problem, threads: int) -> list[Side]:
    """Return the sides of one part, which compute the same: ours, PyTorch's, in `alone` also from NumPy."""
    runs: dict[str, Callable[[], Step]] = {}
    for layer in layers(p):
        if part == "alone":
            runs[layer.name] = alone(layer, p)
        else:
            fed = batches(p.shape, WORKERS if part == "loader" else 0)
            runs[layer.name] = Tagger(layer, p.shape, fed).step
    if part == "alone":
        runs[NUMPY] = from_numpy(p, threads)
    return [_side(name, run) for name, run in runs.items()]


def _side(name: str, run: Callable[[], Step]) -> Side:
    return Side(name, run, lambda step: step.arrays())


def compare(report: _report.Report, part: str, cell: str, shape: Shape, budget: float) -> tuple[float, float]:
    """Compare one part for one cell and shape; returns PyTorch ÷ ours, and ours ÷ from NumPy or nan."""
    p = problem(cells.by_name(cell), shape)
    sides = sides_of(part, p, report.threads)
    differences = check(sides, TOLERANCE)
    if part == "program":  # of other inputs, but the time does not depend on them
        sides.append(_side(NUMPY, from_numpy(p, report.threads)))
    found = timed(sides, budget)
    columns = {"executor": {name: each.executor for name, each in found.items()}}
    if part != "alone":
        columns["program ms"] = {
            name: f"{1e3 * each.whole.median:.4g}" for name, each in found.items() if name != NUMPY
        }
    ratios = report.compared(
        f"{cell} {shape}, {part}",
        {name: each.layer for name, each in found.items()},
        differences=differences,
        columns=columns,
        children=[child.pid for child in multiprocessing.active_children() if child.pid],
        cell=cell,
        shape=shape,
        part=part,
        program_seconds={name: each.whole.median for name, each in found.items() if name != NUMPY},
    )
    (torch_ratio,) = (ratio for name, ratio in ratios.items() if name != NUMPY)
    return torch_ratio, 1 / ratios.get(NUMPY, float("nan"))


def summary(report: _report.Report, part: str, shapes: Sequence[Shape], results: dict[str, Ratios]) -> None:
    """Print the ratios of every cell, and set the bars if all shapes were measured."""
    names = list(results)
    rows = [
        [name, f"{geometric_mean(ratios.torch):.2f}", f"{min(ratios.torch):.2f}"]
        for name, ratios in results.items()
    ]
    print(
        f"\n{part}, {len(shapes)} shapes\n" + _report.table(["PyTorch ÷ ours", "mean", "least"], rows),
        flush=True,
    )
    if part != "loader":
        rows = [
            [str(shape), *(f"{results[name].numpy[n]:.2f}" for name in names)]
            for n, shape in enumerate(shapes)
        ]
        print("\n" + _report.table(["ours ÷ ours from NumPy", *names], rows), flush=True)
    if tuple(shapes) != SHAPES or part == "loader":
        return
    for name, ratios in results.items():
        report.bar(f"{name}, {part}: PyTorch ÷ ours, mean", geometric_mean(ratios.torch), MEAN_BARS[name])
        if name in LEAST_BARS:
            report.bar(f"{name}, {part}: PyTorch ÷ ours, least", min(ratios.torch), LEAST_BARS[name])
        if part == "alone":
            large = max(r for r, shape in zip(ratios.numpy, shapes, strict=True) if shape[3] >= NUMPY_UNITS)
            what = f"{name}: ours under PyTorch ÷ from NumPy, from {NUMPY_UNITS} units on"
            report.bar(what, large, NUMPY_BAR, at_most=True)


def main(arguments: Sequence[str]) -> None:
    parser = _report.options(__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=None)
    parser.add_argument(
        "--shapes", nargs="+", type=read_shape, default=None, metavar="BATCH,TIME,FEATURES,UNITS"
    )
    parser.add_argument("--seconds", type=float, default=None, help="about so long for a comparison")
    chosen = parser.parse_args(arguments)
    report = _report.begin("company", chosen, limit=False)
    torch.set_num_threads(chosen.threads)
    shapes = chosen.shapes or ((SHAPES[0], SHAPES[2]) if chosen.quick else SHAPES)
    budget = chosen.seconds if chosen.seconds is not None else 0.7 if chosen.quick else 3.0
    for part in chosen.parts:
        results: dict[str, Ratios] = {}
        for cell in chosen.cells or (CELLS[:1] if chosen.quick else CELLS):
            pairs = []
            for shape in shapes:
                pairs.append(compare(report, part, cell, shape, budget))
                report.restart_load()  # the loaders' processes ended with their sides
            torch_ratios, numpy = ([pair[n] for pair in pairs] for n in (0, 1))
            results[cell] = Ratios(torch_ratios, numpy)
        summary(report, part, shapes, results)
    report.end()


if __name__ == "__main__":
    main(sys.argv[1:])
