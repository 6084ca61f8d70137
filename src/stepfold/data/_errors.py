"""The error for data that cannot be used, and reading files so that it is raised."""

from collections.abc import Sequence
from pathlib import Path


class DataError(ValueError):
    """Data that cannot be used; the message says where it is and how to correct it."""


def text_of(raw: bytes, where: str, first_line: int = 1) -> str:
    """Decode UTF-8 without its byte-order mark, or raise ``DataError`` with the line of the invalid byte."""
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + first_line
        raise DataError(
            f"{where}, line {line}: byte 0x{raw[error.start]:02x} is not UTF-8 text; "
            "convert the file first, for instance: iconv -f latin1 -t utf-8 OLD > NEW"
        ) from None


def bytes_of(path: Path) -> bytes:
    """Read a whole file, or raise ``DataError`` that says why it cannot be read or that it is empty."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; check the path") from None
    if not raw.strip():
        raise DataError(f"{path} is empty; give a file with at least two labelled texts")
    return raw


def no_column(where: object, name: str, present: Sequence[str], kind: str = "column") -> DataError:
    """Return the error for a table without a column, or an object of JSON without a key, that is needed."""
    return DataError(
        f"{where} has no {kind} {name!r}; its {kind}s are {listed(present)}; "
        "name yours with text=, label=, id= or time= (--text, --label, --id, --time)"
    )


def listed(names: Sequence[str], most: int = 20) -> str:
    """Return names in quotes for an error, the first of very many only."""
    shown = [repr(name if len(name) <= 60 else name[:57] + "...") for name in names[:most]]
    if len(names) > most:
        shown.append(f"and {len(names) - most:,} more")
    return ", ".join(shown) or "none"
