"""Class labels as they stand in files: names or numbers, collected as integers."""

import json
import re
from array import array
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ._errors import DataError, listed

_INTEGER = re.compile(r"-?\d+", re.ASCII)
_DECIMAL = re.compile(r"[-+]?(?:\d+[.,]?\d*|[.,]\d+)(?:[eE][-+]?\d{1,3})?", re.ASCII)
_MOST_CLASSES, _LONGEST_NAME = 10_000, 1000
_MOST_DECIMALS = 20
"""More different decimals than any scale of marks has."""


class LabelCollector:
    """Collects the labels of a file row by row; equal names get equal integers.

    Args:
        where: the file, for the errors.
        column: the labels' column, for the errors.
        classes: the classes that a label must be one of, by name or number (see ``labels_for``); None to take
            whatever names there are.
        unit: what a row's number counts: "line" or "row".
        by_number: whether a given class may be called by its number.
        decimals: whether many different decimals may be classes.
    """

    def __init__(
        self,
        where: str,
        column: str,
        classes: Sequence[str] | None = None,
        unit: str = "line",
        *,
        by_number: bool = True,
        decimals: bool = False,
    ) -> None:
        self._where, self._column, self._unit = where, column, unit
        self._given = None if classes is None else tuple(classes)
        self._known = _accepted(classes or (), by_number)
        self._decimals = decimals
        self._names: dict[str, int] = {}
        self._first_rows: list[int] = []
        self._codes = array("i")

    def add(self, value: object, row: int) -> None:
        """Take the label of a row: a string, an integer, a boolean or a float.

        Raises:
            DataError: it is empty, of another type, none of the given classes, or one class too many.
        """
        name = value.strip() if isinstance(value, str) else spelled(value)
        code = self._names.get(name) if name else None
        if code is None:
            code = self._new(value, name, row)
        self._codes.append(code)

    def _new(self, value: object, name: str | None, row: int) -> int:
        where = f"{self._where}, {self._unit} {row}"
        if value == "":
            raise DataError(
                f"{where}: the {self._column} is empty, which is no class; "
                f"fill it in or remove the {self._unit}"
            )
        if not name:
            raise DataError(
                f"{where}: the label {shortened(value)} is no class; "
                f"write a word or an integer, or remove the {self._unit}"
            )
        if len(name) > _LONGEST_NAME:
            raise DataError(
                f"{where}: the {self._column} is a text of {len(name):,} characters, which is no class; "
                "check which column holds the class"
            )
        if self._given is not None:
            code = _find(self._known, name)
            if code is None:
                raise _unknown(where, name, self._given, self._known)
        else:
            code = len(self._names)
            if code == _MOST_CLASSES:
                self._refuse_decimals()
                raise DataError(
                    f"{where}: {self._column!r} has more than {_MOST_CLASSES:,} different labels; "
                    "check which column holds the class"
                )
        self._names[name] = code
        self._first_rows.append(row)
        return code

    def finish(self) -> tuple[NDArray[np.int32], tuple[str, ...]]:
        """Return the labels, (rows,) int32, and the classes: the given ones, or those found, in order.

        Classes that are numbers are ordered as numbers.

        Raises:
            DataError: the labels are decimals, that is, targets of a regression.
        """
        codes = np.frombuffer(self._codes, np.int32) if self._codes else np.zeros(0, np.int32)
        if self._given is not None:
            return codes.copy(), self._given
        self._refuse_decimals()
        numeric = all(map(is_number, self._names))
        whole = numeric and all(map(_is_integral, self._names))
        finals = [_integer(name) if whole else name for name in self._names]
        classes = sorted(set(finals), key=_order if numeric else None)
        ranks = {name: k for k, name in enumerate(classes)}
        return np.array([ranks[name] for name in finals], np.int32)[codes], tuple(classes)

    def _refuse_decimals(self) -> None:
        if self._decimals:
            return
        decimals = [name for name in self._names if not _is_integral(name)]
        many = len(self._names) > _MOST_DECIMALS or 2 * len(self._names) > len(self._codes)
        if decimals and many and all(map(is_number, self._names)):
            row = self._first_rows[self._names[decimals[0]]]
            raise DataError(
                f"{self._where}, {self._unit} {row}: the label {decimals[0]} is no class: {self._column!r} "
                f"holds {len(self._names):,} different numbers, which looks like regression. To predict them "
                "from sequences use SequenceRegressor; to classify, round the column or cut it into ranges"
            )


def labels_for(classes: Sequence[str], values: Sequence[object], where: str = "labels") -> NDArray[np.int32]:
    """Return the index of each label's class.

    Args:
        classes: the classes' names.
        values: for each example its class's name, or, where no name is itself an integer, its index.
        where: where the values are from, for the error.

    Returns:
        (examples,) int32.

    Raises:
        DataError: a value that is no class; the message counts the values from 1.
    """
    collector = LabelCollector(where, "labels", classes, "value")
    for number, value in enumerate(values, 1):
        collector.add(value.item() if isinstance(value, np.generic) else value, number)
    return collector.finish()[0]


def shortened(value: object) -> str:
    """Return how a value is written in JSON, 40 characters at most."""
    names = {None: "null", True: "true", False: "false"}
    if value is None or isinstance(value, bool):
        return names[value]
    if isinstance(value, float):
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}.get(str(value), str(value))
    if isinstance(value, str):
        return json.dumps(value[:38], ensure_ascii=False)
    return str(value)[:40]


def spelled(value: object) -> str | None:
    """Return the class's name that a number stands for; None if it is none."""
    if isinstance(value, float):
        return None if value - value != 0 else str(int(value) if value.is_integer() else value)
    return str(value) if isinstance(value, int) else None


def _accepted(classes: Sequence[str], by_number: bool) -> dict[str, int]:
    known = {name: k for k, name in enumerate(classes)}
    if by_number and not any(map(_INTEGER.fullmatch, classes)):
        known |= {str(k): k for k in range(len(classes))}
    return known


def _find(known: dict[str, int], name: str) -> int | None:
    code = known.get(name)
    if code is None and is_number(name) and _is_integral(name):
        code = known.get(_integer(name))
    return code


def _unknown(where: str, name: str, classes: tuple[str, ...], accepted: dict[str, int]) -> DataError:
    numbers = f", or their numbers 0 to {len(classes) - 1}" if len(accepted) > len(classes) else ""
    return DataError(
        f"{where}: {shortened(name)} is none of the classes; they are {listed(list(classes))}{numbers}"
    )


def is_number(name: str) -> bool:
    """Tell whether a label is written as an integer or a decimal."""
    return bool(_DECIMAL.fullmatch(name))


def number_of(name: str) -> float:
    """Return the value of a label that is a number; a comma counts as a decimal point."""
    return float(name.replace(",", "."))


def _is_integral(name: str) -> bool:
    return not is_number(name) or bool(_INTEGER.fullmatch(name)) or number_of(name).is_integer()


def _integer(name: str) -> str:
    return name if _INTEGER.fullmatch(name) else str(int(number_of(name)))


def _order(name: str) -> float:
    return int(name) if _INTEGER.fullmatch(name) else number_of(name)
