"""What a task is: a generator of examples, the form of its answers, and when it counts as solved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

Examples = tuple[NDArray[np.float32], NDArray[Any]]
if TYPE_CHECKING:  # numpy.random takes a while to import
    Generate = Callable[[int, int, np.random.Generator], Examples]
"""From a lag, a number of sequences and a random generator to inputs and targets."""


@dataclass(frozen=True)
class Task:
    """A task whose answer depends on an input at least `lag` timesteps before it.

    Call it with a lag, a number of sequences and a seed to get examples.

    Attributes:
        name: what `by_name` finds it by.
        features: the last axis of the inputs.
        answers: an answer is due after each of the last so many timesteps.
        classes: how many classes an answer has; 0 if the answer is a number.
        solved_at: the task is solved if the share of right answers is at least this; if the answer is a
            number, if the mean squared error is at most this.
        guess: that share, or that error, of the best answers that do not look at the inputs.
        shortest: the shortest lag that it can have.
        about: what is in the inputs, what the answers are, and the paper.
    """

    name: str
    features: int
    answers: int
    classes: int
    solved_at: float
    guess: float
    shortest: int
    about: str
    generate: Generate

    def __call__(self, lag: int, batch: int, seed: int | np.random.Generator = 0) -> Examples:
        """Return examples: inputs (batch, time, features) float32, and targets.

        Targets are (batch, answers), int32 if the answers are classes, else float32. The same seed gives the
        same examples; a NumPy generator gives others at every call. ValueError for a lag or a batch that is
        too small or no integer."""
        for name, value, least in (("lag", lag, self.shortest), ("batch", batch, 1)):
            if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < least:
                raise ValueError(f"{self.name}: {name} must be an integer of at least {least}, not {value!r}")
        return self.generate(int(lag), int(batch), np.random.default_rng(seed))

    @property
    def outputs(self) -> int:
        """The number of values that a network computes for one answer."""
        return self.classes or 1

    def score(self, predicted: Any, targets: Any) -> float:
        """Return the share of right answers, or the mean squared error if the answers are numbers.

        `predicted` (batch, answers, outputs): a value for each class, of which the largest is the answer; or
        the number. ValueError for arrays of other shapes."""
        values, right = np.asarray(predicted), np.asarray(targets)
        if right.shape[1:] != (self.answers,) or values.shape != (*right.shape, self.outputs):
            raise ValueError(
                f"{self.name}: predicted has shape {values.shape} and targets has shape {right.shape}, "
                f"expected (batch, {self.answers}, {self.outputs}) and (batch, {self.answers})"
            )
        if self.classes:
            return float(np.mean(values.argmax(-1) == right))
        return float(np.mean(np.square(values[..., 0] - right, dtype=np.float64)))

    def solved(self, score: float) -> bool:
        """Say whether a score is good enough."""
        return score >= self.solved_at if self.classes else score <= self.solved_at
