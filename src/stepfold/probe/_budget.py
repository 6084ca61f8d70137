"""What a cell may use to solve a task."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """What a cell may use.

    Attributes:
        seconds: for one cell on one task with one seed, all lags together; those of the wall clock or of the
            processor, whichever are fewer, so that a busy machine shortens no training.
        steps: training steps for one lag and learning rate.
        shortest, longest: the first lag, which is then doubled, and the last one that is tried.
        batch: sequences a training step.
        learning_rates: those tried at every lag until one solves it; the one that solved the lag before is
            tried first.
        curriculum: each training begins with the weights that solved the lag before, instead of new ones.
        threads: at most so many (as many as the processors that this process may use if None).

    ValueError for a budget with which nothing could be tried.
    """

    seconds: float = 20.0
    steps: int = 1500
    shortest: int = 8
    longest: int = 1024
    batch: int = 64
    learning_rates: tuple[float, ...] = (1e-2, 3e-3, 1e-3)
    curriculum: bool = False
    threads: int | None = None

    def __post_init__(self) -> None:
        for name in ("steps", "shortest", "longest", "batch"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} must be an integer of at least 1, not {value!r}")
        if self.longest < self.shortest:
            raise ValueError(f"longest is {self.longest}, below shortest, {self.shortest}")
        for value in (self.seconds, *self.learning_rates):
            if not 0 < value < float("inf"):
                raise ValueError(f"seconds and learning rates must be above 0 and finite, got {value!r}")
        if not self.learning_rates:
            raise ValueError("learning_rates is empty; give at least one")

    def lags(self) -> list[int]:
        """Return the lags to try, each twice the one before."""
        lags = [self.shortest]
        while lags[-1] * 2 <= self.longest:
            lags.append(lags[-1] * 2)
        return lags
