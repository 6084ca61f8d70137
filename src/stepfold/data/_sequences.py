"""Labelled sequences of numbers from a long-form table: a row for each timestep."""

import math
from array import array
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ._csv import csv_rows
from ._errors import DataError, no_column
from ._files import plain_suffix
from ._labels import shortened
from ._parquet import parquet_columns
from ._targets import LabelledSequences, Targets
from ._ts import load_ts

_DELIMITERS = {".csv": ",;\t", ".tsv": "\t"}
_MISSING = {"", "na", "nan", "null", "none", "?"}


def load_sequences(
    path: str | Path,
    *,
    id: str = "id",
    time: str = "time",
    label: str | None = "label",
    without: str | None = None,
    classes: Sequence[str] | None = None,
    task: Literal["classify", "regress"] | None = None,
) -> LabelledSequences:
    """Read sequences of numbers with a class or a target each.

    Args:
        path: a long-form table (``.csv``, ``.tsv`` or ``.parquet``) with a row for each timestep, or a
            ``.ts`` file of sktime and aeon, which needs no columns; each may be compressed (``.csv.gz``).
        id: the column that tells sequences apart.
        time: the column that orders the rows of a sequence: numbers, or dates as in ISO 8601. Rows of equal
            time stay in the order of the file.
        label: the column with the sequence's class or target, the same in all its rows; None if there is
            none. All other columns are features: numbers, a missing one becomes NaN.
        without: a column that is left out, if it is there: that of labels which are not asked for.
        classes: the classes of a trained model, by name or number (see ``open_table``); None to take those of
            the file.
        task: whether labels are classes or targets of a regression; None decides by the labels: decimals are
            targets, everything else is a class.

    Raises:
        DataError: a file that cannot be read or is malformed, has no such column, a value that is no number,
            or a label that changes within a sequence; the message names the line.
    """
    path = Path(path)
    suffix = plain_suffix(path)
    if suffix == ".ts":
        return load_ts(path, classes=classes, task=task)
    unit = "row" if suffix == ".parquet" else "line"
    wanted = [id, time] if label is None else [id, time, label]
    rows = sequence_rows(path, wanted)
    _, names = next(rows)
    features = [k for k, name in enumerate(names) if name not in (*wanted, without)]
    if not features:
        raise DataError(f"{path} has no columns but {', '.join(map(repr, names))}; features need columns too")
    steps = StepRows(path, unit, [names[k] for k in features])
    targets = None if label is None else Targets(str(path), label, unit, classes, task)
    id_at, time_at = names.index(id), names.index(time)
    label_at = None if label is None else names.index(label)
    for row, values in rows:
        sequence = steps.add(row, values[id_at], values[time_at], [values[k] for k in features])
        if targets is not None and label_at is not None:
            targets.add(sequence, values[label_at], row, f"{id} {values[id_at]!r}")
    if not steps.names:
        raise DataError(f"{path} has a header but no rows; give a row for each timestep")
    sequences = steps.finish()
    ids, feature_names = tuple(steps.names), tuple(names[k] for k in features)
    if targets is None:
        return LabelledSequences(sequences, ids, feature_names)
    return targets.finish(sequences, ids, feature_names)


def sequence_rows(path: Path, wanted: list[str]) -> Iterator[tuple[int, Sequence[Any]]]:
    """Yield the column names of a long-form table, which has the wanted ones, with the number 0, then each
    row's values with its number."""
    suffix = plain_suffix(path)
    if suffix not in (*_DELIMITERS, ".parquet"):
        raise DataError(
            f"{path}: unknown kind of file {suffix!r}; give a long-form table as .csv, .tsv or .parquet, "
            "or a .ts file, each possibly compressed as .gz"
        )
    if suffix != ".parquet":
        yield from csv_rows(path, _DELIMITERS[suffix], wanted)
        return
    rows = parquet_columns(path, None)
    _, names = next(rows)
    for name in wanted:
        if name not in names:
            raise no_column(path, name, names)
    yield 0, names
    yield from rows


class StepRows:
    """Collects rows in the order of the file, in compact arrays; ``finish`` sorts them.

    Attributes:
        names: the sequences' ids in the order in which they first appear.
    """

    def __init__(self, path: Path, unit: str, features: list[str]) -> None:
        self._path, self._unit, self._features = path, unit, features
        self.names: dict[str, int] = {}
        self._sequences, self._times, self._values = array("q"), array("d"), array("f")

    def add(self, row: int, id: object, time: object, values: list[Any]) -> int:
        """Take a row; return the index of its sequence."""
        name = str(id).strip() if id is not None else ""
        if not name:
            raise self._error(row, "the id is empty; fill it in or remove the row")
        sequence = self.names.setdefault(name, len(self.names))
        self._sequences.append(sequence)
        self._times.append(self._time(time, row))
        try:
            self._values.extend(map(float, values))
        except (ValueError, TypeError):
            del self._values[len(self._features) * (len(self._times) - 1) :]
            self._values.extend(self._number(value, k, row) for k, value in enumerate(values))
        return sequence

    def finish(self) -> list[NDArray[np.float32]]:
        """Return the sequences, (time, features) float32 each, sorted by time."""
        values = np.frombuffer(self._values, np.float32).reshape(-1, len(self._features))
        sequences = np.frombuffer(self._sequences, np.int64)
        times = np.frombuffer(self._times, np.float64)
        order = np.lexsort((times, sequences))
        if np.any(order[1:] < order[:-1]):
            values = values[order]
        ends = np.cumsum(np.bincount(sequences, minlength=len(self.names)))
        return np.split(values, ends[:-1])

    def _time(self, value: object, row: int) -> float:
        if isinstance(value, datetime):
            return value.timestamp() if value.tzinfo else (value - datetime(1970, 1, 1)).total_seconds()
        try:
            found = float(value)  # type: ignore[arg-type]
        except (ValueError, TypeError):
            try:
                return self._time(datetime.fromisoformat(str(value).strip()), row)
            except ValueError:
                found = math.nan
        if math.isnan(found):
            raise self._error(
                row, f"the time {shortened(value)} is neither a number nor a date such as 2026-01-31"
            )
        return found

    def _number(self, value: object, k: int, row: int) -> float:
        if value is None or (isinstance(value, str) and value.strip().lower() in _MISSING):
            return math.nan
        try:
            return float(value)  # type: ignore[arg-type]
        except (ValueError, TypeError):
            name = self._features[k]
            raise self._error(
                row,
                f"{name!r} is {shortened(value)}, which is no number; write numbers with a decimal point, "
                "and remove columns that are no features",
            ) from None

    def _error(self, row: int, message: str) -> DataError:
        return DataError(f"{self._path}, {self._unit} {row}: {message}")
