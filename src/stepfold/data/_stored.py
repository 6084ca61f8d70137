"""Reads stored vocabularies; whatever they hold, the answer is a vocabulary or one clear error."""

import json
from pathlib import Path

from ._errors import DataError, text_of
from ._keras_words import KerasWords
from ._review_words import ReviewWords
from ._unicode import Subwords, UnicodeWords
from ._vocabulary import FORMAT, MARKS, Vocabulary

VOCABULARIES: dict[str, type[Vocabulary]] = {
    each.kind: each for each in (KerasWords, UnicodeWords, Subwords, ReviewWords)
}
"""The kinds of vocabulary by name."""

_LONGEST_FILE, _MOST_WORDS, _LONGEST_WORD = 2**28, 5_000_000, 2**16


def load_vocabulary(path: Path) -> Vocabulary:
    """Read a file that ``to_json`` filled; ``DataError`` if it holds anything else."""
    try:
        with path.open("rb") as file:
            raw = file.read(_LONGEST_FILE + 1)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    if len(raw) > _LONGEST_FILE:
        raise _refused(str(path), f"it has more than {_LONGEST_FILE // 2**20} MiB")
    return vocabulary_from_json(text_of(raw, str(path)), str(path))


def vocabulary_from_json(text: str, where: str = "the text") -> Vocabulary:
    """Read a vocabulary of any kind from what ``to_json`` returned.

    Args:
        text: the JSON.
        where: where it is from, for the error.

    Raises:
        DataError: it is no JSON, or no vocabulary: wrong types, repeated words, or too much of anything.
    """
    try:
        stored = json.loads(text)
    except (ValueError, RecursionError):
        raise _refused(where, "it is no JSON, or nested too deep") from None
    if not isinstance(stored, dict) or stored.get("format") != FORMAT:
        raise _refused(where, f"its format is not {FORMAT!r}")
    kind = stored.get("kind", KerasWords.kind)
    if not isinstance(kind, str) or kind not in VOCABULARIES:
        raise _refused(where, f"its kind is none of {', '.join(VOCABULARIES)}")
    words = _words(stored.get("words"), where)
    if kind == KerasWords.kind:
        return KerasWords(words)
    if kind == ReviewWords.kind:
        return ReviewWords(words)
    _check_characters(words, where)
    if kind == UnicodeWords.kind:
        return UnicodeWords(words)
    return Subwords(words, _merges(stored.get("merges"), words, where))


def _words(words: object, where: str) -> tuple[str, ...]:
    if not isinstance(words, list) or len(words) > _MOST_WORDS:
        raise _refused(where, f"its words are no list of at most {_MOST_WORDS:,} texts")
    found = [word for word in words if isinstance(word, str) and len(word) <= _LONGEST_WORD]
    if len(found) < len(words):
        raise _refused(where, f"one of its words is no text of at most {_LONGEST_WORD:,} characters")
    if len(set(found)) < len(found):
        raise _refused(where, "a word stands in it twice")
    return tuple(found)


def _merges(merges: object, words: tuple[str, ...], where: str) -> tuple[tuple[str, str], ...]:
    if not isinstance(merges, list) or len(merges) > len(words):
        raise _refused(where, "its merges are no list, or more than its words")
    known, found = set(words), []
    for merge in merges:
        match merge:
            case [str(left), str(right)] if left in known and right in known and left + right in known:
                found.append((left, right))
            case _:
                raise _refused(where, "one of its merges is no pair of words that make a third")
    return tuple(found)


def _check_characters(words: tuple[str, ...], where: str) -> None:
    """Refuse what no text can give: special marks, and halves of surrogate pairs, which have no UTF-8."""
    try:
        "".join(words).encode()
    except UnicodeEncodeError:
        raise _refused(where, "one of its words is no valid Unicode") from None
    if set(MARKS) & set(words):
        raise _refused(where, "one of its words is the name of a special id")


def _refused(where: str, reason: str) -> DataError:
    return DataError(
        f"{where} holds no vocabulary ({reason}); take the one that training wrote beside the model"
    )
