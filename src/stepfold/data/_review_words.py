"""Tokens of reviews in any language: words, ratings, punctuation."""

import functools
import itertools
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from ._errors import DataError
from ._vocabulary import FIRST_WORD, UNKNOWN, Vocabulary, check_size

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


def review_tokens(text: str) -> list[str]:
    """Split a text into tokens.

    Words are case-folded and keep inner apostrophes; a rating ("7/10") is one token; punctuation is kept,
    runs of it as "!!", "??", "…", "--" or asterisks; tags such as ``<br />`` are dropped. Characters of
    scripts without spaces are tokens of their own. ``review_tokens("Isn't BAD... 7 / 10!!!")`` gives
    ``["isn't", "bad", "…", "7/10", "!!"]``.
    """
    text = unicodedata.normalize("NFKC", text).replace("’", "'").casefold()
    if "<" in text:
        text = _TAGS.sub(" ", text)
    for part, pattern, replacement in _SUBSTITUTIONS:
        if part in text:
            text = pattern.sub(replacement, text)
    return (_ASCII if text.isascii() else _unicode_pattern()).findall(text)


@dataclass(frozen=True)
class ReviewWords(Vocabulary):
    """The tokens of reviews, as ``review_tokens`` cuts them: ``words[k]`` has the id ``k + 4``."""

    kind: ClassVar[str] = "reviews"
    words: tuple[str, ...]

    @classmethod
    def learn(cls, texts: Iterable[str], size: int = 10000) -> "ReviewWords":
        """Choose the most common tokens; those of equal count in the order in which they first appear."""
        room = check_size(size)
        counts = Counter(itertools.chain.from_iterable(map(review_tokens, texts)))
        if not counts:
            raise DataError("the texts hold no words at all; check which column holds the text")
        return cls(tuple(word for word, _ in counts.most_common(room)))

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: k for k, word in enumerate(self.words, FIRST_WORD)}

    def tokens(self, text: str) -> list[str]:
        """Split a text into tokens, one for each of the ids of ``encode`` after the start mark."""
        return review_tokens(text)

    def _encode_batch(self, texts: list[str]) -> Iterator[Sequence[int]]:
        find = self._ids.get
        for text in texts:
            yield list(map(find, review_tokens(text), itertools.repeat(UNKNOWN)))

    def _stored(self) -> dict[str, Any]:
        return {}
