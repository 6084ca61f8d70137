"""Files of predictions: a row for each input, written as they come, there whole or not at all."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from .._files import replacing
from ..estimators import RunError

Rows = Sequence[dict[str, Any]]
Write = Callable[[Rows], object]
_SINGULAR = {"probabilities": "probability"}
_SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")


def check_out(path: str, source: str | None) -> None:
    """Refuse a file that cannot be written; nothing is.

    Raises:
        RunError: another kind of file, no such folder, or the file that is read.
    """
    target = Path(path)
    suffix = _suffix(target)
    if suffix not in _SUFFIXES:
        raise RunError(
            f"--out {path}: unknown kind of file {suffix!r}; give a .csv, .tsv or .jsonl file, each possibly "
            "compressed as .gz, or a .parquet"
        )
    if suffix == ".parquet":
        if target.name.lower().endswith(".gz"):
            raise RunError(f"--out {path}: a .parquet is compressed as it is; take .gz off its name")
        try:
            import pyarrow  # noqa: F401
        except ImportError:
            raise RunError('--out: writing Parquet needs pyarrow: pip install "stepfold[parquet]"') from None
    if not target.absolute().parent.is_dir():
        raise RunError(f"--out {path}: there is no folder {target.parent}; make it first")
    if target.is_dir():
        raise RunError(f"--out {path} is a folder; give the name of a file in it")
    if source is not None and target.exists() and target.samefile(source):
        raise RunError(f"--out {path} is the file that is read; give another name")


@contextmanager
def written(path: str) -> Iterator[Write]:
    """Give a function that takes rows, all with the keys of the first one; at the end the file is there.

    A value that is a dictionary or a list becomes several columns, but in JSON-lines. After an error there is
    no file, or the one that was there before.
    """
    target = Path(path)
    suffix = _suffix(target)
    with replacing(target) as part:
        if suffix == ".parquet":
            with _parquet(part) as write:
                yield write
            return
        packed = target.name.lower().endswith(".gz")
        with gzip.GzipFile(part, "wb", 6) if packed else part.open("wb") as opened:
            # half of a surrogate pair, which has no UTF-8, is written as JSON's escape
            file = io.TextIOWrapper(opened, "utf-8", "backslashreplace", newline="")
            yield _lines(file) if suffix == ".jsonl" else _separated(file, "\t" if suffix == ".tsv" else ",")
            file.close()


def _suffix(path: Path) -> str:
    return Path(path.name.lower().removesuffix(".gz")).suffix


def _lines(file: IO[str]) -> Write:
    def write(rows: Rows) -> None:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")

    return write


def _separated(file: IO[str], delimiter: str) -> Write:
    writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
    begun = False

    def write(rows: Rows) -> None:
        nonlocal begun
        for row in map(_flat, rows):
            if not begun:
                writer.writerow(row)
                begun = True
            writer.writerow(row.values())

    return write


@contextmanager
def _parquet(part: Path) -> Iterator[Write]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer: Any = None

    def write(rows: Rows) -> None:
        nonlocal writer
        table = pa.Table.from_pylist([{k: _plain(v) for k, v in _flat(row).items()} for row in rows])
        if writer is None:
            writer = pq.ParquetWriter(part, table.schema)
        writer.write_table(table)

    try:
        yield write
    finally:
        if writer is not None:
            writer.close()


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with a column for each entry of a dictionary or a list in it."""
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, dict):
            flat |= {f"{_SINGULAR.get(name, name)} {key}": each for key, each in value.items()}
        elif isinstance(value, list):
            flat |= {f"{name} {number}": each for number, each in enumerate(value)}
        else:
            flat[name] = value
    return flat


def _plain(value: Any) -> Any:
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
