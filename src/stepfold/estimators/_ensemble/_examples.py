"""Texts as the networks of the preset `best` take them, and a network's settings, without a framework."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...model.ngrams import UNKNOWN, first_and_last
from ._tokens import EncodedTexts, positions

PREDICTED = (256, 1000)
"""What batches are padded to in prediction."""
WIDTHS = (160, 224, 320, 456, 664, 1000)
"""What batches are padded to in training: XLA compiles a program for each; their number is a compromise."""


class TextsWithEvidence(NamedTuple):
    """Texts as a network takes them.

    Attributes:
        ids: (tokens,) int32, all texts one after another.
        channels: (tokens, channels) float32.
        offsets: (texts + 1,) int64.
        logits: (texts, scores) float32.
    """

    ids: NDArray[np.int32]
    channels: NDArray[np.float32]
    offsets: NDArray[np.int64]
    logits: NDArray[np.float32]

    @classmethod
    def cut(
        cls,
        encoded: EncodedTexts,
        channels: NDArray[np.float32],
        logits: NDArray[np.float32],
        vocabulary_size: int,
        length: int,
    ) -> "TextsWithEvidence":
        """Return texts with ids from `vocabulary_size` on unknown; of long ones the first and last tokens."""
        return cls(encoded.ids, channels, encoded.offsets, logits).known(vocabulary_size).shortened(length)

    def known(self, vocabulary_size: int) -> "TextsWithEvidence":
        """Return the same with ids from `vocabulary_size` on unknown."""
        return self._replace(ids=np.where(self.ids < vocabulary_size, self.ids, np.int32(UNKNOWN)))

    def shortened(self, length: int) -> "TextsWithEvidence":
        """Return the first and last tokens of longer texts, and the others whole."""
        if np.diff(self.offsets).max(initial=0) <= length:
            return self
        kept, offsets = first_and_last(self.offsets, length)
        return self._replace(ids=self.ids[kept], channels=self.channels[kept], offsets=offsets)

    def take(self, rows: NDArray[np.int64]) -> "TextsWithEvidence":
        """Return some of the texts, in the order given."""
        at, offsets = positions(self.offsets, rows)
        return TextsWithEvidence(self.ids[at], self.channels[at], offsets, self.logits[rows])

    def padded(self, rows: NDArray[np.int64], width: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Return ids (rows, width), channels (rows, width, channels), padded on the right, and logits."""
        at, offsets = positions(self.offsets, rows)
        lengths = np.diff(offsets)
        to = np.repeat(np.arange(len(rows)) * width - offsets[:-1], lengths) + np.arange(len(at))
        ids = np.zeros(len(rows) * width, np.int32)
        channels = np.zeros((len(rows) * width, self.channels.shape[1]), np.float32)
        ids[to], channels[to] = self.ids[at], self.channels[at]
        return ids.reshape(len(rows), width), channels.reshape(len(rows), width, -1), self.logits[rows]


@dataclass(frozen=True)
class Member:
    """The settings of one network and its training.

    Attributes:
        seed: of the weights, the dropout and the order.
        epochs: passes over the texts.
        add_logit: whether the n-grams' logit is added to the network's.
        embedding, units, cell, word_dropout, embedding_dropout: as in `evidence_network`.
        evidence: whether the network sees channels at all.
        batch_size: texts a batch.
        learning_rate: the highest; it rises over `warm_up` steps and falls to the share `last_rate` of
            it.
        weight_averaging: the share of training, its last part, over which weights are averaged.
    """

    seed: int = 0
    epochs: int = 3
    add_logit: bool = True
    embedding: int = 64
    units: int = 64
    cell: str | None = "lstm"
    evidence: bool = True
    word_dropout: float = 0.2
    embedding_dropout: float = 0.5
    batch_size: int = 32
    learning_rate: float = 2e-3
    warm_up: int = 200
    last_rate: float = 0.3
    weight_averaging: float = 0.65


@dataclass(frozen=True)
class Tagger:
    """The settings of a network that says of words what their n-grams say, and of its training.

    Attributes:
        dropout: of the states that say it.
        length: of longer texts the first and last tokens are learnt.
        Others as in `Member`; `embedding_dropout` drops the same values in the whole text.
    """

    seed: int = 0
    epochs: int = 4
    embedding: int = 256
    units: int = 128
    cell: str = "lstm"
    word_dropout: float = 0.05
    embedding_dropout: float = 0.05
    dropout: float = 0.1
    batch_size: int = 32
    learning_rate: float = 1e-2
    warm_up: int = 200
    last_rate: float = 0.1
    weight_averaging: float = 0.6
    length: int = 600


def batches(
    lengths: NDArray[np.int64],
    size: int,
    key: NDArray[Any] | None = None,
    widths: Sequence[int] = WIDTHS,
) -> Iterator[tuple[NDArray[np.int64], int]]:
    """Yield the rows of each batch, sorted by `key` (the lengths), and the width to pad them to."""
    order = np.argsort(lengths if key is None else key, kind="stable")
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        longest = int(lengths[rows].max())
        yield rows, next((width for width in widths if width >= longest), -(-longest // 256) * 256)
