"""Vocabularies for texts in any language, learnt by the library ``tokenizers``."""

import itertools
import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any, ClassVar

from ._errors import DataError
from ._vocabulary import FIRST_WORD, MARKS, UNKNOWN, Vocabulary, check_size
from ._words import split_words

_LETTERS = r"\p{L}\p{M}\p{N}"
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
"""The scripts that put no spaces between words."""

_OTHERS = r"[!?]|\p{So}"
_RUN = rf"[{_LETTERS}]+(?:'[{_LETTERS}]+)*|{_OTHERS}"
_SPACED = f"[{_LETTERS}&&[^{_UNSPACED}]]"
_WORD = rf"{_SPACED}+(?:'{_SPACED}+)*|[{_UNSPACED}ー][\p{{M}}]*|{_OTHERS}"
_LEARNT_CHARACTERS = 2**26
_WORD_START = "▁"


def normalise(text: str) -> str:
    """Return the text in NFKC with its case folded: ``Ä`` and ``ä`` agree, and so do ``ß`` and ``SS``.

    Typographic apostrophes become plain ones; halves of surrogate pairs become the replacement character.
    """
    if text.isascii():
        return text.lower()
    folded = unicodedata.normalize("NFKC", text).casefold()
    return (
        unicodedata.normalize("NFKC", folded)
        .replace("’", "'")
        .encode("utf-16", "surrogatepass")
        .decode("utf-16", "replace")
    )


@dataclass(frozen=True)
class UnicodeWords(Vocabulary):
    """Words of any language, the most common first; those of equal count by their spelling.

    Texts are normalised (NFKC) and their case is folded. A word is a run of letters, marks and digits, with
    apostrophes inside it. In scripts without spaces (Chinese, Japanese, Thai and others) each character is a
    word. ``!`` and ``?``, and each symbol such as an emoji, is a word too; all other punctuation is dropped.
    """

    kind: ClassVar[str] = "words"
    words: tuple[str, ...]

    @classmethod
    def learn(cls, texts: Iterable[str], size: int = 10000) -> "UnicodeWords":
        """Choose the most common words; of more than 67 million characters an even sample is counted."""
        check_size(size)
        library = _library()
        tokenizer = library.Tokenizer(library.models.WordLevel({}, unk_token=MARKS[2]))
        tokenizer.pre_tokenizer = _splitter(_WORD)
        trainer = library.trainers.WordLevelTrainer(
            vocab_size=size, special_tokens=list(MARKS), show_progress=False
        )
        return cls(_train(tokenizer, trainer, _sample(texts)))

    @cached_property
    def _word_ids(self) -> dict[str, int]:
        return _ids(self.words)

    def tokens(self, text: str) -> list[str]:
        """Split a text into words, one for each of the ids of ``encode`` after the start mark."""
        return split_words(normalise(text))

    def _encode_batch(self, texts: list[str]) -> Iterator[Sequence[int]]:
        find = self._word_ids.get
        for text in texts:
            yield list(map(find, self.tokens(text), itertools.repeat(UNKNOWN)))

    def _stored(self) -> dict[str, Any]:
        return {}


