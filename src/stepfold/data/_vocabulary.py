"""Words and their ids, as in Keras: 0 padding, 1 start, 2 unknown, words from 4 by descending count."""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ._errors import DataError, text_of

PADDING, START, UNKNOWN, FIRST_WORD = 0, 1, 2, 4
"""Keras's special ids; 3 stays unused because its words count from 1 and are shifted by 3."""

_SEPARATORS = b'!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n'
_UPPER, _LOWER = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", b"abcdefghijklmnopqrstuvwxyz"
_TABLE = bytes.maketrans(_UPPER + _SEPARATORS, _LOWER + b" " * len(_SEPARATORS))
_FORMAT = "stepfold vocabulary 1"


def tokenise(text: str) -> list[bytes]:
    """Split a text into words of UTF-8 bytes: ASCII lower case, Keras's separators, single spaces only.

    ``tokenise("It's GOOD, really!")`` gives ``[b"it's", b"good", b"really"]``. No other white space
    separates words, since none does in the tokeniser that made the official word ids.
    """
    raw = text.encode("utf-8", "surrogatepass").translate(_TABLE)
    return list(filter(None, raw.split(b" ")))


@dataclass(frozen=True)
class Vocabulary:
    """The words that have ids, the most common first: the word with index ``k`` has the id ``k + 4``."""

    words: tuple[str, ...]

    @property
    def size(self) -> int:
        """The number of distinct ids, the special ones included: every id is below it."""
        return FIRST_WORD + len(self.words)

    @cached_property
    def _ids(self) -> dict[bytes, int]:
        return {word.encode("utf-8", "surrogatepass"): k for k, word in enumerate(self.words, FIRST_WORD)}

    def encode(self, text: str) -> NDArray[np.int32]:
        """Return the ids of a text, (words + 1,) int32: the start mark, then each word or ``UNKNOWN``."""
        ids = self._ids
        return np.array([START, *(ids.get(word, UNKNOWN) for word in tokenise(text))], np.int32)

    def decode(self, ids: Iterable[int]) -> str:
        """Return the words of some ids, special ones in angle brackets; an id outside is a ``DataError``."""
        marks = ("<padding>", "<start>", "<unknown>", "<unused>")
        found = []
        for id_ in ids:
            if not 0 <= id_ < self.size:
                raise DataError(
                    f"id {id_} is outside the vocabulary: ids run from 0 to {self.size - 1}; "
                    "encode the text with the vocabulary that the model was trained with"
                )
            found.append(marks[id_] if id_ < FIRST_WORD else self.words[id_ - FIRST_WORD])
        return " ".join(found)

    def to_json(self) -> str:
        """Return the vocabulary as one JSON text, which ``load`` reads."""
        return json.dumps({"format": _FORMAT, "words": self.words})

    @classmethod
    def load(cls, path: str | Path) -> "Vocabulary":
        """Read a vocabulary that ``to_json`` wrote; ``DataError`` if the file holds anything else."""
        path = Path(path)
        try:
            stored = json.loads(text_of(path.read_bytes(), str(path)))
            words = stored["words"] if stored["format"] == _FORMAT else None
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror}") from None
        except (json.JSONDecodeError, KeyError, TypeError):
            words = None
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise DataError(f"{path} holds no vocabulary; take the one that training wrote beside the model")
        return cls(tuple(words))


def encode_all(texts: Sequence[str], vocabulary_size: int) -> tuple[list[NDArray[np.int32]], Vocabulary]:
    """Count the words, give ids below ``vocabulary_size`` to the most common, and encode each text.

    Words of equal count stand in the order in which they first appear. Returns a list of (words + 1,) int32,
    each beginning with the start mark, and the vocabulary.
    """
    # Each new word gets the next provisional id: one pass, and each word is stored once.
    provisional: defaultdict[bytes, int] = defaultdict()
    provisional.default_factory = provisional.__len__
    drafts = [np.fromiter(map(provisional.__getitem__, tokenise(text)), np.int32) for text in texts]
    if not provisional:
        raise DataError("the texts hold no words at all; check which column holds the text")

    counts = np.bincount(np.concatenate(drafts))
    by_count = np.argsort(-counts, kind="stable")[: max(vocabulary_size - FIRST_WORD, 0)]
    ids = np.full(len(provisional), UNKNOWN, np.int32)
    ids[by_count] = np.arange(FIRST_WORD, FIRST_WORD + len(by_count))

    spelled = list(provisional)
    common = tuple(spelled[k].decode("utf-8", "surrogatepass") for k in by_count)
    start = np.array([START], np.int32)
    return [np.concatenate((start, ids[draft])) for draft in drafts], Vocabulary(common)
