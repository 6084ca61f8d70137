"""The tutorial's whole program on the real reviews: stepfold in Keras beside Keras's own layers and a torch
loop.

Run it as `python -m benchmarks.program [--quick] [--cells lstm gru …] [--contestants "stepfold on jax" …]`.

Embedding(10000, 32) → cell(32) → Dense(1), RMSprop, batches of 32, 500 timesteps; with padding as input (the
literal tutorial) and masked. Every contestant has a process of its own; they train in turn, while the others
wait.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from . import _report
from ._harness import Side, Times, check
from ._program_task import EPOCH, Task, prepare

TOLERANCE = 1e-3  # gradients taken from the difference of weights, sums over 32 × 500 timesteps
CELLS = ("lstm", "gru", "simple_rnn", "layer_norm_lstm")
CONTESTANTS = {
    _report.OURS: ("jax", "stepfold"),
    "keras on jax": ("jax", "keras"),
    "keras on tensorflow": ("tensorflow", "keras"),
    "keras on torch": ("torch", "keras"),
    "torch loop": ("torch loop", "torch"),
}
BARS = {
    "lstm": {"keras on jax": 8, "keras on torch": 80, "torch loop": 6},
    "gru": {"keras on jax": 9, "keras on torch": 60, "torch loop": 25},
    "simple_rnn": {"keras on jax": 5, "keras on torch": 60, "torch loop": 15},
    "layer_norm_lstm": {"keras on jax": 15, "keras on torch": 80, "torch loop": 60},
}


class Worker:
    """A contestant in its own process."""

    def __init__(self, task: Task) -> None:
        self.task = task
        command = [sys.executable, "-m", "benchmarks._program_worker", json.dumps(asdict(task))]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    @property
    def process_id(self) -> int:
        """The id of the process."""
        return self._process.pid

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if error is not None:
            self._process.terminate()
        self._process.__exit__(kind, error, at)  # closes the pipes, which ends the worker, and waits for it

    def ask(self, line: str) -> str:
        """Send a line and return the answer; RuntimeError if the process has ended instead."""
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("the worker was started without pipes")
        stdin.write(line + "\n")
        stdin.flush()
        answer = stdout.readline()
        if not answer:
            raise RuntimeError(
                f"the contestant {self.task.contestant!r} ended with status {self._process.wait()}"
            )
        return answer.strip()

    def side(self) -> Side:
        """Return the side that `check` compares."""
        return Side(self.task.contestant, lambda: self.ask("check"), lambda path: dict(np.load(path)))

    def seconds(self, steps: int) -> float:
        """Train `steps` steps; returns the seconds per step."""
        return float(self.ask(f"train {steps}")) / steps


def timed(workers: Sequence[Worker], *, max_steps: int, rounds: int, turn: float) -> dict[str, Times]:
    """Train in turn, about `turn` seconds a turn (at most `max_steps` steps); the first turns warm up."""
    steps = {}
    for worker in workers:
        worker.seconds(2)
        steps[worker] = max(2, min(max_steps, int(turn / worker.seconds(2))))
        worker.seconds(steps[worker])
    found: dict[str, list[float]] = {worker.task.contestant: [] for worker in workers}
    for n in range(rounds):
        for worker in workers if n % 2 == 0 else workers[::-1]:
            found[worker.task.contestant].append(worker.seconds(steps[worker]))
    return {name: Times(tuple(seconds)) for name, seconds in found.items()}


def compare(
    report: _report.Report, cell: str, mask: bool, names: Sequence[str], folder: str, max_steps: int
) -> None:
    """Run one cell's contest."""
    with contextlib.ExitStack() as stack:
        tasks = [Task(name, *CONTESTANTS[name], cell, mask, folder, report.threads) for name in names]
        workers = [stack.enter_context(Worker(task)) for task in tasks]
        differences = check([worker.side() for worker in workers], TOLERANCE)
        rounds, turn = (3, 0.4) if report.quick else (7, 2.0)
        times = timed(workers, max_steps=max_steps, rounds=rounds, turn=turn)
        masked = "masked" if mask else "padding is input"
        ratios = report.compared(
            f"{cell}, {masked}, a training step",
            times,
            differences=differences,
            children=[worker.process_id for worker in workers],
            cell=cell,
            mask=mask,
        )
    report.restart_load()
    epochs = {name: f"{EPOCH * t.median:.1f} s" for name, t in times.items()}
    print("an epoch of 20,000 reviews: " + ", ".join(f"{name} {seconds}" for name, seconds in epochs.items()))
    for peer, wanted in BARS[cell].items():
        if peer in ratios:
            report.bar(f"{cell}, {masked}: {peer} ÷ ours", ratios[peer], wanted)
    if cell == "lstm" and mask and _report.OURS in times:
        report.bar("lstm, masked: an epoch", EPOCH * times[_report.OURS].median, 3, at_most=True, unit="s")


def main(arguments: Sequence[str]) -> None:
    parser = _report.options(__doc__)
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=None)
    parser.add_argument("--contestants", nargs="+", choices=CONTESTANTS, default=None)
    chosen = parser.parse_args(arguments)
    report = _report.begin("program", chosen)
    names: list[Any] = chosen.contestants or list(CONTESTANTS)
    if importlib.util.find_spec("tensorflow") is None and "keras on tensorflow" in names:
        print("\nTensorFlow is not installed: Keras on TensorFlow does not take part")
        names.remove("keras on tensorflow")
    max_steps = 20 if report.quick else 200
    with tempfile.TemporaryDirectory() as folder:
        share = prepare(Path(folder), max_steps)
        print(f"\n{share:.0%} of the 500 timesteps of a review are words, the others padding")
        for cell in chosen.cells or (CELLS[:1] if report.quick else CELLS):
            for mask in (False,) if report.quick else (False, True):
                compare(report, cell, mask, names, folder, max_steps)
    report.end()


if __name__ == "__main__":
    main(sys.argv[1:])
