"""Cells whose state is a matrix: what their kernels reach of what arithmetic or memory allow.

Run it as `python -m benchmarks.matrices [--quick] [--threads 1]`.

A head of 32 or 64 units and keys over 32 sequences of 200 timesteps with 64 features, on one thread. The
bound of a pass is the greater of two times: its arithmetic at the measured peak of multiply-and-add, and its
memory: a forward pass that is to be trained writes the states of every timestep, a backward pass reads them.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import stepfold
from stepfold import cells

from . import _machine, _report
from ._ours import prediction
from ._problems import Shape, operations, problem

CELLS = ("linear_attention", "gated_linear_attention", "delta_net", "gated_delta_net", "mlstm")
HEADS = (32, 64)
BAR = 0.5


def least(calls: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """The least seconds of each call, of so many rounds A B A B …."""
    found = [float("inf")] * len(calls)
    for _ in range(rounds):
        for k, call in enumerate(calls):
            start = time.perf_counter()
            call()
            found[k] = min(found[k], time.perf_counter() - start)
    return found


def memory(size: int, rounds: int) -> tuple[float, float]:
    """Seconds to write so many bytes, to memory that is asked for anew, and to read them."""
    block = np.ones(size // 4, np.float32)
    written, read = least([lambda: np.full(size // 4, 1, np.float32), lambda: np.add.reduce(block)], rounds)
    return written, read


def shares(name: str, head: int, rounds: int, threads: int, peak: float) -> dict[str, tuple[float, float]]:
    """Each pass's seconds and the least that they can be."""
    cell, shape = cells.by_name(name), (32, 200, 64, head)
    p = problem(cell, shape)
    held: list[Any] = []

    def forward() -> None:
        held[:] = [stepfold.record(cell, p.inputs, p.params, return_sequences=True, threads=threads)]

    def backward() -> None:
        held.pop().backward(p.output_gradient)

    found = least([prediction(p, threads), forward, backward], rounds)
    written, read = memory(_saved(cell, shape), rounds)
    inference, training = (operations(cell, shape, training=each) / peak for each in (False, True))
    bounds = (inference, max(inference, written), max(training - inference, read))
    passes = ("inference", "forward, to be trained", "backward")
    return {each: (seconds, bound) for each, seconds, bound in zip(passes, found, bounds, strict=True)}


def _saved(cell: stepfold.Cell, shape: Shape) -> int:
    """The bytes of the states of all timesteps."""
    batch, timesteps, _, head = shape
    rows = sum(head ** len(cell.step.dims_of(state)) for state in cell.states)
    return int(4 * batch * timesteps * rows)


def main() -> int:
    parser = _report.options(__doc__)
    parser.set_defaults(threads=1)
    chosen = parser.parse_args()
    report = _report.begin("matrices", chosen)
    peak = _machine.peak(chosen.threads)
    rows: list[tuple[str, float, float, float]] = []
    for name in CELLS:
        for head in HEADS:
            found = shares(name, head, 5 if chosen.quick else 25, chosen.threads, peak)
            for what, (seconds, bound) in found.items():
                title = f"{name} {head} × {head}, {what}"
                rows.append((title, 1e3 * seconds, 1e3 * bound, bound / seconds))
                print(f"{title:55} {1e3 * seconds:6.1f} ms, bound {1e3 * bound:5.1f} ms", flush=True)
    for what, _, _, share in rows:
        report.bar(what, share, BAR)
    report.results.append({"title": "matrix states", "rows": rows})
    report.check_load()
    report.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
