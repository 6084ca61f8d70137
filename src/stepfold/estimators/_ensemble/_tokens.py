"""Texts of any language as ids of their tokens; which of these are negations and punctuation."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...data import review_tokens
from ...model.ngrams import FIRST_WORD, UNKNOWN

_NEGATIONS = frozenset(
    re.findall(
        r"\w+",
        """
        no not never none nobody nothing nowhere neither nor cannot cant dont doesnt didnt isnt wasnt wont
        wouldnt couldnt shouldnt arent werent hasnt havent without hardly barely scarcely
        nicht kein keine keinen keinem keiner nie niemals nichts ohne ne pas jamais rien sans aucun aucune
        nunca nada sin ninguna ninguno não nem sem non mai niente senza niet geen nooit
        """,
    )
)
"""English, German, French, Spanish, Portuguese, Italian, Dutch; and English words that end with "n't"."""


class EncodedTexts(NamedTuple):
    """Token ids of many texts, one after another.

    Attributes:
        ids: (tokens,) int32.
        offsets: (texts + 1,) int64; text k has the tokens ``offsets[k]`` to ``offsets[k + 1]``.
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The number of tokens of each text, (texts,)."""
        return np.diff(self.offsets)

    def take(self, rows: NDArray[np.int64]) -> "EncodedTexts":
        """Return the encoded of some of the texts, in the order given."""
        at, offsets = positions(self.offsets, rows)
        return EncodedTexts(self.ids[at], offsets)


def positions(
    offsets: NDArray[np.int64], rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where the elements of some ragged rows lie, (elements,), and the new offsets, (rows + 1,)."""
    lengths = np.diff(offsets)[rows]
    new = np.concatenate(([0], np.cumsum(lengths)))
    return np.repeat(offsets[:-1][rows] - new[:-1], lengths) + np.arange(new[-1]), new


class ReviewVocabulary:
    """The words that have ids, the most common first: the word with index ``k`` has the id ``k +
    FIRST_WORD``.

    Args:
        words: distinct tokens.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = tuple(words)
        self._ids = {word: k for k, word in enumerate(self.words, FIRST_WORD)}

    @property
    def size(self) -> int:
        """The number of distinct ids: every id is below it."""
        return FIRST_WORD + len(self.words)

    @classmethod
    def learn(cls, texts: Iterable[str], *, at_least: int = 2) -> tuple["ReviewVocabulary", EncodedTexts]:
        """Return the vocabulary of the tokens that occur at least so often, and the texts' ids."""
        provisional: defaultdict[str, int] = defaultdict()
        provisional.default_factory = provisional.__len__
        drafts = [np.fromiter(map(provisional.__getitem__, review_tokens(text)), np.int32) for text in texts]
        draft, offsets = _joined(drafts)
        counts = np.bincount(draft, minlength=len(provisional))
        by_count = np.argsort(-counts, kind="stable")
        by_count = by_count[: np.count_nonzero(counts >= at_least)]
        ids = np.full(len(provisional), UNKNOWN, np.int32)
        ids[by_count] = np.arange(FIRST_WORD, FIRST_WORD + len(by_count))
        spelled = list(provisional)
        return cls([spelled[k] for k in by_count]), EncodedTexts(ids[draft], offsets)

    def encode(self, texts: Iterable[str]) -> EncodedTexts:
        """Return the texts' ids; tokens without one are ``UNKNOWN``."""
        get = self._ids.get
        return EncodedTexts(
            *_joined([np.array([get(token, UNKNOWN) for token in review_tokens(t)], np.int32) for t in texts])
        )

    @property
    def negations(self) -> NDArray[np.int64]:
        """The ids of the words after which words are marked, ascending."""
        return self._where(lambda word: word in _NEGATIONS or word.endswith("n't"))

    @property
    def stops(self) -> NDArray[np.int64]:
        """The ids of punctuation, at which the scope of a negation ends, ascending."""
        return self._where(lambda word: not word[0].isalnum() and not word[-1].isalnum())

    def _where(self, holds: Callable[[str], bool]) -> NDArray[np.int64]:
        return np.array([k for k, word in enumerate(self.words, FIRST_WORD) if holds(word)], np.int64)


def _joined(drafts: list[NDArray[np.int32]]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    offsets = np.cumsum([0, *map(len, drafts)], dtype=np.int64)
    return np.concatenate([np.zeros(0, np.int32), *drafts]), offsets
