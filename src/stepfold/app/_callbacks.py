"""Callbacks of Keras's training loop: the order of the examples, Ctrl-C, the run's files."""

import json
import signal
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from ._history import Row, best, to_csv
from ._run import RunError, RunFolder


class Batches(keras.utils.PyDataset):  # type: ignore[misc]  # keras has no types
    """Batches in an order that depends on the seed and the epoch alone: a resumed run sees the same.

    Args:
        inputs: (examples, length) int32.
        labels: (examples,) int32.
        batch: examples a batch; the last one may be smaller.
        seed: decides the orders.
    """

    def __init__(self, inputs: NDArray[np.int32], labels: NDArray[np.int32], batch: int, seed: int) -> None:
        super().__init__()
        self._inputs, self._labels, self._batch, self._seed = inputs, labels, batch, seed
        self.start(0)

    def start(self, epoch: int) -> None:
        """Set the order of an epoch, counted from 0."""
        self._order = np.random.default_rng((self._seed, epoch)).permutation(len(self._labels))

    def __len__(self) -> int:
        return -(-len(self._labels) // self._batch)

    def __getitem__(self, index: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        rows = self._order[index * self._batch : (index + 1) * self._batch]
        return self._inputs[rows], self._labels[rows]


class EpochOrder(keras.callbacks.Callback):  # type: ignore[misc]  # keras has no types
    """Sets the order of the batches when an epoch begins."""

    def __init__(self, batches: Batches) -> None:
        super().__init__()
        self._batches = batches

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Set the order of this epoch."""
        self._batches.start(epoch)


class Interruptions(keras.callbacks.Callback):  # type: ignore[misc]  # keras has no types
    """Turns Ctrl-C into a ``KeyboardInterrupt`` between two batches; a second one interrupts at once.

    Between batches no file is partly written, and no kernel's callback can discard the exception.
    """

    def __init__(self) -> None:
        super().__init__()
        self._requested = False

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Handle Ctrl-C while the block runs (in the main thread, the only one that receives signals)."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGINT, self._request)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _request(self, number: int, frame: object) -> None:
        if self._requested:
            raise KeyboardInterrupt
        self._requested = True

    def _stop_if_requested(self) -> None:
        if self._requested:
            raise KeyboardInterrupt

    # Keras calls the beginnings of batches in the main thread; it may call their ends in another.
    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Stop here if Ctrl-C was pressed."""
        self._stop_if_requested()

    def on_test_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Stop here if Ctrl-C was pressed."""
        self._stop_if_requested()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Stop here if Ctrl-C was pressed: the epoch's files are written, since this callback comes last."""
        self._stop_if_requested()


class RunWriter(keras.callbacks.Callback):  # type: ignore[misc]  # keras has no types
    """Writes the run's files after each epoch: the model if it is the best so far, the state, the history.

    Attributes:
        rows: the figures of every epoch of the run, those before it was resumed included.
    """

    def __init__(self, run: RunFolder) -> None:
        super().__init__()
        self._run = run
        self._began = 0.0
        self.rows: list[Row] = []

    def restore(self, model: Any) -> int:
        """Load the state after the last complete epoch into a new model; return the number of epochs so far.

        Raises:
            RunError: a checkpoint that is damaged or belongs to another model.
        """
        if not self._run.checkpoint.exists():
            return 0
        cure = "begin again with --overwrite"
        try:
            with self._run.checkpoint.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                self.rows = json.loads(stored["rows"].tobytes())
                values = [stored[f"state{k}"] for k in range(len(stored.files) - 1)]
        except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile):
            raise RunError(f"{self._run.checkpoint} is damaged or cut short; {cure}") from None
        variables = _state(model)
        if [value.shape for value in values] != [tuple(variable.shape) for variable in variables]:
            raise RunError(f"{self._run.checkpoint} belongs to another model; {cure}")
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        return len(self.rows)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Start the clock."""
        self._began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write the files: the checkpoint after the model, so that every checkpoint has its best model."""
        figures = {name: float(value) for name, value in (logs or {}).items()}
        row: Row = {"epoch": epoch + 1, **figures, "seconds": round(time.perf_counter() - self._began, 3)}
        self.rows.append(row)
        if best(self.rows) is row:
            self._run.write(self._run.model, self.model.save)
        arrays: dict[str, Any] = {
            f"state{k}": keras.ops.convert_to_numpy(value) for k, value in enumerate(_state(self.model))
        }
        arrays["rows"] = np.frombuffer(json.dumps(self.rows).encode(), np.uint8)
        self._run.write(self._run.checkpoint, lambda part: np.savez(part, **arrays))
        self._run.write_text(self._run.history, to_csv(self.rows))


def _state(model: Any) -> list[Any]:
    """Return every variable that training changes: weights, the dropout's random states, the optimizer's."""
    model.optimizer.build(model.trainable_variables)
    return [*model.trainable_variables, *model.non_trainable_variables, *model.optimizer.variables]
