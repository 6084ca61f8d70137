"""Reads labelled texts from CSV, TSV and JSON-lines files."""

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ._corpus import Corpus
from ._errors import DataError, bytes_of, text_of

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_LONGEST_FIELD = 2**31 - 1  # csv's own limit, 131,072 characters, is less than a long review page


def load_table(
    path: str | Path, *, text: str = "text", label: str = "label", vocabulary_size: int = 10000
) -> Corpus:
    """Read a file of texts and labels.

    Args:
        path: a ``.csv`` or ``.tsv`` with a header line, or a ``.jsonl`` with an object a line; UTF-8.
        text: the column (or key) with the text.
        label: the column (or key) with the class, a word or an integer.
        vocabulary_size: every word id is below it; rarer words count as unknown.

    Raises:
        DataError: a file that cannot be read, is empty or malformed, has no such column, a row without a
            label, or labels all alike; the message names the line.
    """
    path = Path(path)
    if path.suffix.lower() not in (*_DELIMITERS, ".jsonl"):
        raise DataError(f"{path}: unknown kind of file {path.suffix!r}; give a .csv, .tsv or .jsonl file")
    content = text_of(bytes_of(path), str(path))
    if path.suffix.lower() == ".jsonl":
        pairs = list(_json_lines(content, path, text, label))
    else:
        delimiter = _DELIMITERS[path.suffix.lower()]
        pairs = [(content_, name) for content_, name in rows(content, str(path), (text, label), delimiter)]
    if not pairs:
        raise DataError(f"{path} has a header but no rows; give at least two labelled texts")
    labels, classes = _classes([name for _, name in pairs])
    if len(classes) < 2:
        raise DataError(
            f"{path}: every label in {label!r} is {classes[0]!r}; a classifier needs two classes at least"
        )
    return Corpus.from_texts([content_ for content_, _ in pairs], labels, classes, vocabulary_size)


def rows(content: str, where: str, columns: tuple[str, ...], delimiter: str) -> Iterator[tuple[str, ...]]:
    """Yield the given columns of each row of a table with a header; the last one may not be blank."""
    csv.field_size_limit(_LONGEST_FIELD)
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, strict=True)
    try:
        header = next(reader, [])
        for name in columns:
            if name not in header:
                raise DataError(f"{where} has no column {name!r}; its columns are {_listed(header)}")
        indices = [header.index(name) for name in columns]
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                raise DataError(
                    f"{where}, line {reader.line_num}: {len(row)} fields where the header has {len(header)}; "
                    "put fields that hold the separator in double quotes"
                )
            picked = tuple(row[k].strip() if k == indices[-1] else row[k] for k in indices)
            if not picked[-1]:
                raise DataError(
                    f"{where}, line {reader.line_num}: the {columns[-1]} is empty, which is no class; "
                    "fill it in or remove the line"
                )
            yield picked
    except csv.Error as error:
        raise DataError(
            f"{where}, line {reader.line_num}: {error}; "
            "close every quoted field, and double the quotes inside it"
        ) from None


def _json_lines(content: str, path: Path, text: str, label: str) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(content.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            entry = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{where}: not JSON ({error.msg}); each line must be one object") from None
        if not isinstance(entry, dict):
            raise DataError(
                f"{where}: not an object; each line must be one with the keys {text!r} and {label!r}"
            )
        for name in (text, label):
            if name not in entry:
                raise DataError(f"{where} has no key {name!r}; its keys are {_listed(list(entry))}")
        if not isinstance(entry[text], str):
            raise DataError(f"{where}: {text!r} is {json.dumps(entry[text])[:40]}, not a text")
        yield entry[text], _class_name(entry[label], where)


def _class_name(value: object, where: str) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    named = isinstance(value, int) or (isinstance(value, str) and value.strip())
    if not named:
        raise DataError(
            f"{where}: the label {json.dumps(value)[:40]} is no class; "
            "write a word or an integer, or remove the line"
        )
    return str(value).strip()


def _classes(names: list[str]) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    distinct = set(names)
    numeric = all(re.fullmatch(r"-?\d+", name) for name in distinct)
    classes = tuple(sorted(distinct, key=int) if numeric else sorted(distinct))
    indices = {name: k for k, name in enumerate(classes)}
    return np.array([indices[name] for name in names], np.int32), classes


def _listed(names: list[str]) -> str:
    return ", ".join(map(repr, names)) or "none"
