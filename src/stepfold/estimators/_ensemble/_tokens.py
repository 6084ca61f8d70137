"""Texts of any language as tokens and ids: words, ratings, punctuation; marks after negations."""

import functools
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

PADDING, UNKNOWN, FIRST_WORD = 0, 1, 2
"""The ids that are no words; words follow by descending count."""

_TAGS = re.compile(r"<[^<>]{0,200}>")
_SUBSTITUTIONS = (
    ("!!!", re.compile(r"!{3,}"), "!!"),
    ("???", re.compile(r"\?{3,}"), "??"),
    ("..", re.compile(r"\.{2,}"), "…"),
    (" /", re.compile(r"(\d)\s+/\s*(\d)"), r"\1/\2"),
    ("/ ", re.compile(r"(\d)/\s+(\d)"), r"\1/\2"),
)
"""What a text must contain for a substitution to be tried, the pattern, its replacement."""

_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
"""Scripts without spaces between words: each character is a token, and n-grams make up the words."""

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
_SCOPE = 5


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


def _pattern(word: str, first: str) -> re.Pattern[str]:
    """Return the pattern of a token: `word` is a word's character, `first` what comes before all else."""
    return re.compile(
        rf"{first}{word}(?:{word}|\d)*(?:'(?:{word}|\d)+)*"
        rf"|\d+(?:[.,/:]\d+)*(?:{word}+)?"  # 7/10, 1,000, 80s
        r"|!!|\?\?|-{2,}|\*+|[:;]-?[()](?!\w)"
        r"|[^\w\s]"
    )


_ASCII = _pattern("[a-z]", "")
"""The same pattern for texts that are ASCII, which is quicker."""


@functools.cache
def _unicode_pattern() -> re.Pattern[str]:
    separating = "".join(
        re.escape(chr(code))
        for code in range(0x10000)
        if unicodedata.category(chr(code))[0] in "PSZC" or chr(code).isspace()
    )
    return _pattern(rf"[^{separating}\d{_UNSPACED}]", f"[{_UNSPACED}]|")


def tokenise(text: str) -> list[str]:
    """Split a text into tokens.

    Words are case-folded and keep inner apostrophes; a rating ("7/10") is one token; punctuation is kept,
    runs of it as "!!", "??", "…", "--" or asterisks; tags such as ``<br />`` are dropped. Characters of
    scripts without spaces are tokens of their own. ``tokenise("Isn't BAD... 7 / 10!!!")`` gives
    ``["isn't", "bad", "…", "7/10", "!!"]``.
    """
    text = unicodedata.normalize("NFKC", text).replace("’", "'").casefold()
    if "<" in text:
        text = _TAGS.sub(" ", text)
    for part, pattern, replacement in _SUBSTITUTIONS:
        if part in text:
            text = pattern.sub(replacement, text)
    return (_ASCII if text.isascii() else _unicode_pattern()).findall(text)


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
        drafts = [np.fromiter(map(provisional.__getitem__, tokenise(text)), np.int32) for text in texts]
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
            *_joined([np.array([get(token, UNKNOWN) for token in tokenise(t)], np.int32) for t in texts])
        )

    def marked(self, encoded: EncodedTexts) -> NDArray[np.bool_]:
        """Return which tokens stand in the scope of a negation, (tokens,).

        The scope is the five tokens after a negation, up to the next punctuation or the text's end.
        """
        negation = np.zeros(self.size, bool)
        stop = np.zeros(self.size, bool)
        for k, word in enumerate(self.words, FIRST_WORD):
            negation[k] = word in _NEGATIONS or word.endswith("n't")
            stop[k] = not word[0].isalnum() and not word[-1].isalnum()
        place = np.arange(len(encoded.ids))
        stops = stop[encoded.ids]
        last_negation = _last_before(negation[encoded.ids], place)
        last_stop = _last_before(stops, place)
        start = np.repeat(encoded.offsets[:-1], encoded.lengths)
        inside = (place - last_negation <= _SCOPE) & (last_negation > last_stop) & (last_negation >= start)
        return inside & ~stops


def _joined(drafts: list[NDArray[np.int32]]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    offsets = np.cumsum([0, *map(len, drafts)], dtype=np.int64)
    return np.concatenate([np.zeros(0, np.int32), *drafts]), offsets


def _last_before(here: NDArray[np.bool_], place: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the last place before each one where a condition held; far before all if there is none."""
    last = np.maximum.accumulate(np.where(here, place, -(_SCOPE + 1)))
    return np.concatenate(([-(_SCOPE + 1)], last[:-1])) if len(last) else last
