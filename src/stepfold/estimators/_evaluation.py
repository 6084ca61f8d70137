"""Judges a fitted estimator on labelled examples."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import (
    confusion_matrix,
    mean_absolute_error,
    precision_recall_fscore_support,
    r2_score,
    root_mean_squared_error,
)

_MISTAKES = 12


@dataclass(frozen=True)
class ClassFigures:
    """One class's precision, recall and F1 score, each from 0 to 1, and how many examples it has."""

    label: Any
    precision: float
    recall: float
    f1: float
    examples: int


@dataclass(frozen=True)
class Evaluation:
    """How a classifier does on labelled examples.

    Attributes:
        accuracy: the share of examples whose likeliest class is theirs.
        log_loss: the mean of −ln p, p being the probability of the example's class.
        classes: the figures of each class.
        confusion: (classes, classes) counts; the rows are the true classes, the columns the predicted ones.
        mistakes: indices of examples that were got wrong, the least probable true class first.
        probabilities: (examples, classes).
        targets: (examples,) the index of each example's class.
        rows: (examples,) where each example stands in the data, if it is not its own index.
    """

    accuracy: float
    log_loss: float
    classes: tuple[ClassFigures, ...]
    confusion: NDArray[np.int64]
    mistakes: tuple[int, ...]
    probabilities: NDArray[np.float32]
    targets: NDArray[np.int32]
    rows: NDArray[np.int64] | None = None

    @property
    def score(self) -> float:
        """The accuracy."""
        return self.accuracy

    def to_dict(self) -> dict[str, Any]:
        """Return the figures for JSON."""
        return {
            "accuracy": round(self.accuracy, 6),
            "log_loss": round(self.log_loss, 6),
            "examples": len(self.targets),
            "classes": [
                {
                    "class": each.label,
                    "precision": round(each.precision, 6),
                    "recall": round(each.recall, 6),
                    "f1": round(each.f1, 6),
                    "examples": each.examples,
                }
                for each in self.classes
            ],
            "confusion": self.confusion.tolist(),
        }


@dataclass(frozen=True)
class RegressionEvaluation:
    """How a regressor does, on the targets' scale.

    Attributes:
        r2: the coefficient of determination.
        mean_absolute_error, root_mean_squared_error: of the predictions.
        mistakes: indices of the examples that are farthest off, each output on the scale of its targets.
        predicted, targets: (examples, outputs).
        rows: (examples,) where each example stands in the data, if it is not its own index.
    """

    r2: float
    mean_absolute_error: float
    root_mean_squared_error: float
    mistakes: tuple[int, ...]
    predicted: NDArray[np.float64]
    targets: NDArray[np.float64]
    rows: NDArray[np.int64] | None = None

    @property
    def score(self) -> float:
        """R²."""
        return self.r2

    def to_dict(self) -> dict[str, Any]:
        """Return the figures for JSON."""
        return {
            "r2": round(self.r2, 6) if math.isfinite(self.r2) else None,  # of one example there is none
            "mean_absolute_error": round(self.mean_absolute_error, 6),
            "root_mean_squared_error": round(self.root_mean_squared_error, 6),
            "examples": len(self.targets),
        }


def evaluate(classifier: Any, X: Any, y: Any) -> Evaluation:
    """Return how a fitted classifier does on inputs and their labels, which must be among its classes.

    Raises:
        ValueError: no examples, or a label that is none of the classes.
    """
    targets = classifier._encode_targets(y)
    probabilities = classifier.predict_proba(X)
    return evaluation(classifier.classes_, targets, probabilities)


def evaluation(
    classes: NDArray[Any],
    targets: NDArray[np.int32],
    probabilities: NDArray[np.float32],
    rows: NDArray[np.int64] | None = None,
) -> Evaluation:
    """Return the figures for class indices (examples,) and probabilities (examples, classes)."""
    if not len(targets):
        raise ValueError("there are no examples to judge the model with; give one at least")
    if len(targets) != len(probabilities):
        raise ValueError(f"there are {len(probabilities)} inputs but {len(targets)} labels")
    predicted = probabilities.argmax(axis=1)
    indices = np.arange(len(classes))
    precision, recall, f1, support = precision_recall_fscore_support(
        targets, predicted, labels=indices, zero_division=0.0
    )
    true = probabilities[np.arange(len(targets)), targets]
    wrong = np.flatnonzero(predicted != targets)
    figures = zip(classes.tolist(), precision, recall, f1, support, strict=True)
    return Evaluation(
        accuracy=float(np.mean(predicted == targets)),
        log_loss=float(-np.log(np.maximum(true, 1e-12)).mean()),
        classes=tuple(
            ClassFigures(name, float(p), float(r), float(f), int(n)) for name, p, r, f, n in figures
        ),
        confusion=confusion_matrix(targets, predicted, labels=indices),
        mistakes=tuple(wrong[np.argsort(true[wrong], kind="stable")][:_MISTAKES].tolist()),
        probabilities=probabilities,
        targets=targets,
        rows=rows,
    )


def evaluate_regression(regressor: Any, X: Any, y: Any) -> RegressionEvaluation:
    """Return how a fitted regressor does on inputs and their targets."""
    return regression_evaluation(np.asarray(y, np.float64), regressor.predict(X))


def regression_evaluation(
    targets: NDArray[np.float64], predicted: NDArray[np.float64], rows: NDArray[np.int64] | None = None
) -> RegressionEvaluation:
    """Return the figures for targets and predictions, (examples,) or (examples, outputs) both."""
    if not len(targets):
        raise ValueError("there are no examples to judge the model with; give one at least")
    targets, predicted = (each.reshape(len(each), -1) for each in (targets, predicted))
    scale = targets.std(axis=0)
    errors = np.abs(predicted - targets) / np.where(scale > 0, scale, 1)
    return RegressionEvaluation(
        r2=float(r2_score(targets, predicted)) if len(targets) > 1 else float("nan"),
        mean_absolute_error=float(mean_absolute_error(targets, predicted)),
        root_mean_squared_error=float(root_mean_squared_error(targets, predicted)),
        mistakes=tuple(np.argsort(-errors.max(axis=1), kind="stable")[:_MISTAKES].tolist()),
        predicted=predicted,
        targets=targets,
        rows=rows,
    )
