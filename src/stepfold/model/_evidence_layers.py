"""The layers of an ensemble of networks that read what n-grams say beside the words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..data import FIRST_WORD as FIRST_OF_VOCABULARY
from ..data import UNKNOWN as UNKNOWN_OF_VOCABULARY
from ._arrays import Array
from ._signal import Signal
from .ngrams import FIRST_WORD, PADDING, UNKNOWN, Evidence, NgramScores, first_and_last

if TYPE_CHECKING:
    from ._layers import Layer

OFFSET = FIRST_OF_VOCABULARY - FIRST_WORD
"""What a word's id in the vocabulary is greater than its id in n-grams and tables."""

_LONGEST = 1_000_000


@dataclass(frozen=True, eq=False)
class EvidenceLayer:
    """What the n-grams of texts say about the classes (Wang & Manning 2012), and the ids of their words.

    Takes a vocabulary's ids. Those that come out are others: 0 padding and the start mark, both masked, 1
    unknown, and from 2 on the words, each two less than in the vocabulary.

    Args:
        ngrams: the n-grams.
        embedded: an id that comes out is below it; rarer words are unknown, though not for the n-grams.
        length: of longer texts the first and last tokens come out; their n-grams are those of the whole.
    """

    ngrams: NgramScores
    embedded: int
    length: int

    def __post_init__(self) -> None:
        if not isinstance(self.ngrams, NgramScores):
            raise TypeError(f"ngrams must be NgramScores, not {type(self.ngrams).__name__}")
        for name, least, most in (
            ("embedded", FIRST_WORD, self.ngrams.vocabulary_size),
            ("length", 1, _LONGEST),
        ):
            value = getattr(self, name)
            if type(value) is not int or not least <= value <= most:
                raise ValueError(f"{name} must be an integer from {least} to {most:,}, not {value!r:.40}")

    @property
    def size(self) -> int:
        """The number of distinct ids of the vocabulary."""
        return self.ngrams.vocabulary_size + OFFSET

    def __call__(self, signal: Signal) -> Signal:
        """(batch, time) ids → (batch, time) ids, padded on the left, with their mask and evidence; IndexError
        for an id that the vocabulary has not."""
        given = signal.values
        if given.dtype.kind not in "iu":
            raise TypeError(f"n-grams are of ids, integers (batch, time), not {given.dtype}")
        if given.size and not 0 <= given.min() <= given.max() < self.size:
            raise IndexError(
                f"the ids run from {given.min()} to {given.max()}: give ids from 0 to {self.size - 1}"
            )
        active = given >= UNKNOWN_OF_VOCABULARY
        if signal.mask is not None:
            active &= signal.mask
        ids = _renumbered(given[active])
        offsets = np.concatenate(([0], np.cumsum(active.sum(axis=1))))
        found = self.ngrams.evidence(ids, offsets)
        kept, offsets = first_and_last(offsets, self.length)
        time = max(min(given.shape[1], self.length), 1)
        return self._padded(ids[kept], offsets, found._replace(channels=found.channels[kept]), time)

    def beginnings(self, sequence: Array) -> Callable[[Sequence[int]], Signal]:
        """Return what gives the signal of beginnings of a text, (time,) ids, by their lengths, each quicker
        than from the ids."""
        active = sequence >= UNKNOWN_OF_VOCABULARY
        counts = np.concatenate(([0], np.cumsum(active)))
        ids = _renumbered(sequence[active])
        found = self.ngrams.evidence_of_beginnings(ids)

        def signal(lengths: Sequence[int]) -> Signal:
            ends = counts[np.asarray(lengths)]
            half, most = self.length // 2, self.length
            chosen = [
                np.arange(end) if end <= most else np.r_[:half, end - (most - half) : end] for end in ends
            ]
            at, offsets = np.concatenate(chosen), np.cumsum([0, *map(len, chosen)])
            evidence = Evidence(found.channels[at], found.logits[ends])
            return self._padded(ids[at], offsets, evidence, max(1, int(np.diff(offsets).max())))

        return signal

    def _padded(self, ids: Array, offsets: NDArray[np.int64], found: Evidence, time: int) -> Signal:
        """Return texts, their ids and channels one after another, padded to so many timesteps."""
        lengths, rows = np.diff(offsets), len(offsets) - 1
        shift = np.arange(1, rows + 1) * time - lengths - offsets[:-1]
        to = np.repeat(shift, lengths) + np.arange(offsets[-1])
        values = np.full(rows * time, PADDING, np.int64)
        values[to] = np.where(ids < self.embedded, ids, UNKNOWN)
        channels = np.zeros((rows * time, found.channels.shape[1]), found.channels.dtype)
        channels[to] = found.channels
        evidence = Evidence(channels.reshape(rows, time, -1), found.logits)
        return Signal(values.reshape(rows, time), (values != PADDING).reshape(rows, time), None, evidence)


def _renumbered(ids: Array) -> NDArray[np.int64]:
    """Return a vocabulary's ids, of words and unknown, as those of n-grams."""
    return np.maximum(ids.astype(np.int64) - OFFSET, UNKNOWN)


@dataclass(frozen=True, eq=False)
class JoinEvidenceLayer:
    """Puts the sum of each channel over time, and the n-grams' logits, behind the values."""

    def __call__(self, signal: Signal) -> Signal:
        """(batch, features) → (batch, features + channels + scores)."""
        assert signal.evidence is not None, "a model checks that there is evidence"
        channels, logits = signal.evidence
        return signal.with_values(np.concatenate((signal.vectors(), channels.sum(axis=1), logits), axis=1))


@dataclass(frozen=True, eq=False)
class EnsembleLayer:
    """The mean of what several networks make of the same: `members` holds the layers of each in order."""

    members: tuple[tuple[Layer, ...], ...] = field(repr=False)

    def __post_init__(self) -> None:
        members = tuple(map(tuple, self.members))
        if not all(members) or not members:
            raise ValueError("an ensemble needs at least one network, and each at least one layer")
        if any(isinstance(layer, EnsembleLayer) for member in members for layer in member):
            raise ValueError("a network of an ensemble cannot hold another ensemble; give its networks")
        object.__setattr__(self, "members", members)

    def __call__(self, signal: Signal) -> Signal:
        """What the networks take → (batch, outputs)."""
        found = []
        for member in self.members:
            passed = signal
            for layer in member:
                passed = layer(passed)
            found.append(passed.vectors())
        return Signal(self.mean(found))

    def mean(self, outputs: list[Array]) -> Array:
        """Return the mean of the networks' outputs."""
        found: Array = np.mean(outputs, axis=0, dtype=outputs[0].dtype)
        return found
