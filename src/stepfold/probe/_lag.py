"""Learnt memory: the longest lag at which a cell learns to solve a task within a budget."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from .._cell import Cell
from ..tasks import Task
from ._adam import Adam
from ._budget import Budget
from ._network import Network, Weights

CHECK = 50
"""Training steps between two looks at the score."""
EXAMPLES = 512
"""Fresh sequences that decide whether a task is solved."""


class _Clock:
    """Counts seconds of the wall clock or of the processor, whichever are fewer, from when it was made.

    Other programs on the same machine then cost a cell none of its budget.
    """

    def __init__(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    @property
    def seconds(self) -> float:
        """The seconds so far."""
        wall, processor = self._began
        return min(time.perf_counter() - wall, time.process_time() - processor)


@dataclass(frozen=True)
class Attempt:
    """One training: at a lag, with a learning rate.

    Attributes:
        lag, learning_rate: with which.
        solved: whether the task was solved on fresh examples.
        score: share of right answers (or mean squared error) on fresh examples.
        steps, seconds: of the training.
        stopped_by: "solved", "steps", "seconds", or "diverged" (gradients infinite or NaN).
    """

    lag: int
    learning_rate: float
    solved: bool
    score: float
    steps: int
    seconds: float
    stopped_by: str


@dataclass(frozen=True, eq=False)
class LagResult:
    """The longest lag solved, and how it was found.

    Attributes:
        cell, task: their names.
        lag: the longest lag solved, in timesteps; 0 if not even the shortest was.
        limit: the longest lag that was tried: if it equals `lag`, the budget's longest lag was reached, or
            its seconds were over.
        attempts: every training, in order.
        params: the cell's parameters after the longest lag solved (the initial ones if there is none).
    """

    cell: str
    task: str
    lag: int
    limit: int
    attempts: tuple[Attempt, ...]
    params: Weights = field(repr=False)


def longest_lag(
    cell: Cell,
    task: Task,
    *,
    units: int = 32,
    seed: int = 0,
    budget: Budget | None = None,
    progress: Callable[[Attempt], object] | None = None,
) -> LagResult:
    """Return the longest lag at which the cell solves the task within the budget.

    The lag is doubled as long as it is solved. Each training begins with new weights (`cell.init`), with
    `budget.curriculum` with those that solved the lag before; it ends as soon as the task is solved on 512
    fresh sequences, judged as the task says. Lags that the task cannot have (`task.shortest`) are left out.
    `progress` is called after each training. ValueError if there is no lag to try."""
    budget = budget or Budget()
    lags = [lag for lag in budget.lags() if lag >= task.shortest]
    if not lags:
        raise ValueError(
            f"{task.name} needs a lag of at least {task.shortest}, the budget's longest is {budget.longest}"
        )
    network = Network(cell, task, budget.threads)
    weights = final = network.init(units, seed)
    # kernels are compiled before the clock runs
    network.gradients(*task(lags[0], budget.batch, seed), weights)
    clock = _Clock()
    ends = budget.seconds
    rates, solved = list(budget.learning_rates), 0
    attempts: list[Attempt] = []
    for lag in lags:
        for tried, rate in enumerate(rates):
            now = clock.seconds
            if attempts and now >= ends:
                break
            trained = {name: value.copy() for name, value in weights.items()}
            # half of what is left, so that the other rates can be tried; the last one may use it all
            until = ends if tried == len(rates) - 1 else (now + ends) / 2
            random = np.random.default_rng((seed, lag, tried))
            attempt = _train(network, trained, lag, rate, budget, clock, until, random)
            attempts.append(attempt)
            if progress is not None:
                progress(attempt)
            if attempt.solved:
                final, solved = trained, lag
                if budget.curriculum:
                    weights = trained
                rates.insert(0, rates.pop(tried))
                break
        if solved != lag:
            break
    return LagResult(cell.name, task.name, solved, attempts[-1].lag, tuple(attempts), network.of_cell(final))


def _train(
    network: Network,
    weights: Weights,
    lag: int,
    rate: float,
    budget: Budget,
    clock: _Clock,
    until: float,
    random: np.random.Generator,
) -> Attempt:
    """Train the weights in place, and judge them."""
    task, began = network.task, clock.seconds
    adam, scores, skipped = Adam(weights, rate), [], 0
    stopped_by, judged = "steps", None
    for step in range(1, budget.steps + 1):
        inputs, targets = task(lag, budget.batch, random)
        predicted, gradients = network.gradients(inputs, targets, weights)
        scores.append(task.score(predicted, targets))
        skipped = 0 if adam.update(gradients) else skipped + 1
        if step % CHECK == 0 and task.solved(float(np.mean(scores[-CHECK:]))):
            judged = _judge(network, weights, lag, random)
            if task.solved(judged):
                stopped_by = "solved"
                break
        if skipped >= CHECK:
            stopped_by = "diverged"
            break
        if clock.seconds >= until:
            stopped_by = "seconds"
            break
    score = judged if judged is not None and stopped_by == "solved" else _judge(network, weights, lag, random)
    return Attempt(lag, rate, task.solved(score), score, step, clock.seconds - began, stopped_by)


def _judge(network: Network, weights: Weights, lag: int, random: np.random.Generator) -> float:
    """The score on fresh examples."""
    inputs, targets = network.task(lag, EXAMPLES, random)
    return network.task.score(network.predict(inputs, weights), targets)
