"""The parts that reports are made of: epochs, confusion table, mistakes, one sequence read step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..viewer import probabilities, shown_class


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """The figures of one epoch; what was not measured is None.

    Args:
        epoch: its number, counted from 1.
        loss: mean loss over the training examples.
        seconds: wall-clock seconds, with validation.
        accuracy, mae, r2: figures on the training examples (accuracy for classes, the others for regression).
        val_loss, val_accuracy, val_mae, val_r2: the same on the held-out examples.
    """

    epoch: int
    loss: float
    seconds: float | None = None
    accuracy: float | None = None
    mae: float | None = None
    r2: float | None = None
    val_loss: float | None = None
    val_accuracy: float | None = None
    val_mae: float | None = None
    val_r2: float | None = None

    @classmethod
    def from_mapping(cls, row: Mapping[str, float]) -> Epoch:
        """Return the epoch of a history row; other names in it, such as a learning rate, are left out."""
        known = {f.name: row[f.name] for f in fields(cls) if f.name in row}
        missing = {"epoch", "loss"} - known.keys()
        if missing:
            raise ValueError(f"a history row needs 'epoch' and 'loss', but it has only {sorted(row)}")
        return cls(**{**known, "epoch": int(known["epoch"])})  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class Confusion:
    """How often each class was taken for each class.

    Args:
        classes: their names, K of them.
        counts: (K, K) counts; row: the true class, column: the predicted class.
    """

    classes: Sequence[str]
    counts: ArrayLike

    def __post_init__(self) -> None:
        size, shape = len(self.classes), np.shape(self.counts)
        if not size or shape != (size, size):
            raise ValueError(
                f"counts of a confusion table for {size} classes must have shape ({size}, {size}), "
                f"got {shape}: a row for each true class, a column for each predicted class"
            )

    @classmethod
    def of(cls, classes: Sequence[str], truth: ArrayLike, predicted: ArrayLike) -> Confusion:
        """Return the table of true and predicted class numbers, both (examples,) from 0 to K - 1."""
        pair = np.asarray(truth, np.int64), np.asarray(predicted, np.int64)
        size = len(classes)
        if pair[0].shape != pair[1].shape or pair[0].ndim != 1:
            raise ValueError(
                f"truth and predicted must be (examples,), got {pair[0].shape} and {pair[1].shape}"
            )
        if any(p.size and (p.min() < 0 or p.max() >= size) for p in pair):
            raise ValueError(f"class numbers must lie between 0 and {size - 1}, one less than the classes")
        counts = np.bincount(pair[0] * size + pair[1], minlength=size * size).reshape(size, size)
        return cls(classes, counts)

    @property
    def table(self) -> NDArray[np.int64]:
        """The counts, (K, K) int64."""
        return np.asarray(self.counts, np.int64)


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """An example that the model gets wrong.

    Args:
        example: its text, or a description.
        truth, predicted: names of classes, or values for regression.
        probability: of the predicted class; None for regression.
        number: its place in the data, counted from 1, if known.
    """

    example: str
    truth: str | float
    predicted: str | float
    probability: float | None = None
    number: int | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Reading:
    """What the model makes of one text or sequence, step by step.

    Args:
        explanation: what `Explanation.to_dict()` gives: "tokens", "known", "labels", "outputs" (n, labels),
            "before" (labels,), None where unknown, and "layers".
        equations: what `Model.equations()` gives: "name", "cell" and "maths" of each recurrent layer.
        name: of the model.
        inputs: (n, features) measurements, drawn above the output; None for a text.
        words: whether the tokens are words; otherwise they are numbers of timesteps.
        truth: the true class or value, if known.
    """

    explanation: Mapping[str, Any]
    equations: Sequence[Mapping[str, str]] = ()
    name: str = "model"
    inputs: ArrayLike | None = None
    words: bool = True
    truth: str | float | None = None

    def __post_init__(self) -> None:
        n, labels = len(self.explanation["tokens"]), len(self.explanation["labels"])
        shape = np.shape(self.explanation["outputs"])
        if not n or not labels or shape != (n, labels):
            raise ValueError(
                f"outputs of a reading of {n} tokens and {labels} labels must have shape ({n}, {labels}), "
                f"none of them 0, got {shape}"
            )
        if len(self.explanation["known"]) != n:
            raise ValueError(
                f"known has {len(self.explanation['known'])} entries for {n} tokens: give one each"
            )
        shape = np.shape(self.inputs) if self.inputs is not None else (n, 1)
        if len(shape) != 2 or shape[0] != n or not shape[1]:
            raise ValueError(f"inputs of a reading of {n} steps must have shape ({n}, width), got {shape}")

    @property
    def unit(self) -> str:
        """What a step is called: "word" or "timestep"."""
        return "word" if self.words else "timestep"

    @property
    def labels(self) -> list[str]:
        """The names of the classes; one name for a value."""
        return [str(label) for label in self.explanation["labels"]]

    @property
    def shown(self) -> int:
        """The index of the output that is looked at: `viewer.shown_class`."""
        return shown_class(self.explanation)

    @property
    def probabilities(self) -> bool:
        """Whether the outputs are probabilities of classes; otherwise they are values."""
        return probabilities(self.explanation)

    @property
    def output(self) -> NDArray[np.float64]:
        """The probability of that class, or the value: before the first step, then after each, (1 + n,)."""
        rows = [self.explanation["before"], *self.explanation["outputs"]]
        return np.asarray(rows, np.float64)[:, self.shown]


@dataclass(frozen=True, eq=False)
class Predictions:
    """Regression: the true values beside the predicted ones, both (examples,); which output, if several."""

    truth: ArrayLike
    predicted: ArrayLike
    output: str = ""

    def __post_init__(self) -> None:
        a, b = np.shape(self.truth), np.shape(self.predicted)
        if len(a) != 1 or a != b:
            raise ValueError(f"truth and predicted must both have shape (examples,), got {a} and {b}")
