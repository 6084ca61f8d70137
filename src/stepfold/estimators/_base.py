"""What the estimators share: fitting, and what the network says of inputs."""

from __future__ import annotations

import math
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import keras
import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from ..data import Ragged, split, split_blocks
from ..model import Model
from ..report import Reading, training_fragment, write_training_report
from ._batches import Batches, Examples, pair_of
from ._forked import check_process
from ._history import Row, figures
from ._network import count_parameters
from ._processes import Share, share, together
from ._reading import read
from ._report import training_report
from ._run import ReadFolder, RunFolder
from ._saving import SavedEstimator
from ._seeds import seeded
from ._settings import Settings, enough_epochs, resolve
from ._stored_values import seed_begun_with
from ._training import train

_PREDICTING = threading.RLock()
"""Keras's predict changes the network it belongs to, so that one thread at a time may call it."""
_FIRST = 1000
"""Among so many examples one is chosen to be read step by step: the others may lie far down a file."""


class RecurrentEstimator(SavedEstimator):
    """Fits a recurrent network; what its inputs and targets are, a class below says.

    Attributes:
        settings_: every choice, the preset's where a parameter was None.
        network_: the fitted network, a ``keras.Model``.
        history_: for each figure ("loss", "val_accuracy", "seconds", …) the list of its values, one an epoch.
        results_: the figures of the epoch whose weights were kept, and what training cost.
        seed_: the seed that was used, ``random_state`` where it is an integer.
    """

    _regression: ClassVar[bool] = False

    # What a class below says.

    def _defaults(self) -> Mapping[str, Any]:
        raise NotImplementedError

    def _learn(self, X: Any, y: Any, settings: Any, folder: Path | None) -> Examples:
        """Learn what comes before the network (classes, words, scales); return the examples.

        ``folder`` is where large temporary files may go; None for nowhere.
        """
        raise NotImplementedError

    def _encode(self, X: Any) -> Ragged:
        """Return the network's sequences for inputs of a fitted estimator."""
        raise NotImplementedError

    def _encode_targets(self, y: Any) -> NDArray[Any]:
        """Return the network's targets."""
        raise NotImplementedError

    def _build(self, settings: Any) -> Any:
        """Return the network with its first weights."""
        raise NotImplementedError

    def _collate(self, inputs: Ragged, rows: NDArray[np.int64]) -> Any:
        """Return the network's inputs for some rows."""
        raise NotImplementedError

    def _evaluation(
        self, found: NDArray[np.float32], targets: NDArray[Any], rows: NDArray[np.int64] | None
    ) -> Any:
        """Return how the network's output agrees with the targets."""
        raise NotImplementedError

    def _inputs_of(self, X: Any, rows: Sequence[int]) -> list[Any]:
        """Return some of the inputs."""
        raise NotImplementedError

    def _describe(self, X: Any, rows: Sequence[int]) -> list[str]:
        """Return some inputs as a reader would want to see them."""
        raise NotImplementedError

    def _to_model(self) -> Model:
        """Return the fitted estimator as data."""
        raise NotImplementedError

    # Fitting.

    def fit(
        self,
        X: Any,
        y: Any,
        *,
        validation_data: tuple[Any, Any] | None = None,
        folder: str | Path | None = None,
        resume: bool = False,
    ) -> Self:
        """Fit the network.

        Where ``keras.distribution.initialize`` has joined several processes, each calls this with the same
        arguments, trains on its part of every batch, and ends with the same network; the first one writes the
        folder, from which the others read with ``resume``.

        Args:
            X: the inputs, see the class.
            y: the targets, one for each input.
            validation_data: inputs and targets to validate with; takes the place of ``validation_split``.
            folder: where the best network so far, the state of training and the history are written while it
                runs; it ends as ``save`` would leave it. What was there of another run is replaced.
            resume: go on from the state in ``folder``; the examples must be the same.

        Returns:
            The estimator.

        Raises:
            ValueError: inputs, targets or parameters that cannot be used.
            TrainingError: the loss became NaN or infinite.
            RunError: a folder that cannot be used.
            KeyboardInterrupt: after Ctrl-C; with a folder, the best network so far and the state are there.
        """
        check_process()
        mine = share()
        settings = resolve(self._settings_kind, self._defaults(), self._given())
        run = self._run_of(folder, resume)
        callbacks = self._checked_callbacks()
        self._forget()
        X = list(X) if X is not None and hasattr(X, "__next__") else X  # it is read more than once
        examples = self._learn(X, y, settings, Path(tempfile.gettempdir()) if run is None else run.existing())
        self.seed_ = seed = self._seed()
        if run is not None and resume:
            self.seed_ = seed = seed_begun_with(run, self.random_state, seed)
        rows, held = self._split(examples, settings, seed, validation_data is not None)
        if self.epochs is None:
            settings = replace(settings, epochs=enough_epochs(settings, len(rows)))
        training = Batches(examples, rows, settings.batch_size, self._collate, seed)
        checked, checked_rows, source = examples, held, X
        if validation_data is not None:
            source, given = pair_of(validation_data)
            source = list(source) if hasattr(source, "__next__") else source
            checked = Examples(self._encode(source), self._encode_targets(given))
            checked_rows = np.arange(len(checked))
            if len(checked.inputs) != len(checked):
                raise ValueError(
                    f"validation_data has {len(checked.inputs)} inputs but {len(checked)} targets"
                )
            if not len(checked):
                raise ValueError("validation_data has no examples; give one at least, or leave it out")
        validation = None
        if len(checked_rows):
            size = self._prediction_batch(settings)
            validation = Batches(checked, checked_rows, size, self._collate, None)
        if settings.early_stopping and validation is None:
            raise ValueError(
                "early_stopping needs held-out examples; set validation_split or give validation_data"
            )
        self.settings_: Any = settings
        with seeded(seed), together(mine):
            network = self._build(settings)
            if run is not None:
                self._begin(run, examples.digest(), resume)
            rows_of_history = self._train(
                network,
                examples,
                rows,
                settings,
                run,
                batches=training.shared(mine),
                validation=None if validation is None else validation.shared(mine),
                resume=resume,
                callbacks=callbacks,
            )
        self.network_ = self._of_this_process(network, settings, seed, mine)
        self.history_ = {
            name: [row[name] for row in rows_of_history] for name in (rows_of_history or [{}])[0]
        }
        self.results_ = {
            **figures(rows_of_history, count_parameters(network)),
            "training_examples": len(rows),
            "held_out": len(checked_rows),
            "split": settings.split if validation_data is None else "given",
        }
        if validation is not None:
            self._judge(checked, checked_rows, source)
        else:
            shown = _nearest(examples.inputs.lengths[:_FIRST])
            self.example_ = self._example(X, shown, self._own_scale(examples.targets[shown : shown + 1])[0])
        if run is not None:
            self._write(run, examples.digest())
        return self

    def _train(
        self,
        network: Any,
        examples: Examples,
        rows: NDArray[np.int64],
        settings: Any,
        run: RunFolder | None,
        **training: Any,
    ) -> list[Row]:
        """Train the network on some rows of the examples; ``training`` is what else ``train`` takes."""
        return train(
            network,
            settings=settings,
            run=run,
            regression=self._regression,
            verbose=self.verbose,
            **training,
        )

    def _forget(self) -> None:
        """Remove what another fit has learnt, so that one that fails leaves no mixture of both."""
        for name in [name for name in vars(self) if name.endswith("_")]:
            delattr(self, name)

    def _checked_callbacks(self) -> list[Any]:
        given: Any = self.callbacks
        if not isinstance(given, (list, tuple, type(None))):
            raise TypeError(f"callbacks must be a list, not a {type(given).__name__}; give [callback]")
        callbacks = list(given or ())
        for callback in callbacks:
            if not isinstance(callback, keras.callbacks.Callback):
                raise TypeError(
                    f"callbacks holds a {type(callback).__name__}; give callbacks of Keras, such as "
                    "keras.callbacks.LambdaCallback"
                )
        return callbacks

    def _run_of(self, folder: str | Path | None, resume: bool) -> RunFolder | None:
        if resume and folder is None:
            raise ValueError("resume=True goes on from the state in a folder; give folder as well")
        if folder is None:
            return None
        return RunFolder(folder) if share().process == 0 else ReadFolder(folder)

    def _of_this_process(self, network: Any, settings: Any, seed: int, mine: Share) -> Any:
        """Return a network that several processes have trained as one that this process runs alone."""
        if mine.processes == 1:
            return network
        with seeded(seed):
            alone = self._build(settings)
        alone.set_weights(network.get_weights())
        return alone

    def _judge(self, checked: Examples, rows: NDArray[np.int64], source: Any) -> None:
        """Keep what a report shows of the held-out examples."""
        targets = checked.targets[rows]
        found = self._predicted(checked, rows)
        self.evaluation_ = self._evaluation(found, targets, rows)
        if self._regression and math.isfinite(self.evaluation_.score):
            self.results_["val_r2"] = round(self.evaluation_.score, 4)
        worst = list(getattr(self.evaluation_, "mistakes", ()))
        described = self._describe(source, [int(rows[k]) for k in worst])
        self.mistakes_ = dict(zip(worst, described, strict=True))
        lengths = checked.inputs.lengths[rows]
        readable = [k for k in worst if 40 <= lengths[k] <= 250]
        shown = readable[0] if readable else _nearest(lengths)
        self.example_ = self._example(source, int(rows[shown]), self.evaluation_.targets[shown])

    @cached_property
    def reading_(self) -> Reading | None:
        """What is made of one of the examples, step by step: made when a report asks for it."""
        example = getattr(self, "example_", None)
        return None if example is None else self._read(*example)

    def _read_input(self, X: Any, row: int, target: Any = None) -> Reading | None:
        """Return what is made of one input, step by step; None for an input without a word.

        ``target`` is the index of its class, or its values (outputs,), if known.
        """
        return self._read(*self._example(X, row, target))

    def _example(self, X: Any, row: int, target: Any) -> tuple[Any, str | float | None]:
        """Return one input, and its class or value if it is known and one."""
        (given,) = self._inputs_of(X, [row])
        if target is None or (self._regression and len(target) != 1):
            return given, None
        return given, float(target[0]) if self._regression else str(self._labels()[target])

    def _own_scale(self, targets: NDArray[Any]) -> NDArray[Any]:
        """Return the network's targets as a reader knows them: the indices of classes, or values."""
        return targets

    def _read(self, given: Any, truth: str | float | None) -> Reading | None:
        return read(self._reader(), self._readable(given), truth)

    def _reader(self) -> Model:
        """Return the network as a model that says what it does after each step."""
        return self._to_model()

    def _readable(self, given: Any) -> Any:
        """Return an input as ``_reader`` takes it."""
        return self._encode([given])[0]

    def report(self, path: str | Path, *, title: str = "", command: str = "") -> None:
        """Write what training found to one HTML file, which needs no other file and no network.

        Args:
            path: where the file goes.
            title: its heading; "" for the estimator and its cell.
            command: how to run it again; "" for the Python call.
        """
        check_is_fitted(self, "network_")
        if not self.results_:
            raise ValueError(
                "this training did not end, so it has no report; "
                "continue it with fit(..., folder=..., resume=True)"
            )
        write_training_report(path, training_report(self, title=title, command=command))

    def to_model(self) -> Model:
        """Return the fitted network, and what is around it, as data that runs without Keras.

        `stepfold.export(model, path)` writes it to a file. Its predictions are the estimator's.

        Raises:
            NotFittedError: the estimator was not fitted.
            ValueError: texts given as ids.
        """
        check_is_fitted(self, "network_")
        return self._to_model()

    def _repr_html_(self) -> str:
        if not getattr(self, "results_", None):
            return str(super()._repr_html_())
        return training_fragment(training_report(self, reading=False))

    def _seed(self) -> int:
        if isinstance(self.random_state, (int, np.integer)):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _split(
        self, examples: Examples, settings: Settings, seed: int, validated: bool
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the rows to train on and those to validate with."""
        every = np.arange(len(examples))
        if validated or not settings.validation_split:
            return every, every[:0]
        share = settings.validation_split
        if self._regression:
            if len(every) < 2:
                few = "1 example is too few to train on one and to hold out another"
                raise ValueError(f"{few}; add examples, or set validation_split=0")
            order = every if settings.split == "blocks" else np.random.default_rng(seed).permutation(every)
            held = min(max(1, round(share * len(every))), len(every) - 1)
            return order[:-held], order[-held:]
        names = [str(label) for label in self._labels()]
        if settings.split == "random":
            return split(examples.targets, names, seed=seed, validation=share)
        blocks = round(1 / share)
        if abs(1 / share - blocks) > 1e-6 or blocks < 2:
            raise ValueError(f"with split='blocks' validation_split must be 1/2, 1/3, 1/4, …, not {share}")
        return split_blocks(examples.targets, names, block=blocks - 1, blocks=blocks, seed=seed)

    def _labels(self) -> Any:
        """Return the classes, for a classifier."""
        raise NotImplementedError

    def _prediction_batch(self, settings: Settings) -> int:
        return max(settings.batch_size, 100)  # one size for prediction, so that few shapes are compiled

    def _network_output(self, X: Any) -> NDArray[np.float32]:
        """Return what the network gives for some inputs, (inputs, outputs)."""
        check_is_fitted(self, "network_")
        check_process()
        inputs = self._encode(X)
        examples = Examples(inputs, np.zeros(len(inputs), np.int32))
        if not len(inputs):
            return np.zeros((0, self.network_.output_shape[-1]), np.float32)
        with _PREDICTING:
            return self._predicted(examples, np.arange(len(inputs)))

    def _predicted(self, examples: Examples, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return what the network gives for some rows, at least one, of the examples, (rows, outputs)."""
        size = min(self._prediction_batch(self.settings_), len(rows))
        # Every batch has the same number of rows: the last one repeats its last row.
        whole = -(-len(rows) // size) * size
        repeated = rows[np.minimum(np.arange(whole), len(rows) - 1)]
        batches = Batches(examples, repeated, size, self._collate, None)
        return np.asarray(self.network_.predict(batches, verbose=0))[: len(rows)]


def _nearest(lengths: NDArray[Any]) -> int:
    """Return the example whose length is best to read."""
    return int(np.abs(lengths - 120).argmin())
