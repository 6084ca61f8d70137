"""One contestant of `program`, in a process of its own: makes its model, then serves the requests on standard
input.

A line "check" is answered with the path of an .npz of arrays, "train N" with the seconds that N steps took.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from . import _machine
from ._program_task import Task, batches, first_weights

CHECK_RATE = 100.0  # of one step of gradient descent: it changes the weights by this times the gradient


class Contestant(Protocol):
    """The interface of a contestant; weights in the form of `first_weights`."""

    def predict(self, x: Any) -> Any: ...
    def descend(self, x: Any, y: Any, rate: float) -> float: ...
    def weights(self) -> dict[str, Any]: ...
    def reset(self) -> None: ...
    def train(self, x: Any, y: Any) -> None: ...


def check(contestant: Contestant, x: Any, y: Any) -> dict[str, Any]:
    """Return predictions, loss and gradients of one batch with the first weights."""
    before = contestant.weights()
    arrays = {"prediction": np.asarray(contestant.predict(x), np.float32).reshape(-1)}
    arrays["loss"] = np.array([contestant.descend(x, y, CHECK_RATE)], np.float32)
    after = contestant.weights()
    arrays.update({f"gradient of {name}": (before[name] - after[name]) / CHECK_RATE for name in before})
    contestant.reset()
    return arrays


def make(task: Task) -> Contestant:
    """Return the contestant that a task names."""
    if task.framework == "torch loop":
        from ._program_torch import TorchProgram

        return TorchProgram(task, first_weights(task))
    from ._program_keras import KerasProgram

    return KerasProgram(task, first_weights(task))


def serve(task: Task, answer: Callable[[str], None]) -> None:
    """Answer the lines of standard input."""
    _machine.limit_threads(task.threads)
    contestant = make(task)
    x, y = batches(task)
    size = task.batch
    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        if command == "check":
            path = Path(task.folder) / f"{task.contestant.replace(' ', '-')}.npz"
            np.savez(path, **check(contestant, x[:size], y[:size]))
            answer(str(path))
        else:
            steps = int(argument)
            before = time.perf_counter()
            contestant.train(x[: steps * size], y[: steps * size])
            answer(repr(time.perf_counter() - before))


def main() -> None:
    task = Task(**json.loads(sys.argv[1]))
    # What a framework prints goes to standard error: standard output is for the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def answer(text: str) -> None:
        answers.write(text + "\n")
        answers.flush()

    serve(task, answer)


if __name__ == "__main__":
    main()
