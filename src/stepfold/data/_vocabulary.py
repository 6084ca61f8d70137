"""What every vocabulary does: ids from texts and back, whichever way the texts are split into tokens."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ._errors import DataError
from ._growing import GrowingIds
from ._ragged import Ragged

PADDING, START, UNKNOWN, FIRST_WORD = 0, 1, 2, 4
"""Keras's special ids; 3 stays unused because its words count from 1 and are shifted by 3."""

MARKS = ("<padding>", "<start>", "<unknown>", "<unused>")
FORMAT = "stepfold vocabulary 1"
_BATCH_TEXTS, _BATCH_CHARACTERS = 1024, 2**21
_COUNTED_AT_ONCE = 2**22


class Vocabulary(ABC):
    """The tokens that have ids: 0 is padding, 1 the start mark, 2 unknown, 3 unused, tokens count from 4.

    Attributes:
        kind: the name that tells a stored vocabulary what it is.
        words: the tokens in the order of their ids.
    """

    kind: ClassVar[str]
    words: tuple[str, ...]

    @classmethod
    @abstractmethod
    def learn(cls, texts: Iterable[str], size: int = 10000) -> Self:
        """Choose the tokens from texts, which are iterated over more than once.

        Args:
            texts: any number of texts; they are not held in memory.
            size: every id is below it.

        Raises:
            DataError: the texts hold no words at all, or ``size`` leaves room for none.
        """

    @abstractmethod
    def tokens(self, text: str) -> list[str]:
        """Split a text into tokens, one for each of the ids of ``encode`` after the start mark."""

    @abstractmethod
    def _encode_batch(self, texts: list[str]) -> Iterator[Sequence[int]]:
        """Yield each text's ids without the start mark."""

    @abstractmethod
    def _stored(self) -> dict[str, Any]:
        """Return what ``vocabulary_from_json`` needs beside the words."""

    @property
    def size(self) -> int:
        """The number of distinct ids, the special ones included: every id is below it."""
        return FIRST_WORD + len(self.words)

    def encode(self, text: str) -> NDArray[np.int32]:
        """Return the ids of a text, (tokens + 1,) int32: the start mark, then each token or ``UNKNOWN``."""
        (ids,) = self._encode_batch([text])
        return np.array([START, *ids], np.int32)

    def encode_all(self, texts: Iterable[str], folder: str | Path | None = None) -> Ragged:
        """Return the ids of many texts, as ``encode`` gives them, in one pass.

        Args:
            texts: any number of texts; a few of them are in memory at a time.
            folder: where the ids go when they are more than 128 MiB: to a file without a name, mapped into
                memory, which vanishes with the last reference to it. None to hold them in memory.

        Raises:
            DataError: the folder cannot be written to, or its disk is full.
        """
        with GrowingIds(folder) as grown:
            for batch in _batches(texts):
                flat: list[int] = []
                ends: list[int] = []
                for ids in self._encode_batch(batch):
                    flat.append(START)
                    flat.extend(ids)
                    ends.append(len(flat))
                grown.append(np.array(flat, np.int32), np.array(ends, np.int64))
            return grown.finish()

    def decode(self, ids: Iterable[int]) -> str:
        """Return the words of some ids, special ones in angle brackets; an id outside is a ``DataError``."""
        return " ".join(self._spelled(ids))

    def _spelled(self, ids: Iterable[int]) -> list[str]:
        found = []
        for id_ in ids:
            if not 0 <= id_ < self.size:
                raise DataError(
                    f"id {id_} is outside the vocabulary: ids run from 0 to {self.size - 1}; "
                    "encode the text with the vocabulary that the model was trained with"
                )
            found.append(MARKS[id_] if id_ < FIRST_WORD else self.words[id_ - FIRST_WORD])
        return found

    def to_json(self) -> str:
        """Return the vocabulary as one JSON text, which ``vocabulary_from_json`` reads."""
        return json.dumps({"format": FORMAT, "kind": self.kind, "words": self.words, **self._stored()})

    @staticmethod
    def load(path: str | Path) -> "Vocabulary":
        """Read a file of what ``to_json`` returned, of any kind; ``DataError`` if it holds anything else."""
        from ._stored import load_vocabulary

        return load_vocabulary(Path(path))


def unknown_share(sequences: Ragged, rows: Sequence[int] | NDArray[np.int64] | None = None) -> float:
    """Return the share of unknown tokens among all tokens of some sequences of ids, or of all with None.

    The start marks do not count. Without tokens the share is 0.
    """
    if rows is None:
        parts = (
            sequences.values[k : k + _COUNTED_AT_ONCE]
            for k in range(0, len(sequences.values), _COUNTED_AT_ONCE)
        )
    else:
        parts = (sequences[int(row)] for row in rows)
    unknown = tokens = 0
    for part in parts:
        unknown += int(np.count_nonzero(part == UNKNOWN))
        tokens += int(np.count_nonzero(part >= UNKNOWN))
    return unknown / max(tokens, 1)


def check_size(size: int) -> int:
    """Return the number of tokens that may have ids; ``DataError`` if there is room for none."""
    if size <= FIRST_WORD:
        raise DataError(
            f"a vocabulary of {size} ids has no room for words: the first {FIRST_WORD} are special; "
            f"give at least {FIRST_WORD + 1}"
        )
    return size - FIRST_WORD


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    characters = 0
    for text in texts:
        batch.append(text)
        characters += len(text)
        if len(batch) == _BATCH_TEXTS or characters > _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch
