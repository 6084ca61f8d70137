"""Prediction, every timestep's output: beside torch.nn, a JAX scan, ONNX Runtime and OpenVINO.

Run it as `python -m benchmarks.inference [--quick] [--cells lstm gru …] [--shapes 1,500,32,32 …]`.

ONNX Runtime and OpenVINO get a time-major input, as their operators expect.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from stepfold import cells

from . import _report
from ._harness import check, geometric_mean, time_alternating
from ._problems import SHAPES, operations, problem, read_shape

TOLERANCE = 2e-5
CELLS = ("lstm", "gru", "simple_rnn")
SINGLE = ((1, 500, 32, 32), (1, 500, 128, 128), (1, 100, 512, 512))


def main(arguments: Sequence[str]) -> None:
    parser = _report.options(__doc__)
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=CELLS)
    parser.add_argument(
        "--shapes", nargs="+", type=read_shape, default=None, metavar="BATCH,TIME,FEATURES,UNITS"
    )
    chosen = parser.parse_args(arguments)
    report = _report.begin("inference", chosen)
    from . import _ours, _peers_jax, _peers_onnx, _peers_torch

    _peers_torch.set_threads(chosen.threads)
    every = SHAPES + SINGLE
    shapes = tuple(chosen.shapes or ((every[0], every[2], every[7]) if chosen.quick else every))
    for name in chosen.cells:
        best = {}
        for shape in shapes:
            p = problem(cells.by_name(name), shape)
            sides = [
                _ours.ours(p, chosen.threads, training=False),
                _peers_torch.layer_side(p, training=False),
                _peers_jax.scan_side(p, training=False),
                _peers_onnx.onnxruntime_side(p, chosen.threads),
                _peers_onnx.openvino_side(p, chosen.threads),
            ]
            differences = check(sides, TOLERANCE)
            times = time_alternating(sides, seconds=0.7 if chosen.quick else 4, min_rounds=3)
            work = operations(p.cell, shape, training=False)
            ratios = report.compared(
                f"{name} {shape}", times, operations=work, differences=differences, cell=name, shape=shape
            )
            best[shape] = min(ratios.values())
        if shapes == every:
            report.bar(f"{name}: best peer ÷ ours, mean", geometric_mean(list(best.values())), 1.3)
            report.bar(f"{name}: best peer ÷ ours, {SHAPES[0]}", best[SHAPES[0]], 2)
            report.bar(f"{name}: best peer ÷ ours, least", min(best.values()), 0.9)
    report.end()


if __name__ == "__main__":
    main(sys.argv[1:])
