"""Labelled sequences of word ids in memory, and padding them to one length."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ._keras_words import KerasWords, encode_all
from ._ragged import Ragged


@dataclass(frozen=True)
class Corpus:
    """Texts as word ids, with their classes.

    Attributes:
        sequences: one (words + 1,) int32 array a text, the start mark first.
        labels: (texts,) int32, each an index into ``classes``.
        classes: the classes' names.
        vocabulary: the words of the ids; None where the source holds ids only.
        vocabulary_size: the number of distinct ids; every id is below it.
        positions: (texts,) int64, where each text stood in its file, from 0.
    """

    sequences: list[NDArray[np.int32]]
    labels: NDArray[np.int32]
    classes: tuple[str, ...]
    vocabulary: KerasWords | None
    vocabulary_size: int
    positions: NDArray[np.int64]

    @classmethod
    def from_texts(
        cls, texts: Iterable[str], labels: NDArray[np.int32], classes: tuple[str, ...], vocabulary_size: int
    ) -> "Corpus":
        """Encode texts as word ids below ``vocabulary_size`` (see ``encode_all``)."""
        sequences, vocabulary = encode_all(texts, vocabulary_size)
        return cls(sequences, labels, classes, vocabulary, vocabulary.size, np.arange(len(sequences)))

    def shuffled(self, seed: int) -> "Corpus":
        """Return the same texts in another order, the one that Keras's loaders make with this seed."""
        order = np.arange(len(self.sequences))
        np.random.RandomState(seed).shuffle(order)
        return replace(
            self,
            sequences=[self.sequences[k] for k in order],
            labels=self.labels[order],
            positions=self.positions[order],
        )


def pad(sequences: Sequence[NDArray[np.int32]] | Ragged, length: int) -> NDArray[np.int32]:
    """Return (texts, length) int32: the last ``length`` ids of each sequence, padded on the left with 0."""
    if not isinstance(sequences, Ragged):
        if not len(sequences):
            return np.zeros((0, length), np.int32)
        sequences = Ragged.from_sequences(sequences)
    return sequences.padded(slice(None), length)
