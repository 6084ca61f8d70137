"""Words and ids as in Keras's IMDB: ASCII separators, ids from 4 by descending count."""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ._errors import DataError
from ._vocabulary import FIRST_WORD, UNKNOWN, Vocabulary, check_size

_SEPARATORS = b'!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n'
_UPPER, _LOWER = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", b"abcdefghijklmnopqrstuvwxyz"
_TABLE = bytes.maketrans(_UPPER + _SEPARATORS, _LOWER + b" " * len(_SEPARATORS))
_MOST_COUNTED = 2_000_000


def tokenise(text: str) -> list[bytes]:
    """Split a text into words of UTF-8 bytes: ASCII lower case, Keras's separators, single spaces only.

    ``tokenise("It's GOOD, really!")`` gives ``[b"it's", b"good", b"really"]``. No other white space
    separates words, since none does in the tokeniser that made the official word ids.
    """
    raw = text.encode("utf-8", "surrogatepass").translate(_TABLE)
    return list(filter(None, raw.split(b" ")))


@dataclass(frozen=True)
class KerasWords(Vocabulary):
    """The words of ``keras.datasets.imdb``, the most common first: ``words[k]`` has the id ``k + 4``.

    Only English is split well: ASCII letters alone change case, and only ASCII punctuation separates words.
    """

    kind: ClassVar[str] = "keras"
    words: tuple[str, ...]

    @classmethod
    def learn(cls, texts: Iterable[str], size: int = 10000) -> "KerasWords":
        """Choose the most common words; those of equal count in the order in which they first appear.

        Of more than two million different words the rarest are forgotten on the way: memory is bounded.
        """
        room = check_size(size)
        counts: Counter[bytes] = Counter()
        for text in texts:
            counts.update(tokenise(text))
            if len(counts) > _MOST_COUNTED:
                counts = _halved(counts)
        if not counts:
            raise DataError("the texts hold no words at all; check which column holds the text")
        return cls(tuple(_text(word) for word, _ in counts.most_common(room)))

    @cached_property
    def _ids(self) -> dict[bytes, int]:
        return {word.encode("utf-8", "surrogatepass"): k for k, word in enumerate(self.words, FIRST_WORD)}

    def tokens(self, text: str) -> list[str]:
        """Split a text into words, one for each of the ids of ``encode`` after the start mark."""
        return [_text(word) for word in tokenise(text)]

    def _encode_batch(self, texts: list[str]) -> Iterator[Sequence[int]]:
        find = self._ids.get
        for text in texts:
            yield list(map(find, tokenise(text), itertools.repeat(UNKNOWN)))

    def _stored(self) -> dict[str, Any]:
        return {}


def encode_all(texts: Iterable[str], vocabulary_size: int) -> tuple[list[NDArray[np.int32]], KerasWords]:
    """Count the words, give ids below ``vocabulary_size`` to the most common, and encode each text.

    Returns a list of (words + 1,) int32, each beginning with the start mark, and the vocabulary.
    """
    vocabulary = KerasWords.learn(texts, vocabulary_size)
    return list(vocabulary.encode_all(texts)), vocabulary


def _halved(counts: Counter[bytes]) -> Counter[bytes]:
    """Return the counts without the rarest words, at most half as many."""
    least = 1
    while len(counts) > _MOST_COUNTED // 2:
        least += 1
        counts = Counter({word: count for word, count in counts.items() if count >= least})
    return counts


def _text(word: bytes) -> str:
    return word.decode("utf-8", "surrogatepass")
