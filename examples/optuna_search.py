"""Optuna chooses the cell, its units and the dropout, and ends trials early that lag behind.

    pip install "stepfold[app]" optuna
    python examples/optuna_search.py            # 4,000 film reviews, 20 trials: some minutes
    python examples/optuna_search.py --quick    # 300 reviews, 4 trials: half a minute

Each trial trains a `TextClassifier`. A callback reports the validation accuracy after each epoch; where it is
below the median of the trials before, Optuna prunes the trial. With `--storage sqlite:///search.db` (or a
server's database) any number of these commands, on any number of machines, search together.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np
import optuna

from stepfold.data import imdb_texts
from stepfold.estimators import TextClassifier

CELLS = ("lstm", "gru", "mgu", "layer_norm_lstm")


class Report(keras.callbacks.Callback):
    """Tells Optuna how a trial gets on, and ends it where Optuna says so."""

    def __init__(self, trial: optuna.Trial) -> None:
        super().__init__()
        self.trial = trial

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Report the validation accuracy."""
        self.trial.report((logs or {})["val_accuracy"], epoch)
        if self.trial.should_prune():
            raise optuna.TrialPruned(f"after {epoch + 1} epochs")


def reviews(count: int) -> tuple[list[str], list[str]]:
    """So many of IMDB's reviews, good and bad ones in turn."""
    table = imdb_texts()
    texts, labels = list(table.texts), np.asarray(table.labels)
    pairs = zip(*(np.flatnonzero(labels == label)[: count // 2] for label in (0, 1)), strict=True)
    rows = [int(row) for pair in pairs for row in pair]
    return [texts[row] for row in rows], [table.classes[labels[row]] for row in rows]


def main(arguments: Sequence[str] | None = None) -> optuna.Study:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="300 reviews, 4 trials of 2 epochs")
    parser.add_argument("--storage", help="a database of Optuna, which other processes share")
    options = parser.parse_args(arguments)
    texts, labels = reviews(300 if options.quick else 4000)
    trials, epochs, length = (4, 2, 60) if options.quick else (20, 6, 250)

    def objective(trial: optuna.Trial) -> float:
        classifier = TextClassifier(
            cell=trial.suggest_categorical("cell", CELLS),
            units=trial.suggest_int("units", 16, 64, step=16),
            dropout=trial.suggest_float("dropout", 0.0, 0.5, step=0.1),
            epochs=epochs,
            length=length,
            validation_split=0.2,
            random_state=0,
            callbacks=[Report(trial)],
        )
        classifier.fit(texts, labels)
        return float(classifier.results_["val_accuracy"])

    study = optuna.create_study(
        study_name="reviews",
        storage=options.storage,
        load_if_exists=True,
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=0),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=2),
    )
    study.optimize(objective, n_trials=trials)
    for trial in study.trials:
        value = "pruned" if trial.value is None else f"{trial.value:.3f}"
        print(f"{trial.number:3}  {value}  {trial.params}")
    print(f"best: validation accuracy {study.best_value:.3f} with {study.best_params}")
    return study


if __name__ == "__main__":
    main()
