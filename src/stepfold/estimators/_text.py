"""The classifier of texts."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import Tags

from ..data import FIRST_WORD, START, UNKNOWN, VOCABULARIES, Ragged, Vocabulary, unknown_share
from ..keras import to_model
from ..model import Model
from ._batches import Examples
from ._checked_texts import CheckedTexts
from ._network import text_network
from ._plain_fit import PlainFitting
from ._run import RunError, RunFolder
from ._settings import PRESETS, EnsembleSettings, Settings, TextSettings


@dataclass(kw_only=True, eq=False, repr=False)
class TextClassifier(PlainFitting):
    """A recurrent classifier of texts, with scikit-learn's methods.

    ``fit(texts, labels)`` takes a list of strings (or anything else that can be iterated over again and
    again, such as the texts of ``stepfold.data.open_table``, which are read from disk), and a label for each.
    A parameter that is None has the value of the preset.

    Args:
        cell: the name of a built-in cell, or a ``stepfold.cell``.
        preset: "standard"; "tutorial", the plain network of a textbook; "best", an ensemble for reviews and
            texts like them, which takes minutes, whose parameters hold for each of its networks; or "plain",
            one network of words alone, taught by n-grams, which takes a quarter of an hour and exports to any
            format. Its parameters are those of its first layer.
        tokens: what a text is cut into, see ``stepfold.estimators.TextSettings``, as for all that follow.
        random_state: an integer makes runs repeatable.
        callbacks: callbacks of Keras.
        verbose: 0 for silence, 1 for a progress bar, 2 for a line an epoch, on standard error.

    Attributes:
        classes_: (classes,) the labels, sorted.
        vocabulary_: the words and their ids; None with tokens="ids" and the preset "best".
        network_: the fitted network, a ``keras.Model``; with the preset "best" the ensemble.
        history_, results_, settings_: see ``RecurrentEstimator``.
    """

    preset: str = "standard"
    tokens: str | None = None
    vocabulary_size: int | None = None
    length: int | None = None
    embedding: int | None = None
    mask: bool | None = None
    word_dropout: float | None = None
    embedding_dropout: float | None = None
    validation_split: float | None = 0.0

    @property
    def _settings_kind(self) -> type[Settings]:
        return EnsembleSettings if self.preset == "best" else TextSettings

    def _defaults(self) -> Mapping[str, Any]:
        if self.preset not in PRESETS:
            raise ValueError(f"preset must be one of {', '.join(PRESETS)}, not {self.preset!r}")
        return PRESETS[self.preset]

    def _learn(self, X: Any, y: Any, settings: TextSettings, folder: Path | None) -> Examples:
        texts = _ids(X) if settings.tokens == "ids" else CheckedTexts(X)
        targets = self._learn_classes(y)
        if isinstance(texts, Ragged):
            inputs, self.vocabulary_ = texts, None
            self.vocabulary_size_ = int(inputs.values.max(initial=FIRST_WORD)) + 1
        else:
            self.vocabulary_ = VOCABULARIES[settings.tokens].learn(texts, settings.vocabulary_size)
            self.vocabulary_size_ = self.vocabulary_.size
            inputs = self.vocabulary_.encode_all(texts, folder)
        if len(inputs) != len(targets):
            raise ValueError(
                f"inconsistent numbers of samples: {len(inputs)} texts but {len(targets)} labels"
            )
        return self._weighted(Examples(inputs, targets), settings.class_weight)

    def _encode(self, X: Any) -> Ragged:
        if self.vocabulary_ is None:
            inputs = _ids(X)
            inputs.values[inputs.values >= self.vocabulary_size_] = UNKNOWN
            return inputs
        inputs = self.vocabulary_.encode_all(CheckedTexts(X))
        if len(inputs) >= 10 and (share := unknown_share(inputs)) > 0.5:
            warnings.warn(
                f"{share:.0%} of the words are unknown to the vocabulary of the training texts; "
                "are these texts in the same language, from the same source?",
                stacklevel=4,
            )
        return inputs

    def _build(self, settings: TextSettings) -> Any:
        if self.preset == "plain":
            return self._plain_network(settings)
        return text_network(settings, self.vocabulary_size_, self._outputs())

    def _misfit(self, network: Any) -> str:
        length = None if self.preset == "plain" else self.settings_.length
        outputs = self._outputs()
        if network.input_shape != (None, length):
            return f"the network takes {str(network.input_shape)[:60]}, the settings (None, {length})"
        if network.output_shape != (None, outputs):
            return f"the network has {str(network.output_shape)[:60]} outputs, the classes {outputs}"
        for layer in network.layers:
            size = getattr(layer, "input_dim", self.vocabulary_size_)
            if size != self.vocabulary_size_:
                return f"the network knows ids below {size}, the vocabulary below {self.vocabulary_size_}"
        return ""

    def _collate(self, inputs: Ragged, rows: NDArray[np.int64]) -> NDArray[np.int32]:
        return cast("NDArray[np.int32]", inputs.padded(rows, self.settings_.length))

    def _inputs_of(self, X: Any, rows: Sequence[int]) -> list[Any]:
        wanted = set(rows)
        read = islice(X, max(wanted, default=-1) + 1)  # a file is read no further than that
        found = {row: text for row, text in enumerate(read) if row in wanted}
        return [found[row] for row in rows]

    @property
    def _takes_ids(self) -> bool:
        """Whether inputs are ids already, without a vocabulary."""
        return bool(self.settings_.tokens == "ids")

    def _reader(self) -> Model:
        if not self._takes_ids:
            return self._to_model()
        return to_model(self.network_, length=self.settings_.length, labels=self.classes_)

    def _readable(self, given: Any) -> Any:
        return super()._readable(given) if self._takes_ids else given

    def _describe(self, X: Any, rows: Sequence[int]) -> list[str]:
        return [f"text {row}" for row in rows] if self._takes_ids else self._inputs_of(X, rows)

    def _to_model(self) -> Model:
        if self.preset == "best":
            found: Model = self.network_.to_model(self.classes_, type(self).__name__)
            return found
        if self.vocabulary_ is None:
            raise ValueError(
                "a classifier of ids (tokens='ids') has no vocabulary to read texts with; export its "
                "network, stepfold.keras.to_model(classifier.network_)"
            )
        return to_model(
            self.network_,
            vocabulary=self.vocabulary_,
            length=self.settings_.length,
            labels=self.classes_,
            name=type(self).__name__,
        )

    def _learnt(self) -> dict[str, Any]:
        return {"classes": self._classes_for_json(), "size": self.vocabulary_size_}

    def _save_vocabulary(self, run: RunFolder) -> None:
        if self.vocabulary_ is not None:
            run.write_text(run.vocabulary, self.vocabulary_.to_json())

    def _restore(self, learnt: dict[str, Any], run: RunFolder) -> None:
        self._restore_classes(learnt.get("classes"), run)
        size = learnt.get("size")
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 2**31:
            raise RunError(f"{run.config} is damaged: 'size' is {str(size)[:40]}; train again (--overwrite)")
        self.vocabulary_size_ = size
        if self.settings_.tokens == "ids" or self.preset == "best":
            self.vocabulary_ = None
            return
        if not run.vocabulary.exists():
            raise RunError(
                f"{run.vocabulary} is missing, without which no text can be read; "
                "copy it from where the model was trained"
            )
        self.vocabulary_ = Vocabulary.load(run.vocabulary)
        if self.vocabulary_.size != size:
            raise RunError(
                f"{run.vocabulary} has ids up to {self.vocabulary_.size - 1} but the model up to {size - 1}: "
                "the ids of one are outside the other; copy the vocabulary from where the model was trained"
            )

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        return tags


def _ids(X: Any) -> Ragged:
    """Return lists of ids as sequences that begin with the start mark."""
    sequences = []
    for k, ids in enumerate(X):
        array = np.asarray(ids)
        if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
            raise ValueError(f"X[{k}] is no list of integers, which tokens='ids' asks for")
        if array.size and (array.min() < 0 or array.max() >= 2**31 - 1):
            raise ValueError(f"X[{k}] holds the id {array.min()} … {array.max()}; ids are 0 to 2147483646")
        first = [] if array.size and array[0] == START else [START]
        sequences.append(np.concatenate((first, array)).astype(np.int32))
    return Ragged.from_sequences(sequences)
