"""What the n-grams of texts say about their classes."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._arrays import Array, checked_array
from ._tables import FIRST_WORD, NONE, Integers, Ngrams, in_scope

_SCALE = 5.0
"""What the regression's weights are multiplied with, so that both kinds of channels are about 1."""
_LONGEST = 8


class Evidence(NamedTuple):
    """What n-grams say about each token and about each text.

    Attributes:
        channels: (tokens, channels), in a batch (batch, time, channels); for each kind of n-gram and each
            score first the log-count ratio of the n-gram that ends at the token, then five times what it adds
            to the regression's logit.
        logits: (texts, scores), the regression's logits. Two classes have one score, more have one each.
    """

    channels: Array
    logits: Array


def channels_of(features: NDArray[np.int32], ratios: Array, weights: Array) -> Array:
    """Return the channels of tokens from their features (tokens, kinds): (tokens, 2 · kinds · scores)."""
    tokens, kinds = features.shape
    found = np.zeros((tokens, kinds, 2, ratios.shape[1]), ratios.dtype)
    known = features >= 0
    found[known, 0] = ratios[features[known]]
    found[known, 1] = ratios.dtype.type(_SCALE) * weights[features[known]]
    return found.reshape(tokens, kinds * 2 * ratios.shape[1])


@dataclass(frozen=True, eq=False)
class NgramScores:
    """N-grams of words, and of words marked where a negation stands before them, with two numbers for each.

    Args:
        vocabulary_size: every id of a word is below it; where it is marked, its size is added to it.
        negations, stops: (n,) ids of the words that begin and end the scope of a negation, ascending int64.
        words, marked: the keys of the n-grams of each length, see `Ngrams`; ids are below twice the size.
        ratios, weights: (features, scores), the log-count ratio of each n-gram, and what it adds to a text's
            logit; first the n-grams of `words`, then those of `marked`.
        bias: (scores,), what is added to a text's logits.
    """

    vocabulary_size: int
    negations: NDArray[np.int64] = field(repr=False)
    stops: NDArray[np.int64] = field(repr=False)
    words: tuple[NDArray[np.int64], ...] = field(repr=False)
    marked: tuple[NDArray[np.int64], ...] = field(repr=False)
    ratios: Array = field(repr=False)
    weights: Array = field(repr=False)
    bias: Array = field(repr=False)

    def __post_init__(self) -> None:
        if type(self.vocabulary_size) is not int or not FIRST_WORD <= self.vocabulary_size < 2**30:
            raise ValueError(
                f"vocabulary_size must be an integer of at least 2, not {self.vocabulary_size!r:.40}"
            )
        for name in ("words", "marked"):
            if not 0 < len(getattr(self, name)) <= _LONGEST:
                raise ValueError(f"{name} must be the keys of 1 to {_LONGEST} lengths of n-grams")
        for name, array in self.arrays():
            if name in ("ratios", "weights"):
                checked_array(name, array, ("features", "scores"), empty=True)
            elif name == "bias":
                checked_array(name, array, ("scores",))
            elif not isinstance(array, np.ndarray) or array.dtype != np.int64 or array.ndim != 1:
                kind = (
                    f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
                )
                raise TypeError(f"{name} must be integers, int64 (n,), not {kind}")
            elif len(array) and (array[0] < 0 or (array[1:] < array[:-1]).any()):
                raise ValueError(f"{name} must be ascending integers of at least 0")
        features = sum(map(len, (*self.words, *self.marked)))
        for name, shape in (("ratios", self.ratios.shape), ("weights", self.weights.shape)):
            if shape != (features, len(self.bias)):
                raise ValueError(
                    f"{name} has shape {shape}, expected (features, scores) = {(features, len(self.bias))}"
                )

    def arrays(self) -> list[tuple[str, Array]]:
        """Return all arrays by name; the keys are words.1, words.2, … and marked.1, …"""
        keys = [(f"words.{n}", each) for n, each in enumerate(self.words, 1)]
        keys += [(f"marked.{n}", each) for n, each in enumerate(self.marked, 1)]
        rest = ("negations", "stops", "ratios", "weights", "bias")
        return [*keys, *((name, getattr(self, name)) for name in rest)]

    @property
    def channels(self) -> int:
        """The number of channels of a token."""
        return 2 * (len(self.words) + len(self.marked)) * self.scores

    @property
    def scores(self) -> int:
        """The number of scores."""
        return len(self.bias)

    @cached_property
    def _tables(self) -> tuple[Ngrams, Ngrams]:
        return Ngrams(2 * self.vocabulary_size, self.words), Ngrams(2 * self.vocabulary_size, self.marked)

    def evidence(self, ids: Integers, offsets: NDArray[np.int64]) -> Evidence:
        """Return what the n-grams of texts say."""
        features = self._features(ids, offsets)
        channels = channels_of(features, self.ratios, self.weights)
        return Evidence(channels, self._logits(features, offsets))

    def evidence_of_beginnings(self, ids: Integers) -> Evidence:
        """Return what the n-grams of one text (tokens,) say, with the logits of each of its beginnings, from
        none of its tokens to all of them: (tokens + 1, scores)."""
        features = self._features(ids, np.array([0, len(ids)]))
        at, kind = np.nonzero(features >= 0)  # in the order of the tokens
        new, first = np.unique(features[at, kind], return_index=True)
        added = [
            np.bincount(at[first] + 1, weights, minlength=len(ids) + 1) for weights in self.weights[new].T
        ]
        logits = np.cumsum(np.stack(added, axis=1), axis=0) + self.bias
        return Evidence(channels_of(features, self.ratios, self.weights), logits.astype(self.bias.dtype))

    def _features(self, ids: Integers, offsets: NDArray[np.int64]) -> NDArray[np.int32]:
        """Return the features of the n-grams of each kind that end at each token, or `NONE`."""
        ids = ids.astype(np.int64)
        shifted = ids + self.vocabulary_size * in_scope(ids, offsets, self.negations, self.stops)
        words, marked = self._tables
        found = words.features(ids, offsets), marked.features(shifted, offsets)
        second = np.where(found[1] >= 0, found[1] + words.size, NONE)
        return np.concatenate((found[0], second), axis=1).astype(np.int32)

    def _logits(self, features: NDArray[np.int32], offsets: NDArray[np.int64]) -> Array:
        """Return the sum over the distinct n-grams of each text, (texts, scores)."""
        count, size = len(offsets) - 1, max(len(self.ratios), 1)
        text = np.repeat(np.arange(count), np.diff(offsets))[:, None]
        pairs = np.unique((text * size + features)[features >= 0])
        text, features = np.divmod(pairs, size)
        sums = [
            np.bincount(text, weights, minlength=count) for weights in self.weights[features].T
        ]  # float64
        return (np.stack(sums, axis=1) + self.bias).astype(self.bias.dtype)
