"""Reads ``.ts`` files, the format of sktime, aeon and the UCR and UEA archives: a sequence in each line."""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ._csv import bounded_lines
from ._errors import DataError
from ._files import open_text
from ._labels import shortened
from ._targets import LabelledSequences, Targets, Task


@dataclass
class _Header:
    """What the lines before ``@data`` say: whether a class or a target ends each line, and the classes."""

    labelled: bool = False
    regression: bool = False
    classes: list[str] = field(default_factory=list)


def load_ts(path: Path, *, classes: Sequence[str] | None, task: Task) -> LabelledSequences:
    """Read a ``.ts`` file (see ``load_sequences``).

    Dimensions are separated by ``:``, values by ``,``; ``?`` is a missing value, and lengths may differ.
    Classes are those that the header lists.

    Raises:
        DataError: no ``@data``, timestamps, a value that is no number, dimensions that differ in number or
            length; the message names the line.
    """
    with open_text(path, newline="\n", errors="replace") as stream:  # descriptions are in any encoding
        lines = enumerate(bounded_lines(stream, path), 1)
        header = _header(lines, path)
        given = classes if classes is not None else (sorted(header.classes, key=_order) or None)
        task = "regress" if header.regression else task
        targets = Targets(str(path), "label", "line", given, task, by_number=classes is not None)
        sequences: list[NDArray[np.float32]] = []
        for number, line in lines:
            if not line.strip() or line.startswith(("#", "%")):
                continue
            parts = line.strip().split(":")
            if header.labelled:
                targets.add(len(sequences), parts.pop(), number, "the sequence")
            sequences.append(_sequence(parts, f"{path}, line {number}"))
            _check_dimensions(sequences, f"{path}, line {number}")
    if not sequences:
        raise DataError(f"{path} has no sequences after @data; give a line for each")
    ids = tuple(map(str, range(len(sequences))))
    features = tuple(f"dimension {k}" for k in range(sequences[0].shape[1]))
    if not header.labelled:
        return LabelledSequences(sequences, ids, features)
    return targets.finish(sequences, ids, features)


def _header(lines: Iterator[tuple[int, str]], path: Path) -> _Header:
    header = _Header()
    for number, line in lines:
        words = line.split()
        if not words or words[0].startswith(("#", "%")):
            continue
        name, value = words[0].lower(), words[1].lower() if len(words) > 1 else ""
        if name == "@data":
            return header
        if not name.startswith("@"):
            raise DataError(
                f"{path}, line {number}: {shortened(line.strip())} stands before @data; "
                "a .ts file begins with lines such as @problemName, and its sequences follow @data"
            )
        if name == "@timestamps" and value == "true":
            raise DataError(
                f"{path}, line {number}: sequences with timestamps are not read; "
                "write the values alone, with @timestamps false"
            )
        if name == "@classlabel":
            header.labelled, header.classes = value == "true", words[2:]
        elif name == "@targetlabel":
            header.labelled = header.regression = value == "true"
    raise DataError(
        f"{path} has no line @data; give a .ts file of sktime or aeon, or a long-form table as .csv"
    )


def _sequence(parts: list[str], where: str) -> NDArray[np.float32]:
    dimensions = [_numbers(part, where) for part in parts]
    lengths = {len(dimension) for dimension in dimensions}
    if len(lengths) != 1:
        shown = ", ".join(str(len(dimension)) for dimension in dimensions) or "none"
        raise DataError(
            f"{where}: the dimensions have different lengths ({shown}); all need the same number of values"
        )
    return np.stack(dimensions, axis=1)


def _numbers(part: str, where: str) -> NDArray[np.float32]:
    values = part.split(",")
    try:
        return np.frombuffer(array("f", map(float, values)), np.float32)
    except ValueError:
        pass
    found = array("f")
    for value in values:
        try:
            found.append(float("nan" if value.strip() == "?" else value))
        except ValueError:
            cure = "a missing one is written ?"
            if "(" in value:
                cure = "values with timestamps are not read, write the values alone"
            raise DataError(f"{where}: {shortened(value.strip())} is no number; {cure}") from None
    return np.frombuffer(found, np.float32)


def _check_dimensions(sequences: list[NDArray[np.float32]], where: str) -> None:
    first, last = sequences[0].shape[1], sequences[-1].shape[1]
    if first != last:
        raise DataError(
            f"{where}: {last} dimensions where the first sequence has {first}; separate dimensions with "
            "a colon, and let a label end each line if @classLabel or @targetLabel is true"
        )


def _order(name: str) -> tuple[float, str]:
    return (float(name), "") if name.lstrip("-").isdecimal() else (np.inf, name)
