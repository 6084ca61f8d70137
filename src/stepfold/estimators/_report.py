"""What an estimator's training and its judgements look like, for the reports."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import __version__
from .._cell import Cell
from ..cells import as_cell
from ..report import (
    Confusion,
    Epoch,
    EvaluationReport,
    Mistake,
    Predictions,
    TrainingReport,
)
from ._evaluation import Evaluation, RegressionEvaluation

_OF_NETWORKS = (
    "The loss of an epoch is the mean over the networks that trained in it, its seconds are those of all of "
    "them; they train side by side where processors allow."
)
_SHOWN = ("numpy", "llvmlite", "keras", "jax", "torch", "scikit-learn")


def training_report(
    estimator: Any, *, title: str = "", command: str = "", reading: bool = True
) -> TrainingReport:
    """Return what the report of a fitted estimator's training shows, with an example read or without."""
    names = list(estimator.history_)
    rows = [
        {"epoch": k + 1, **{name: estimator.history_[name][k] for name in names}}
        for k in range(len(estimator.history_["loss"]))
    ]
    kept = rows[(estimator.results_["best_epoch"] or len(rows)) - 1]
    for name in ("val_loss", "val_accuracy", "val_r2"):  # measured once, with the weights that were kept
        if name in estimator.results_ and name not in names:
            kept[name] = estimator.results_[name]
    settings = _configuration(estimator)
    found = getattr(estimator, "evaluation_", None)
    held_out = int(estimator.results_.get("held_out", 0))
    return TrainingReport(
        title=title or f"{type(estimator).__name__}, {settings['cell']}",
        seconds=estimator.results_["seconds"],
        command=command or f"{estimator!r}.fit(X, y)",
        configuration=settings,
        versions=versions(),
        **equations(cells_of(estimator)),
        history=[Epoch.from_mapping(row) for row in rows],
        parameters=estimator.results_["parameters"],
        training_examples=int(estimator.results_.get("training_examples", 0)),
        held_out=held_out,
        split=estimator.results_.get("split", "none") if held_out else "none",
        best_epoch=estimator.results_["best_epoch"] or None,
        score=None if found is None else found.score,
        examples="texts" if hasattr(estimator, "vocabulary_") else "sequences",
        reading=estimator.reading_ if reading else None,
        notes=[_OF_NETWORKS] if estimator.settings_.one_a_network else [],
        **_judgement(found, getattr(estimator, "mistakes_", {})),
    )


def evaluation_report(
    estimator: Any, found: Evaluation | RegressionEvaluation, X: Any, *, data: str, command: str = ""
) -> EvaluationReport:
    """Return what the report of an evaluation shows.

    Args:
        estimator: the fitted estimator.
        found: how it does on the inputs.
        X: the inputs.
        data: the name of the data, such as a file's.
        command: how to run it again.
    """
    worst = list(getattr(found, "mistakes", ()))
    mistakes = dict(zip(worst, estimator._describe(X, worst), strict=True))
    first = worst[0] if worst else 0
    reading = estimator._read_input(X, first, found.targets[first])
    scores: dict[str, Any]
    if isinstance(found, Evaluation):
        scores = {"accuracy": found.accuracy, "count": len(found.targets)}
    else:
        scores = {"r2": found.r2, "mae": found.mean_absolute_error, "count": len(found.targets)}
    return EvaluationReport(
        title=f"{type(estimator).__name__} on {data}",
        data=data,
        command=command,
        configuration=_configuration(estimator),
        versions=versions(),
        **equations(cells_of(estimator)),
        examples="texts" if hasattr(estimator, "vocabulary_") else "sequences",
        reading=reading,
        **scores,
        **_judgement(found, mistakes),
    )


def _judgement(found: Evaluation | RegressionEvaluation | None, mistakes: dict[int, str]) -> dict[str, Any]:
    """Return the parts that show how predictions and targets agree."""
    if found is None:
        return {}
    places = {index: index + 1 if found.rows is None else int(found.rows[index]) + 1 for index in mistakes}
    if isinstance(found, RegressionEvaluation):
        outputs = found.targets.shape[1]
        return {
            "predictions": Predictions(
                found.targets[:, 0], found.predicted[:, 0], f"output 1 of {outputs}" if outputs > 1 else ""
            ),
            "mistakes": [
                Mistake(
                    example=example,
                    truth=_values(found.targets[index]),
                    predicted=_values(found.predicted[index]),
                    number=places[index],
                )
                for index, example in mistakes.items()
            ],
        }
    names = [str(each.label) for each in found.classes]
    shown = []
    for index, example in mistakes.items():
        row = found.probabilities[index]
        predicted = int(row.argmax())
        shown.append(
            Mistake(
                example=example,
                truth=names[found.targets[index]],
                predicted=names[predicted],
                probability=float(row[predicted]),
                number=places[index],
            )
        )
    return {"confusion": Confusion(names, found.confusion), "mistakes": shown}


def _values(row: NDArray[np.float64]) -> str | float:
    """Return an output, or several as a text."""
    return float(row[0]) if len(row) == 1 else ", ".join(f"{value:.4g}" for value in row)


def _configuration(estimator: Any) -> dict[str, Any]:
    """Return the settings of a fitted estimator, and its seed."""
    settings = {name: value for name, value in asdict(estimator.settings_).items() if value is not None}
    settings["cell"] = ", ".join(cell.name for cell in cells_of(estimator))
    for name in estimator.settings_.one_a_network:
        settings[name] = ", ".join(map(str, getattr(estimator.settings_, name)))
    if isinstance(estimator.random_state, (int, np.integer)):
        settings["random_state"] = int(estimator.random_state)
    return settings


def equations(cells: Iterable[Cell]) -> dict[str, Any]:
    """Return the equations of cells, as every report takes them."""
    used = list(cells)
    return {
        "equations": {cell.name: cell.show("maths") for cell in used},
        "latex": {cell.name: cell.show("latex") for cell in used},
    }


def cells_of(estimator: Any) -> list[Cell]:
    """Return the cells of a fitted estimator: several different ones in an ensemble."""
    names = getattr(estimator.network_, "cells", None) or [estimator.settings_.cell]
    return [as_cell(name) for name in names]


def versions() -> dict[str, str]:
    """Return the versions of what the figures depend on."""
    found = {"stepfold": __version__, "Python": sys.version.split()[0]}
    for name in _SHOWN:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
