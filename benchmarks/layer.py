"""One training step of a layer, forward and backward: beside torch.nn or a PyTorch loop, and a JAX scan.

Run it as `python -m benchmarks.layer [--quick] [--cells lstm gru …] [--shapes 32,500,32,32 …] [--compile]`.

Every output has a gradient; those of the inputs and of all weights are computed, and compared before anything
is timed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from stepfold import cells

from . import _report
from ._harness import check, geometric_mean, time_alternating
from ._problems import SHAPES, operations, problem, read_shape

TOLERANCE = 2e-4  # float32 sums of up to 128 × 500 terms in another order, relative to the greatest
DROPOUT = 0.25
CELLS = ("lstm", "gru", "simple_rnn", "layer_norm_lstm", "peephole_lstm", "carry_lstm", "lstm+dropout")
_LOOPS = ((8, 60, 3), (4, 2))
BARS = {
    "lstm": ((1.7, 3.5, 1.15), (1.6, 1.15)),
    "gru": ((4.5, 20, 1.6), (2.6, 1.5)),
    "simple_rnn": ((3.8, 25, 1.4), (2.1, 1.2)),
    **dict.fromkeys(CELLS[3:], _LOOPS),
}
"""For each cell: against torch the mean of the shapes, at the first shape, at the worst; against the faster
of torch and JAX the mean and the worst."""


def main(arguments: Sequence[str]) -> None:
    parser = _report.options(__doc__)
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=None)
    parser.add_argument(
        "--shapes", nargs="+", type=read_shape, default=None, metavar="BATCH,TIME,FEATURES,UNITS"
    )
    parser.add_argument(
        "--compile", action="store_true", help="torch.compile of the loop's step too (10 to 25 s each)"
    )
    parser.add_argument("--seconds", type=float, default=None, help="about so long for a comparison")
    chosen = parser.parse_args(arguments)
    report = _report.begin("layer", chosen)
    from . import _ours, _peers_jax, _peers_torch

    _peers_torch.set_threads(chosen.threads)
    names = chosen.cells or (CELLS[:4] if chosen.quick else CELLS)
    shapes = chosen.shapes or ((SHAPES[0], SHAPES[2]) if chosen.quick else SHAPES)
    for name in names:
        base, _, dropout = name.partition("+")
        cell = cells.by_name(base)
        torch_ratios, best_ratios = [], []
        for each in shapes:
            p = problem(cell, each, dropout=DROPOUT if dropout else 0.0)
            sides = [_ours.ours(p, chosen.threads, training=True)]
            if _peers_torch.has_layer(name):
                sides.append(_peers_torch.layer_side(p, training=True))
            else:
                sides.append(_peers_torch.loop_side(p, training=True))
            if chosen.compile:
                sides.append(_peers_torch.loop_side(p, training=True, compiled=True))
            sides.append(_peers_jax.scan_side(p, training=True))
            differences = check(sides, TOLERANCE)
            times = time_alternating(
                sides, seconds=chosen.seconds or (1.5 if chosen.quick else 5), min_rounds=3
            )
            work = operations(cell, each, training=True)
            ratios = report.compared(
                f"{name} {each}",
                times,
                operations=work,
                differences=differences,
                cell=name,
                shape=each,
                threads=chosen.threads,
            )
            torch_ratios.append(min(ratio for peer, ratio in ratios.items() if peer.startswith("torch")))
            best_ratios.append(min(ratios.values()))
        if tuple(shapes) == SHAPES:
            (mean, at_first, least), (best_mean, best_least) = BARS[name]
            report.bar(f"{name}: torch ÷ ours, mean", geometric_mean(torch_ratios), mean)
            report.bar(f"{name}: torch ÷ ours, {SHAPES[0]}", torch_ratios[0], at_first)
            report.bar(f"{name}: torch ÷ ours, least", min(torch_ratios), least)
            report.bar(
                f"{name}: faster of torch and jax ÷ ours, mean", geometric_mean(best_ratios), best_mean
            )
            report.bar(f"{name}: faster of torch and jax ÷ ours, least", min(best_ratios), best_least)
    report.end()


if __name__ == "__main__":
    main(sys.argv[1:])
