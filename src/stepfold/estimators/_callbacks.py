"""Callbacks of Keras's training loop: the order of the examples, signals, the run's files."""

from __future__ import annotations

import json
import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from ._average import WeightAverage
from ._batches import Batches
from ._history import Row, best, is_row, to_csv
from ._network import save_network
from ._processes import apart
from ._run import RunError, RunFolder
from ._stored_values import UNREADABLE

CHECKPOINT_SECONDS = 120.0
"""How often the state is written within an epoch."""
_LARGEST_WEIGHT = 1e18
"""What products of two weights in float32 may be made of."""
_LOSS_EVERY = 64  # reading the loss waits for the step


class TrainingError(RuntimeError):
    """Training that cannot go on; the message says what was found and what may help."""


class EpochOrder(keras.callbacks.Callback):  # type: ignore[misc]  # keras has no types
    """Sets the order of the batches when an epoch begins, except where it was begun before."""

    def __init__(self, batches: Batches, begun: int) -> None:
        super().__init__()
        self._batches, self._begun = batches, begun

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Set the order of this epoch."""
        if epoch != self._begun:
            self._batches.start(epoch)


class Interruptions(keras.callbacks.Callback):  # type: ignore[misc]  # keras has no types
    """Turns Ctrl-C and SIGTERM into a ``KeyboardInterrupt`` between two batches; a second one acts at once.

    Between batches no file is partly written, and no kernel's callback can discard the exception.
    """

    def __init__(self) -> None:
        super().__init__()
        self._requested = False

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Handle the signals while the block runs (in the main thread, the only one that receives them)."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._request) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _request(self, number: int, frame: object) -> None:
        if self._requested:
            raise KeyboardInterrupt
        self._requested = True

    def _stop_if_requested(self) -> None:
        if self._requested:
            raise KeyboardInterrupt

    # Keras calls the beginnings of batches in the main thread; it may call their ends in another.
    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Stop here if a signal came."""
        self._stop_if_requested()

    def on_test_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Stop here if a signal came."""
        self._stop_if_requested()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Stop here if a signal came: the epoch's files are written, since this callback comes last."""
        self._stop_if_requested()


@contextmanager
def interruptible(message: str) -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM into a ``KeyboardInterrupt`` with a message while the block runs."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, interrupt) if main else None
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(message) from None
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)


