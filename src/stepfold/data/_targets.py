"""One label for each sequence of numbers: a class, or a number to predict."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ._errors import DataError
from ._labels import LabelCollector, is_number, number_of, shortened, spelled

Task = Literal["classify", "regress"] | None


@dataclass(frozen=True)
class LabelledSequences:
    """Sequences of numbers with a class or a target each, or with neither.

    Attributes:
        sequences: one (time, features) float32 array each; a missing value is NaN.
        ids: what the file calls each sequence.
        features: the features' names.
        labels: (sequences,) int32, each an index into ``classes``; None without classes.
        classes: the classes' names; None without classes.
        targets: (sequences,) float32, the numbers to predict; None without them.
    """

    sequences: list[NDArray[np.float32]]
    ids: tuple[str, ...]
    features: tuple[str, ...]
    labels: NDArray[np.int32] | None = None
    classes: tuple[str, ...] | None = None
    targets: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.sequences)


class Targets:
    """Collects the labels of sequences; decides whether they are classes or numbers to predict.

    Args:
        where: the file, for the errors.
        column: the labels' column, for the errors.
        unit: what a row's number counts: "line" or "row".
        classes: the classes of a trained model; None to take those that there are.
        task: what the labels are; None to decide by them.
        by_number: whether a given class may be called by its number.
    """

    def __init__(
        self,
        where: str,
        column: str,
        unit: str,
        classes: Sequence[str] | None,
        task: Task,
        *,
        by_number: bool = True,
    ) -> None:
        self._where, self._column, self._unit = where, column, unit
        self._classes, self._task, self._by_number = classes, task, by_number
        self._names: list[str] = []
        self._rows: list[int] = []

    def add(self, sequence: int, value: object, row: int, called: str) -> None:
        """Take the label that a row gives to a sequence, the next new one or one seen before.

        Raises:
            DataError: the label is empty or no word or number, or differs from that of an earlier row.
        """
        where = f"{self._where}, {self._unit} {row}"
        name = value.strip() if isinstance(value, str) else spelled(value)
        if not name:
            shown = "is empty" if value == "" else f"is {shortened(value)}"
            raise DataError(
                f"{where}: {self._column!r} {shown}, which is neither a class nor a number; "
                f"fill it in or remove the {self._unit}"
            )
        if sequence == len(self._names):
            self._names.append(name)
            self._rows.append(row)
        elif name != self._names[sequence]:
            raise DataError(
                f"{where}: {called} has the {self._column} {shortened(name)} here but "
                f"{shortened(self._names[sequence])} in {self._unit} {self._rows[sequence]}; "
                "a sequence has one label, the same in all its rows"
            )

    def finish(
        self, sequences: list[NDArray[np.float32]], ids: tuple[str, ...], features: tuple[str, ...]
    ) -> LabelledSequences:
        """Return the sequences with their classes or targets.

        Raises:
            DataError: targets that are no numbers, labels that are none of the classes, or one class only.
        """
        if self._is_regression():
            return LabelledSequences(sequences, ids, features, targets=self._numbers())
        labels = LabelCollector(
            self._where, self._column, self._classes, self._unit, by_number=self._by_number, decimals=True
        )
        for name, row in zip(self._names, self._rows, strict=True):
            labels.add(name, row)
        codes, classes = labels.finish()
        if self._classes is None and len(classes) < 2:
            raise DataError(
                f"{self._where}: every label in {self._column!r} is {classes[0]!r}; "
                "a classifier needs two classes at least"
            )
        return LabelledSequences(sequences, ids, features, codes, classes)

    def _is_regression(self) -> bool:
        if self._task is not None:
            return self._task == "regress"
        if self._classes is not None or not all(map(is_number, self._names)):
            return False
        return not all(number_of(name).is_integer() for name in self._names)

    def _numbers(self) -> NDArray[np.float32]:
        for name, row in zip(self._names, self._rows, strict=True):
            if not is_number(name):
                raise DataError(
                    f"{self._where}, {self._unit} {row}: the target {shortened(name)} is no number; "
                    "write numbers with a decimal point, or train a classifier"
                )
        return np.array([number_of(name) for name in self._names], np.float32)
