"""Reads separated files row by row, in bounded memory."""

import csv
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from ._errors import DataError, no_column
from ._files import open_text

LONGEST_LINE = 2**26
"""Characters; a longer line, or field, means that a file is no table, and would fill the memory."""


def csv_columns(path: Path, delimiters: str, wanted: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield each row's fields in the wanted columns (see ``csv_rows``)."""
    rows = csv_rows(path, delimiters, wanted)
    _, header = next(rows)
    indices = [header.index(name) for name in wanted]
    for line, fields in rows:
        yield line, [fields[k] for k in indices]


def csv_rows(path: Path, delimiters: str, wanted: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield the header, then each row, with the number of its last line; all have the same number of fields.

    Args:
        path: a table with a header line.
        delimiters: what may separate the fields, the most usual first; the header line decides.
        wanted: names of columns that the header must have. White space around a name does not matter.

    Raises:
        DataError: the file is empty, lacks a wanted column, or is malformed; the message names the line.
    """
    with open_text(path, newline="") as stream:
        lines = bounded_lines(stream, path)
        start = list(_until_text(lines))
        if not start or start[-1].isspace():
            raise DataError(f"{path} is empty; give a file with a header line and rows below it")
        # csv's own limit, 131,072 characters, is less than a long review page.
        csv.field_size_limit(LONGEST_LINE)
        rows = csv.reader(
            itertools.chain(start, lines), delimiter=_delimiter(start[-1], delimiters, wanted), strict=True
        )
        header: list[str] = []
        end = 0
        try:
            for fields in rows:
                if not fields:
                    continue
                if not header:
                    header = fields = [name.strip() for name in fields]
                    _check_header(header, wanted, path)
                if len(fields) != len(header):
                    raise DataError(
                        f"{path}, line {rows.line_num}: {len(fields)} fields where the header has "
                        f"{len(header)}; put fields that hold the separator in double quotes"
                    )
                end = rows.line_num
                yield end, fields
        except csv.Error as error:
            raise DataError(
                f"{path}, line {rows.line_num}: {error}; close every quoted field, and double the quotes "
                f"inside it (the row begins in line {end + 1})"
            ) from None


def bounded_lines(stream: IO[str], path: Path) -> Iterator[str]:
    """Yield the lines of a file; a line too long to be one of a table is a ``DataError``."""
    for number in itertools.count(1):
        line = stream.readline(LONGEST_LINE)
        if not line:
            return
        if len(line) == LONGEST_LINE:
            raise DataError(
                f"{path}, line {number} has more than {LONGEST_LINE:,} characters; "
                "check that the file is a table with a row in each line"
            )
        yield line


def _until_text(lines: Iterator[str]) -> Iterator[str]:
    """Yield lines up to the first one that is not blank."""
    for line in lines:
        yield line
        if not line.isspace():
            return


def _delimiter(line: str, delimiters: str, wanted: Sequence[str]) -> str:
    """Return the delimiter that finds most of the wanted columns in the header line, then most columns."""

    def found(delimiter: str) -> tuple[int, int]:
        names = [name.strip() for name in next(csv.reader([line], delimiter=delimiter))]
        return len({*names} & {*wanted}), len(names)

    return max(delimiters, key=found)  # the first of those that find as much


def _check_header(header: list[str], wanted: Sequence[str], path: Path) -> None:
    for name in wanted:
        if name not in header:
            raise no_column(path, name, header)
