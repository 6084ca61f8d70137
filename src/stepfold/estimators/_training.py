"""Trains a network with Keras's loop, from the beginning or from a checkpoint."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from typing import Any

from ._average import WeightAverage
from ._batches import Batches
from ._callbacks import EpochOrder, Interruptions, Recorder, TrainingError
from ._history import Row, best
from ._network import compile_network
from ._run import RunFolder
from ._settings import Settings

__all__ = ["TrainingError", "train"]


def train(
    network: Any,
    batches: Batches,
    validation: Batches | None,
    settings: Settings,
    *,
    regression: bool,
    run: RunFolder | None,
    resume: bool,
    callbacks: Sequence[Any],
    verbose: int,
) -> list[Row]:
    """Train to the settings' number of epochs; the network ends with the weights of its best epoch.

    Args:
        network: the network, with its first weights.
        batches: the training examples.
        validation: those that are held out, if any.
        settings: the choices.
        regression: whether the targets are numbers.
        run: where the network, the state and the history are written; None for nowhere.
        resume: whether to go on from the run's checkpoint.
        callbacks: a user's own, of Keras.
        verbose: as in Keras's ``fit``; the progress goes to standard error.

    Returns:
        The figures of each epoch.

    Raises:
        TrainingError: the loss became NaN or infinite.
        RunError: a checkpoint that does not fit, or a file that cannot be written.
        KeyboardInterrupt: after Ctrl-C or SIGTERM; the results so far are saved, and the message says where.
    """
    steps = batches.batches_in_epoch * settings.epochs
    filled = batches.filled or (validation is not None and validation.filled)
    compile_network(network, settings, steps, regression=regression, filled=filled)
    average = WeightAverage(
        round(steps * (1 - settings.weight_averaging)) if settings.weight_averaging else steps
    )
    recorder = Recorder(batches, average, settings.early_stopping if validation else 0, run)
    epoch, batch = recorder.restore(network) if resume else (0, 0)
    interruptions = Interruptions()
    own = [average, recorder, *callbacks, interruptions]
    # Keras prints its progress on standard output, which is reserved for results here.
    with interruptions.handled(), contextlib.redirect_stdout(sys.stderr):
        try:
            # An epoch that was begun before has fewer batches, and Keras asks for their number once a call.
            for first, last in (
                ((epoch, epoch + 1), (epoch + 1, settings.epochs)) if batch else ((epoch, settings.epochs),)
            ):
                batches.start(first, batch if first == epoch else 0)
                network.fit(
                    batches,
                    validation_data=validation,
                    epochs=last,
                    initial_epoch=first,
                    shuffle=False,  # `Batches` shuffles
                    verbose=verbose,
                    callbacks=[EpochOrder(batches, first), *own],
                )
        except KeyboardInterrupt:
            raise KeyboardInterrupt(_interruption_message(run, recorder.rows, settings.epochs)) from None
    if recorder.weights is not None:
        network.set_weights(recorder.weights)
    return recorder.rows


def _interruption_message(run: RunFolder | None, rows: list[Row], epochs: int) -> str:
    if run is None:
        return f"interrupted after {len(rows)} of {epochs} epochs; nothing is saved without a folder"
    cure = "continue with resume=True (--resume)"
    chosen = best(rows)
    if chosen is None:
        kept = "its state is saved" if run.checkpoint.exists() else "there is no model yet"
        return f"interrupted before the first epoch ended: {kept}; {cure}"
    name = "val_accuracy" if "val_accuracy" in chosen else "val_loss" if "val_loss" in chosen else "loss"
    return (
        f"interrupted after {len(rows)} of {epochs} epochs: the best model so far "
        f"(epoch {int(chosen['epoch'])}, {name.replace('val_', 'validation ')} {chosen[name]:.4f}) "
        f"is saved in {run.path}; {cure}"
    )
