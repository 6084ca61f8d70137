"""Fits the network of the preset ``plain`` for a ``TextClassifier``."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ._batches import Examples
from ._callbacks import interruptible
from ._ensemble import Tagger
from ._ensemble._examples import PREDICTED, batches
from ._ensemble._plain import plain_network, train_plain
from ._ensemble_fit import EnsembleFitting
from ._history import Row, to_csv
from ._run import RunFolder
from ._settings import TextSettings
from ._taught import OF_NETWORKS, check_taught, interruption_message, judged

_BATCH = 64


class PlainFitting(EnsembleFitting):
    """The part of a ``TextClassifier`` that knows the preset "plain"."""

    def fit(
        self,
        X: Any,
        y: Any,
        *,
        validation_data: tuple[Any, Any] | None = None,
        folder: str | Path | None = None,
        resume: bool = False,
    ) -> Self:
        """Fit the network to texts and their labels; see ``RecurrentEstimator.fit``.

        With the presets "best" and "plain", texts about the same thing (a film, a product) should stand side
        by side, as the reviews do: n-grams are counted by such neighbourhoods.
        """
        if self.preset == "plain":
            check_taught(self.preset, self._given())
        super().fit(X, y, validation_data=validation_data, folder=folder, resume=resume)
        if self.preset == "plain" and folder is not None:
            shutil.rmtree(RunFolder(folder).members)  # what another fit would have gone on from
        return self

    def _plain_network(self, settings: TextSettings) -> Any:
        return plain_network(_tagger(settings, 0), self.vocabulary_size_, self._outputs())

    def _train(
        self,
        network: Any,
        examples: Examples,
        rows: NDArray[np.int64],
        settings: Any,
        run: RunFolder | None,
        **training: Any,
    ) -> list[Row]:
        if self.preset != "plain":
            return super()._train(network, examples, rows, settings, run, **training)
        vocabulary: Any = self.vocabulary_
        rows = np.sort(rows)  # neighbours in the file are neighbours here
        if run is not None:
            run.members.mkdir(exist_ok=True)
        with interruptible(interruption_message(run)):
            layers = train_plain(
                network,
                _tagger(settings, self.seed_),
                examples.inputs.take(rows),
                vocabulary.words,
                examples.targets[rows],
                len(self.classes_),
                settings.length,
                keep=None if run is None else run.members,
                verbose=self.verbose,
            )
        self.network_ = network
        seconds = np.sum([layer.seconds for layer in layers], axis=0)
        history = [
            {"epoch": k, "loss": float(loss), "seconds": round(float(spent), 3)}
            for k, (loss, spent) in enumerate(zip(layers[0].losses, seconds, strict=True), 1)
        ]
        if run is not None:
            self._save_network(run)
            run.write_text(run.history, to_csv(history))
        return history

    def _judge(self, checked: Examples, rows: NDArray[np.int64], source: Any) -> None:
        super()._judge(checked, rows, source)
        if self.preset == "plain":
            self.results_.update(judged(self.evaluation_))

    def _predicted(self, examples: Examples, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        if self.preset != "plain":
            return super()._predicted(examples, rows)
        found = np.zeros((len(rows), self._outputs()), np.float32)
        lengths = np.minimum(examples.inputs.lengths[rows], self.settings_.length)
        for batch, width in batches(lengths, _BATCH, widths=PREDICTED):
            whole = np.resize(batch, _BATCH)  # a batch of another size would be compiled anew
            ids = examples.inputs.padded(rows[whole], width)
            found[batch] = np.asarray(self.network_.predict_on_batch(ids))[: len(batch)]
        return found


def _tagger(settings: TextSettings, seed: int) -> Tagger:
    return Tagger(seed=seed, **{name: getattr(settings, name) for name in OF_NETWORKS})
