"""Labelled texts from CSV, TSV, JSON-lines and Parquet files of any size: texts are streamed, not held."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ._corpus import Corpus
from ._csv import bounded_lines, csv_columns
from ._errors import DataError, no_column
from ._files import open_text, plain_suffix
from ._labels import LabelCollector, shortened
from ._parquet import parquet_columns

_DELIMITERS = {".csv": ",;\t", ".tsv": "\t"}
_JSON_LINES, _PARQUET = ".jsonl", ".parquet"

Row: TypeAlias = tuple[int, str, object]
"""The number of its line, the text, the label; the label is None where no column was asked for."""


class Texts(Protocol):
    """Texts that can be iterated over any number of times."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[str]: ...


@dataclass(frozen=True)
class TextTable:
    """Texts with the classes that they belong to.

    Attributes:
        texts: an iterable of strings with a length. A file's texts are read from it each time, so that only a
            few of them are in memory.
        labels: (texts,) int32, each an index into ``classes``; (0,) if no label column was asked for.
        classes: the classes' names; ``()`` if no label column was asked for.
        positions: (texts,) int64, where each text stands in the file, from 0.
    """

    texts: Texts
    labels: NDArray[np.int32]
    classes: tuple[str, ...]
    positions: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.texts)


class FileTexts:
    """The texts of a file, read from it each time that they are iterated over.

    Raises:
        DataError: while iterating, if the file has changed since it was opened.
    """

    def __init__(self, path: Path, read: Callable[[], Iterator[Row]], count: int) -> None:
        self._path, self._read, self._count = path, read, count
        self._stamp = _stamp(path)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[str]:
        if _stamp(self._path) != self._stamp:
            raise self._changed()
        count = 0
        for _, text, _ in self._read():
            count += 1
            yield text
        if count != self._count:
            raise self._changed()

    def _changed(self) -> DataError:
        return DataError(f"{self._path} has changed since it was opened; leave it alone while it is in use")


def open_table(
    path: str | Path,
    *,
    text: str = "text",
    label: str | None = "label",
    classes: Sequence[str] | None = None,
) -> TextTable:
    """Open a file of texts and labels: labels are read, every row is checked, texts stay in the file.

    Args:
        path: a ``.csv`` or ``.tsv`` with a header line, a ``.jsonl`` with an object a line, or a
            ``.parquet``; each may be compressed (``.csv.gz``). UTF-8, or UTF-16 with a byte-order mark. A
            ``.csv`` may be separated by commas, semicolons or tabs.
        text: the column (or key) with the text.
        label: the column (or key) with the class, a word or an integer; None if there is none.
        classes: the classes of a trained model: a label must be the name of one of them, or, where no name is
            itself an integer, its number. None to take the classes that the file has.

    Raises:
        DataError: a file that cannot be read, is empty or malformed, has no such column, a row without a
            label, labels all alike, labels that are decimals, or that are none of ``classes``; the message
            names the line.
    """
    path = Path(path)
    read = _reader(path, text, label)
    labels = LabelCollector(
        str(path), label or "", classes, "row" if plain_suffix(path) == _PARQUET else "line"
    )
    count = 0
    for row, _, value in read():
        count += 1
        if label is not None:
            labels.add(value, row)
    if not count:
        state = "is empty" if plain_suffix(path) == _JSON_LINES else "has a header but no rows"
        raise DataError(f"{path} {state}; give at least two labelled texts")
    codes, found = labels.finish()
    if label is not None and classes is None and len(found) < 2:
        raise DataError(
            f"{path}: every label in {label!r} is {found[0]!r}; a classifier needs two classes at least"
        )
    texts = FileTexts(path, read, count)
    return TextTable(texts, codes, () if label is None else found, np.arange(count))


def load_table(
    path: str | Path, *, text: str = "text", label: str = "label", vocabulary_size: int = 10000
) -> Corpus:
    """Read a file of texts and labels (see ``open_table``) as word ids in memory.

    Every id is below ``vocabulary_size``; rarer words count as unknown.
    """
    table = open_table(path, text=text, label=label)
    return Corpus.from_texts(table.texts, table.labels, table.classes, vocabulary_size)


def _reader(path: Path, text: str, label: str | None) -> Callable[[], Iterator[Row]]:
    suffix = plain_suffix(path)
    if suffix == _PARQUET:
        return partial(_parquet_rows, path, text, label)
    if suffix == _JSON_LINES:
        return partial(_json_rows, path, text, label)
    if suffix not in _DELIMITERS:
        raise DataError(
            f"{path}: unknown kind of file {suffix!r}; give a .csv, .tsv or .jsonl file, or a .parquet, "
            "each possibly compressed as .gz"
        )
    return partial(_csv_rows, path, text, label)


def _csv_rows(path: Path, text: str, label: str | None) -> Iterator[Row]:
    wanted = (text,) if label is None else (text, label)
    for line, fields in csv_columns(path, _DELIMITERS[plain_suffix(path)], wanted):
        yield line, fields[0], None if label is None else fields[1].strip()


def _parquet_rows(path: Path, text: str, label: str | None) -> Iterator[Row]:
    rows = parquet_columns(path, (text,) if label is None else (text, label))
    next(rows)
    for row, values in rows:
        if not isinstance(values[0], str):
            raise DataError(f"{path}, row {row}: {text!r} is {shortened(values[0])}, not a text")
        yield row, values[0], None if label is None else values[1]


def _json_rows(path: Path, text: str, label: str | None) -> Iterator[Row]:
    names = (text,) if label is None else (text, label)
    with open_text(path, newline="\n") as stream:
        for number, line in enumerate(bounded_lines(stream, path), 1):
            if not line.strip():
                continue
            where = f"{path}, line {number}"
            try:
                entry = json.loads(line)
            except json.JSONDecodeError as error:
                raise DataError(f"{where}: not JSON ({error.msg}); each line must be one object") from None
            except (ValueError, RecursionError):  # an integer of thousands of digits, or deep nesting
                raise DataError(f"{where}: JSON too deep or with too long a number to be read") from None
            if not isinstance(entry, dict):
                keys = " and ".join(map(repr, names))
                raise DataError(f"{where}: not an object; each line must be one with the keys {keys}")
            for name in names:
                if name not in entry:
                    raise no_column(where, name, list(entry), "key")
            if not isinstance(entry[text], str):
                raise DataError(f"{where}: {text!r} is {shortened(entry[text])}, not a text")
            yield number, entry[text], None if label is None else entry[label]


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; check the path") from None
    return status.st_size, status.st_mtime_ns
