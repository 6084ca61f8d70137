"""Every cell on every task, piece by piece; what is done is saved and not done again."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

import stepfold  # whose cells are traced when asked for

from .. import tasks as known
from .._cell import Cell
from .._defaults import check_one_input
from ..tasks import Task
from ._budget import Budget
from ._flow import ROWS, gradient_flow
from ._lag import Attempt, longest_lag
from ._store import Store


@dataclass(frozen=True)
class Piece:
    """One cell on one task with one seed.

    Attributes:
        cell, task, seed: which.
        lag, limit, attempts: as in `LagResult`.
        initial: gradient flow over the task's inputs at initialisation, at T − t = 0, 1, …
        trained: the same with the parameters after the longest lag solved.
    """

    cell: str
    task: str
    seed: int
    lag: int
    limit: int
    attempts: tuple[Attempt, ...]
    initial: tuple[float, ...]
    trained: tuple[float, ...]


@dataclass(frozen=True)
class ProbeResult:
    """What was found, as plain data: a piece for each cell, task and seed, in this order."""

    pieces: tuple[Piece, ...]

    def of(self, cell: str, task: str) -> list[Piece]:
        """Return the pieces of a cell and a task, one a seed."""
        return [piece for piece in self.pieces if (piece.cell, piece.task) == (cell, task)]

    @property
    def cells(self) -> list[str]:
        """The names of the cells."""
        return list(dict.fromkeys(piece.cell for piece in self.pieces))

    @property
    def tasks(self) -> list[str]:
        """The names of the tasks."""
        return list(dict.fromkeys(piece.task for piece in self.pieces))

    def lag(self, cell: str, task: str) -> int:
        """Return the longest lag solved, the (lower) median over the seeds."""
        return statistics.median_low(piece.lag for piece in self.of(cell, task))

    def limit(self, cell: str, task: str) -> int:
        """Return the longest lag tried by the piece whose lag `lag` returns."""
        found = self.lag(cell, task)
        return max(piece.limit for piece in self.of(cell, task) if piece.lag == found)

    def flow(self, cell: str, task: str, *, trained: bool) -> NDArray[np.float64]:
        """Return the gradient flow (steps,), the geometric mean over the seeds."""
        curves = [piece.trained if trained else piece.initial for piece in self.of(cell, task)]
        with np.errstate(divide="ignore"):  # nothing left is 0
            mean: NDArray[np.float64] = np.exp(np.mean(np.log(curves), 0))
        return mean


def probe(
    cells: Sequence[Cell | str] = ("simple_rnn", "lstm", "gru"),
    tasks: Sequence[Task | str] = ("temporal_order", "adding", "copy"),
    *,
    units: int = 32,
    seeds: Sequence[int] = (0,),
    budget: Budget | None = None,
    steps: int = 200,
    folder: str | PathLike[str] | None = None,
    progress: Callable[[str], object] | None = None,
) -> ProbeResult:
    """Measure what cells remember: the longest lag solved, and gradient flow before and after training.

    `cells` and `tasks` by name, or your own. `steps` timesteps of gradient flow. With a `folder` each piece
    is saved there once it is done, in `probe.jsonl`; a later call with the same cells, units, budget and
    steps continues where this one ended. `progress` is called with a line of text after each training and
    each piece. ValueError for unknown names, or two cells or tasks of one name."""
    chosen = [stepfold.cells.as_cell(cell) for cell in cells]
    for cell in chosen:
        check_one_input(cell)
    todo = [known.by_name(task) if isinstance(task, str) else task for task in tasks]
    for kind, names in (("cells", [cell.name for cell in chosen]), ("tasks", [task.name for task in todo])):
        if not names or len(set(names)) < len(names):
            raise ValueError(f"{kind} must be given, each once; got {', '.join(names) or 'none'}")
    if not seeds:
        raise ValueError("seeds must be given, at least one")
    budget = budget or Budget()
    say = progress or (lambda line: None)
    store = Store(folder)
    found = []
    for cell in chosen:
        for task in todo:
            for seed in seeds:
                key = _key(cell, task, seed, units, budget, steps)
                piece = _read(store.get(key))
                if piece is None:
                    piece = _measure(cell, task, seed, units, budget, steps, say)
                    store.put(key, asdict(piece))
                    say(f"{_name(piece)}: solved up to lag {piece.lag:,}")
                else:
                    say(f"{_name(piece)}: solved up to lag {piece.lag:,} (as saved)")
                found.append(piece)
    return ProbeResult(tuple(found))


def _measure(
    cell: Cell, task: Task, seed: int, units: int, budget: Budget, steps: int, say: Callable[[str], object]
) -> Piece:
    def report(attempt: Attempt) -> None:
        what = "solved" if attempt.solved else f"not solved ({attempt.stopped_by})"
        measure = "accuracy" if task.classes else "squared error"
        say(
            f"  {cell.name}, {task.name}, lag {attempt.lag:,}, rate {attempt.learning_rate:g}: {what}, "
            f"{measure} {attempt.score:.4f}, {attempt.steps:,} steps, {attempt.seconds:.1f} s"
        )

    found = longest_lag(cell, task, units=units, seed=seed, budget=budget, progress=report)
    inputs, _ = task(max(steps, task.shortest), ROWS, seed)  # at least `steps` timesteps
    initial = gradient_flow(cell, units, steps, seed, inputs=inputs)
    trained = gradient_flow(cell, units, steps, seed, found.params, inputs=inputs)
    return Piece(
        cell.name,
        task.name,
        seed,
        found.lag,
        found.limit,
        found.attempts,
        _rounded(initial),
        _rounded(trained),
    )


def _name(piece: Piece) -> str:
    return f"{piece.cell}, {piece.task}, seed {piece.seed}"


def _rounded(flow: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float(f"{value:.5g}") for value in flow)


def _key(cell: Cell, task: Task, seed: int, units: int, budget: Budget, steps: int) -> dict[str, Any]:
    """What a piece depends on, as JSON can hold it."""
    form = [task.name, task.features, task.answers, task.classes, task.solved_at, task.about]
    return {
        "cell": cell.to_json(),
        "task": form,
        "seed": seed,
        "units": units,
        "steps": steps,
        "budget": {**asdict(budget), "learning_rates": list(budget.learning_rates)},
    }


def _read(saved: dict[str, Any] | None) -> Piece | None:
    """A piece as it was saved; None if there is none, or what was saved is no piece."""
    if saved is None:
        return None
    try:
        attempts = tuple(Attempt(**attempt) for attempt in saved["attempts"])
        curves = {name: tuple(map(float, saved[name])) for name in ("initial", "trained")}
        return Piece(**{**saved, "attempts": attempts, **curves})
    except (KeyError, TypeError, ValueError):
        return None