class Recorder(keras.callbacks.Callback):  # type: ignore[misc]  # keras has no types
    """Keeps each epoch's figures and the best weights, ends training in time, and fills the run's folder.

    Args:
        batches: the training batches.
        average: the mean of the weights, which counts as the epoch's weights once it is begun.
        patience: epochs without a better validation result after which training ends; 0 for none.
        run: where to write the network, the state and the history; None for nowhere.

    Attributes:
        rows: the figures of every epoch of the run, those before it was resumed included.
        weights: the network's weights at the best epoch.
    """

    def __init__(
        self, batches: Batches, average: WeightAverage, patience: int, run: RunFolder | None
    ) -> None:
        super().__init__()
        self._batches, self._average, self._patience, self._run = batches, average, patience, run
        self._epoch, self._began, self._written = 0, 0.0, time.monotonic()
        self._figures: Row = {}  # of the part of an epoch that is in the checkpoint
        self.rows: list[Row] = []
        self.weights: list[NDArray[Any]] | None = None

    def restore(self, model: Any) -> tuple[int, int]:
        """Load the state of an interrupted run; return the epoch and the batch to go on with.

        Raises:
            RunError: a checkpoint that is damaged or belongs to another model.
        """
        assert self._run is not None
        file = self._run.checkpoint
        if not file.exists():
            return 0, 0
        cure = "begin again without resume (--overwrite)"
        try:
            with file.open("rb") as opened, np.load(opened, allow_pickle=False) as stored:
                progress = json.loads(stored["progress"].tobytes())
                groups = {
                    name: [stored[f"{name}{k}"] for k in range(int(progress[name]))]
                    for name in ("state", "average", "best")
                }
                rows, epoch, batch = progress["rows"], int(progress["epoch"]), int(progress["batch"])
                self._figures = {str(k): float(value) for k, value in dict(progress["figures"]).items()}
                step, count = int(progress["step"]), int(progress["count"])
            sound = all(map(is_row, rows)) and 0 <= epoch <= len(rows) + 1
            sound &= 0 <= batch < self._batches.batches_in_epoch and min(step, count) >= 0
        except UNREADABLE:
            sound = False
        if not sound:
            raise RunError(f"{file} is damaged or cut short; {cure}")
        variables = _state(model)
        fits = _shapes(groups["state"]) == _shapes(variables)
        fits &= not groups["average"] or _shapes(groups["average"]) == _shapes(model.trainable_variables)
        fits &= not groups["best"] or _shapes(groups["best"]) == _shapes(model.weights)
        if not fits:
            raise RunError(f"{file} belongs to another model; {cure}")
        for variable, value in zip(variables, groups["state"], strict=True):
            variable.assign(value)
        self._average.mean, self._average.step, self._average.count = groups["average"], step, count
        self.rows, self.weights = rows, groups["best"] or None
        return epoch, batch

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Start the clock."""
        self._epoch, self._began = epoch, time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Write the state if the last time is long ago; stop if the loss is no number."""
        due = self._run is not None and time.monotonic() - self._written > CHECKPOINT_SECONDS
        if due or batch % _LOSS_EVERY == _LOSS_EVERY - 1:
            loss = float((logs or {}).get("loss", 0.0))
            if not math.isfinite(loss):
                raise self._not_finite("loss", loss, self._epoch)
        done = self._batches.first + batch + 1
        if due and done < self._batches.batches_in_epoch:  # the epoch's end writes it otherwise
            before = self._figures
            self._figures = self._of_whole_epoch(logs or {}, batch + 1)
            self._write_checkpoint(self._epoch, done)
            self._figures = before

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Keep the figures; write the state after the network, so that every state has its best network."""
        figures = self._of_whole_epoch(logs or {}, len(self._batches))
        self._figures = {}
        row: Row = {"epoch": epoch + 1, **figures, "seconds": round(figures["seconds"], 3)}
        for name in ("loss", "val_loss"):
            if not math.isfinite(row.get(name, 0.0)):
                raise self._not_finite(name, row[name], epoch)
        if best([*self.rows, row]) is row:
            with self._average.used():
                weights = [np.array(keras.ops.convert_to_numpy(v.value)) for v in self.model.weights]
                # The loss is that of the weights before the last step.
                trained = (w for w, v in zip(weights, self.model.weights, strict=True) if v.trainable)
                largest = max(float(np.abs(each).max(initial=0)) for each in trained)
                if not largest < _LARGEST_WEIGHT:
                    raise self._not_finite("largest weight", largest, epoch)
                self.weights = weights
                if self._run is not None:
                    with apart():
                        self._run.write(self._run.model, partial(save_network, self.model))
        self.rows.append(row)
        if self._run is not None:
            self._write_checkpoint(epoch + 1, 0)
            self._run.write_text(self._run.history, to_csv(self.rows))
        chosen = best(self.rows)
        if self._patience and chosen is not None and row["epoch"] - chosen["epoch"] >= self._patience:
            self.model.stop_training = True

    def _of_whole_epoch(self, logs: dict[str, Any], batches: int) -> Row:
        """Return figures of an epoch: those of so many batches, and of the batches before it was resumed."""
        figures = {name: float(value) for name, value in logs.items()}
        figures["seconds"] = time.perf_counter() - self._began + self._figures.get("seconds", 0.0)
        first = self._batches.first
        for name in self._figures.keys() & logs.keys():
            figures[name] = (first * self._figures[name] + batches * figures[name]) / (first + batches)
        return figures

    def _write_checkpoint(self, epoch: int, batch: int) -> None:
        assert self._run is not None
        groups = {
            "state": [keras.ops.convert_to_numpy(variable.value) for variable in _state(self.model)],
            "average": self._average.mean,
            "best": self.weights or [],
        }
        progress = {
            "rows": self.rows,
            "figures": self._figures,
            "epoch": epoch,
            "batch": batch,
            "step": self._average.step,
            "count": self._average.count,
            **{name: len(values) for name, values in groups.items()},
        }
        arrays: dict[str, Any] = {
            f"{name}{k}": value for name, values in groups.items() for k, value in enumerate(values)
        }
        arrays["progress"] = np.frombuffer(json.dumps(progress).encode(), np.uint8)
        self._run.write(self._run.checkpoint, lambda part: np.savez(part, **arrays))
        self._written = time.monotonic()

    def _not_finite(self, name: str, loss: float, epoch: int) -> TrainingError:
        chosen = best(self.rows)
        if chosen is None:
            kept = "there is no model"
        elif self._run is None:
            kept = (
                f"epoch {int(chosen['epoch'])} was the best, and its weights are not saved without a folder"
            )
        else:
            kept = f"the model of epoch {int(chosen['epoch'])}, the best so far, is kept in {self._run.path}"
        return TrainingError(
            f"the {name.replace('val_', 'validation ')} became {loss} in epoch {epoch + 1}; {kept}. Begin "
            "again with a smaller learning_rate (--learning-rate), or a limit of the gradients' norm, "
            "clip_norm=1 (--clip-norm 1)"
        )


def _shapes(values: list[Any]) -> list[tuple[int, ...]]:
    return [tuple(value.shape) for value in values]


def _state(model: Any) -> list[Any]:
    """Return every variable that training changes: weights, the dropout's random states, the optimizer's."""
    model.optimizer.build(model.trainable_variables)
    return [*model.trainable_variables, *model.non_trainable_variables, *model.optimizer.variables]
