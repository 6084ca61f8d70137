"""Which data a command works on, and with which estimator."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..data import imdb_texts, load_sequences, open_table
from ..estimators import RunError

IMDB = "imdb"
_NUMBER = re.compile("0|-?[1-9][0-9]{0,17}")
"""An integer as it is written again: not 007, which may stand beside 7."""
COLUMNS = ("text", "label", "id", "time")


@dataclass(frozen=True)
class Dataset:
    """Inputs with their targets, as an estimator takes them.

    Attributes:
        kind: the estimator's name.
        inputs: texts or sequences.
        targets: (examples,) labels or numbers.
        tokens: what suits the texts, unless the user says otherwise; None for sequences.
    """

    kind: str
    inputs: Any
    targets: Any
    tokens: str | None = None


def add_columns(parser: argparse.ArgumentParser) -> None:
    """Add the options that name a file's columns."""
    parser.add_argument("--text", metavar="COLUMN", default=None, help="a file's column of texts (text)")
    parser.add_argument(
        "--label", metavar="COLUMN", default=None, help="a file's column of classes, or of numbers (label)"
    )
    parser.add_argument(
        "--id",
        metavar="COLUMN",
        default=None,
        help="which sequence a row belongs to, in a table of sequences",
    )
    parser.add_argument(
        "--time", metavar="COLUMN", default=None, help="a row's time; all other columns are features"
    )


def is_sequences(path: str, columns: dict[str, str]) -> bool:
    """Whether a file holds sequences of numbers."""
    return is_ts(path) or bool(columns.keys() & {"id", "time"})


def is_ts(path: str) -> bool:
    """Whether a file is one of sktime's and aeon's, with a sequence in each line."""
    return Path(path).name.lower().removesuffix(".gz").endswith(".ts")


def columns_of(options: argparse.Namespace) -> dict[str, str]:
    """Return the columns that were named."""
    return {name: getattr(options, name) for name in COLUMNS if getattr(options, name, None) is not None}


def text_columns(columns: dict[str, str]) -> dict[str, Any]:
    """Return the columns that a table of texts has."""
    return {name: columns[name] for name in ("text", "label") if name in columns}


def sequence_columns(columns: dict[str, str]) -> dict[str, Any]:
    """Return the columns that a table of sequences has."""
    return {name: columns[name] for name in ("id", "time", "label") if name in columns}


def read_imdb(source: str | None) -> Dataset:
    """Return the 25,000 training reviews of IMDB, in the order of the files."""
    table = imdb_texts(source)
    return Dataset("TextClassifier", table.texts, _labels(table.labels, table.classes), "keras")


def read_file(
    path: str, columns: dict[str, str], task: Literal["classify", "regress"] | None = None
) -> Dataset:
    """Return the examples of a file, a table of texts or of sequences.

    ``task`` says whether the labels of sequences are classes or numbers to predict; None to see from them.
    """
    if is_sequences(path, columns):
        if "text" in columns:
            raise RunError("--text names a column of texts, --id and --time are for sequences of numbers")
        found = load_sequences(path, **sequence_columns(columns), task=task)
        if found.labels is None or found.classes is None:
            return Dataset("SequenceRegressor", found.sequences, found.targets)
        return Dataset("SequenceClassifier", found.sequences, _labels(found.labels, found.classes))
    if task == "regress":
        raise RunError("--task regress is for sequences; texts can only be classified")
    table = open_table(path, **text_columns(columns))
    return Dataset("TextClassifier", table.texts, _labels(table.labels, table.classes), "words")


def _labels(indices: Any, classes: Sequence[str]) -> Any:
    """Return each example's class: a number where all classes are numbers, else its name."""
    numeric = all(_NUMBER.fullmatch(name) for name in classes)
    return np.array([int(name) for name in classes] if numeric else list(classes))[indices]
