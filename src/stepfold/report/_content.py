"""What each report shows, as plain data: no estimator, no framework."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from ._parts import Confusion, Epoch, Mistake, Predictions, Reading

Split = Literal["random", "blocks", "given", "none"]
SPLITS: tuple[Split, ...] = ("random", "blocks", "given", "none")


@dataclass(frozen=True, eq=False, kw_only=True)
class Report:
    """What every report has.

    Args:
        title: what it is about, such as "imdb, lstm".
        seconds: wall-clock seconds of the whole.
        command: a command or code that does the same again.
        configuration: settings; a value may be a mapping in turn.
        equations: a heading and preformatted text for each cell, such as `cell.show("maths")`.
        latex: the same headings and `cell.show("latex")`, drawn above the text.
        versions: names of packages and their versions.
        notes: remarks for the reader, such as warnings of the run.
    """

    title: str
    seconds: float | None = None
    command: str = ""
    configuration: Mapping[str, object] = field(default_factory=dict)
    equations: Mapping[str, str] = field(default_factory=dict)
    latex: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()


@dataclass(frozen=True, eq=False, kw_only=True)
class TrainingReport(Report):
    """One training.

    Args:
        history: an `Epoch` for each epoch, at least one.
        parameters: the number of trained values.
        training_examples: examples that were trained on.
        held_out: examples that were held out for validation.
        split: how they were chosen: "random", "blocks" (of neighbouring examples), "given" (by the caller),
            "none" (trained on everything).
        best_epoch: the epoch whose weights are saved; None: the last one.
        score: accuracy (R² for regression) of the saved model; None: as the history has it.
        examples: what the examples are called, in the plural, such as "reviews".
        confusion, mistakes, predictions: on the held-out examples (the training examples if there are none).
        reading: one sequence, step by step.
    """

    history: Sequence[Epoch]
    parameters: int
    training_examples: int
    held_out: int = 0
    split: Split = "random"
    best_epoch: int | None = None
    score: float | None = None
    examples: str = "examples"
    confusion: Confusion | None = None
    mistakes: Sequence[Mistake] = ()
    predictions: Predictions | None = None
    reading: Reading | None = None

    def __post_init__(self) -> None:
        if not self.history:
            raise ValueError("the history of a training report has no epoch: give one Epoch for each")
        if self.split not in SPLITS:
            raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {self.split!r}")
        if (self.split == "none") != (self.held_out == 0):
            raise ValueError(
                f"split {self.split!r} does not agree with {self.held_out} held-out examples: "
                "'none' goes with 0, the others with at least 1"
            )
        if self.best_epoch is not None and all(e.epoch != self.best_epoch for e in self.history):
            raise ValueError(f"best_epoch is {self.best_epoch}, but the history has no such epoch")

    @property
    def best(self) -> Epoch:
        """The epoch whose weights are saved."""
        return next((e for e in self.history if e.epoch == self.best_epoch), self.history[-1])

    @property
    def chosen(self) -> bool:
        """Whether the held-out examples chose the epoch whose weights are saved, among several."""
        return self.best_epoch is not None and sum(e.val_loss is not None for e in self.history) > 1

    @property
    def measure(self) -> Literal["accuracy", "r2", "mae", "loss"]:
        """The figure that the training is judged by."""
        names: tuple[Literal["accuracy", "r2", "mae"], ...] = ("accuracy", "r2", "mae")
        for name in names:
            if any(getattr(e, part + name) is not None for e in self.history for part in ("", "val_")):
                return name
        return "loss"


@dataclass(frozen=True, eq=False, kw_only=True)
class EvaluationReport(Report):
    """A trained model judged on labelled data.

    Args:
        count: the number of examples.
        accuracy: for classes; r2, mae: for regression.
        data: the name of the data, such as a file's.
        examples: what the examples are called, in the plural.
        confusion, mistakes, predictions, reading: as in `TrainingReport`.
    """

    count: int
    accuracy: float | None = None
    r2: float | None = None
    mae: float | None = None
    data: str = ""
    examples: str = "examples"
    confusion: Confusion | None = None
    mistakes: Sequence[Mistake] = ()
    predictions: Predictions | None = None
    reading: Reading | None = None

    def __post_init__(self) -> None:
        if self.accuracy is None and self.r2 is None and self.mae is None:
            raise ValueError("an evaluation report needs accuracy (classes), or r2 or mae (regression)")


@dataclass(frozen=True, eq=False, kw_only=True)
class ComparisonRow:
    """The runs of one setting, one a seed.

    Args:
        name: the setting, such as "lstm" or "gru, units 64".
        scores: accuracy (R² for regression) on the held-out examples, one a seed.
        seconds_per_epoch: mean over the runs of each one's median.
        parameters: the number of trained values.
        best_epochs: the epoch with the best score, one a seed.
        histories: the epochs of every run.
    """

    name: str
    scores: Sequence[float]
    seconds_per_epoch: float | None = None
    parameters: int | None = None
    best_epochs: Sequence[int] = ()
    histories: Sequence[Sequence[Epoch]] = ()

    def __post_init__(self) -> None:
        if not len(self.scores):
            raise ValueError(f"setting {self.name!r} has no score: leave it out until a run of it is done")


@dataclass(frozen=True, eq=False, kw_only=True)
class ComparisonReport(Report):
    """Several settings, each trained with several seeds.

    Args:
        rows: one for each setting.
        measure: what the scores are.
        data: the name of the data.
        held_out: examples that the scores were measured on, if known; split as in `TrainingReport`.
        planned: the number of runs that were asked for; None: those that are here.
    """

    rows: Sequence[ComparisonRow]
    measure: Literal["accuracy", "r2"] = "accuracy"
    data: str = ""
    held_out: int | None = None
    split: Split = "random"
    planned: int | None = None

    def __post_init__(self) -> None:
        if not self.rows:
            raise ValueError("a comparison report has no row: give one ComparisonRow for each setting")


@dataclass(frozen=True, eq=False, kw_only=True)
class GradientFlow:
    """How much of the gradient is left after travelling back through time.

    Args:
        cell: its name.
        lags: (n,) ascending: T - t, in timesteps.
        initial: (n,) by how much ∂s_T/∂s_t stretches a random vector, in root mean square: its Frobenius norm
            divided by √(elements of s), s being the whole state of the cell; at initialisation.
        trained: (n,) the same after training.
    """

    cell: str
    lags: ArrayLike
    initial: ArrayLike
    trained: ArrayLike | None = None

    def __post_init__(self) -> None:
        shape = np.shape(self.lags)
        for name, array in (("initial", self.initial), ("trained", self.trained)):
            if array is not None and (np.shape(array) != shape or len(shape) != 1 or not shape[0]):
                raise ValueError(
                    f"gradient flow of {self.cell!r}: lags and {name} must both have shape (n,) with n of at "
                    f"least 1, got {shape} and {np.shape(array)}"
                )


@dataclass(frozen=True, kw_only=True)
class LongestLag:
    """The longest lag at which a cell solves a task within the budget.

    Args:
        cell: its name.
        task: its name, such as "adding".
        lag: in timesteps; 0: not even the shortest one tried.
        limit: the longest lag that was tried; None: unknown.
        seeds: the lag of each seed, where there are several and `lag` is their median.
    """

    cell: str
    task: str
    lag: int
    limit: int | None = None
    seeds: Sequence[int] = ()


@dataclass(frozen=True, kw_only=True)
class LagAttempt:
    """One training at one lag.

    Args:
        cell, task, lag: of what.
        solved: whether it was.
        score: on fresh sequences: accuracy, or the mean squared error of a regression.
        steps, seconds: of the training.
        setting: what else it was trained with, such as "seed 0, rate 0.01".
    """

    cell: str
    task: str
    lag: int
    solved: bool
    score: float
    steps: int
    seconds: float
    setting: str = ""


@dataclass(frozen=True, eq=False, kw_only=True)
class MemoryReport(Report):
    """What cells can remember.

    Args:
        flows: gradient flow, one a cell.
        lags: longest lags solved, one for each cell and task.
        budget: what a cell may use, in words, such as "2,000 batches of 64 sequences for each lag".
        trained_on: the task that the trained cells of `flows` were trained on.
        tasks: what each task is, by its name.
        attempts: every training behind `lags`, in order.
    """

    flows: Sequence[GradientFlow] = ()
    lags: Sequence[LongestLag] = ()
    budget: str = ""
    trained_on: str = ""
    tasks: Mapping[str, str] = field(default_factory=dict)
    attempts: Sequence[LagAttempt] = ()

    def __post_init__(self) -> None:
        if not self.flows and not self.lags:
            raise ValueError("a memory report needs gradient flows, longest lags, or both")