@dataclass(frozen=True)
class Subwords(Vocabulary):
    """Pieces of words, learnt from texts by byte-pair encoding (Sennrich et al. 2016).

    Texts are normalised and split as by ``UnicodeWords``, but scripts without spaces stay in runs, so that
    several characters can become one piece. Few words are unknown: a rare one becomes several pieces.

    Attributes:
        words: the pieces in the order of their ids; ``▁`` begins a word.
        merges: the pairs of pieces that become one, in the order in which they were learnt.
    """

    kind: ClassVar[str] = "subwords"
    words: tuple[str, ...]
    merges: tuple[tuple[str, str], ...] = field(repr=False)

    @classmethod
    def learn(cls, texts: Iterable[str], size: int = 10000) -> "Subwords":
        """Learn the pieces; of more than 67 million characters an even sample is used."""
        check_size(size)
        library = _library()
        tokenizer = library.Tokenizer(library.models.BPE(unk_token=MARKS[2]))
        tokenizer.pre_tokenizer = _piece_splitter()
        sample = _sample(texts)
        alphabet = [_WORD_START, *_alphabet(sample, (size - FIRST_WORD) // 4)]
        # The alphabet is given, since the trainer's own choice among equal counts differs from run to run.
        trainer = library.trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=list(MARKS),
            initial_alphabet=alphabet,
            limit_alphabet=len(alphabet),
            show_progress=False,
        )
        pieces = _train(tokenizer, trainer, sample)
        return cls(pieces, _merges(tokenizer))

    @cached_property
    def _tokenizer(self) -> Any:
        library = _library()
        model = library.models.BPE(_ids(self.words), list(self.merges), unk_token=MARKS[2])
        tokenizer = library.Tokenizer(model)
        tokenizer.pre_tokenizer = _piece_splitter()
        return tokenizer

    def tokens(self, text: str) -> list[str]:
        """Split a text into pieces, one for each of the ids of ``encode`` after the start mark.

        A piece that continues a word begins with ``##``; ``▁`` stands where no piece begins the word.
        """
        pieces = self._tokenizer.encode(normalise(text), add_special_tokens=False).tokens
        return [
            piece.removeprefix(_WORD_START) or piece
            if piece.startswith(_WORD_START) or piece in MARKS
            else f"##{piece}"
            for piece in pieces
        ]

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of some ids, special ones in angle brackets; an id outside is a ``DataError``."""
        pieces = (f" {piece} " if piece in MARKS else piece for piece in self._spelled(ids))
        return " ".join("".join(pieces).replace(_WORD_START, " ").split())

    def _encode_batch(self, texts: list[str]) -> Iterator[Sequence[int]]:
        normal = [normalise(text) for text in texts]
        return (each.ids for each in self._tokenizer.encode_batch_fast(normal, add_special_tokens=False))

    def _stored(self) -> dict[str, Any]:
        return {"merges": self.merges}


def _library() -> Any:
    try:
        import tokenizers
    except ImportError:
        raise DataError(
            "learning words of any language, or splitting texts into subwords, needs tokenizers: "
            'pip install "stepfold[app]"'
        ) from None
    return tokenizers


def _splitter(pattern: str) -> Any:
    """Return a pre-tokenizer that keeps what matches and drops the rest."""
    library = _library()
    return library.pre_tokenizers.Split(library.Regex(pattern), behavior="removed", invert=True)


def _ids(words: tuple[str, ...]) -> dict[str, int]:
    return {word: k for k, word in enumerate((*MARKS, *words))}


def _piece_splitter() -> Any:
    library = _library()
    start = library.pre_tokenizers.Metaspace(_WORD_START, prepend_scheme="always", split=False)
    return library.pre_tokenizers.Sequence([_splitter(_RUN), start])


class _Sample:
    """An even sample of texts, normalised, which can be iterated over more than once."""

    def __init__(self, texts: Iterable[str], step: int) -> None:
        self._texts, self._step = texts, step

    def __iter__(self) -> Iterator[str]:
        return map(normalise, islice(self._texts, 0, None, self._step))


def _sample(texts: Iterable[str]) -> _Sample:
    """Return every n-th text, so that they have about ``_LEARNT_CHARACTERS`` characters at most."""
    if iter(texts) is texts:
        raise TypeError("texts must be a list, or something else that can be iterated over more than once")
    characters = sum(map(len, texts))
    return _Sample(texts, max(-(-characters // _LEARNT_CHARACTERS), 1))


def _alphabet(sample: _Sample, most: int) -> list[str]:
    """Return the commonest characters that tokens are made of."""
    counts: Counter[str] = Counter()
    for text in sample:
        counts.update(text)
    used = [
        character
        for character in counts
        if character in "!?'" or unicodedata.category(character)[0] in "LMN" or _is_symbol(character)
    ]
    return sorted(used, key=lambda character: (-counts[character], character))[: max(most, 1)]


def _is_symbol(character: str) -> bool:
    return unicodedata.category(character) == "So" and character != _WORD_START


def _train(tokenizer: Any, trainer: Any, sample: _Sample) -> tuple[str, ...]:
    """Train the tokenizer's model; return its tokens in the order of their ids, without the special ones."""
    tokenizer.train_from_iterator(iter(sample), trainer)
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    words = tuple(sorted(vocabulary, key=vocabulary.__getitem__)[FIRST_WORD:])
    if not set(words) - {_WORD_START}:
        raise DataError("the texts hold no words at all; check which column holds the text")
    return words


def _merges(tokenizer: Any) -> tuple[tuple[str, str], ...]:
    stored = json.loads(tokenizer.to_str())["model"]["merges"]
    return tuple((left, right) for left, right in stored)
