"""Opens text files of any size as streams; what cannot be read is a ``DataError`` that names the line."""

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TypeAlias

from ._errors import DataError

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins as UTF-16's does
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_Bytes: TypeAlias = io.BufferedReader | gzip.GzipFile
_GZIP = b"\x1f\x8b"


def plain_suffix(path: Path) -> str:
    """Return a path's suffix in lower case, without ``.gz``: ``".csv"`` for ``A.CSV.gz``."""
    name = path.name.lower()
    return Path(name.removesuffix(".gz")).suffix


@contextmanager
def open_bytes(path: Path) -> Iterator[_Bytes]:
    """Open a file, decompressed if it is gzip's; every error of reading it becomes a ``DataError``."""
    try:
        with path.open("rb") as file:
            start = file.read(2)
            file.seek(0)
            if start == _GZIP:
                with gzip.GzipFile(fileobj=file) as unpacked:
                    yield unpacked
            elif path.name.lower().endswith(".gz"):
                raise DataError(f"{path} is not compressed with gzip; take .gz off its name, or compress it")
            else:
                yield file
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is damaged or cut short ({error}); make or fetch it again") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}; check the path") from None


@contextmanager
def open_text(path: Path, *, newline: str, errors: str = "strict") -> Iterator[IO[str]]:
    """Open a file as text: UTF-8, or UTF-16 or UTF-32 with a byte-order mark.

    Args:
        path: the file, possibly compressed with gzip.
        newline, errors: as in ``open``; the line numbers of errors count line feeds.

    Raises:
        DataError: the file cannot be read, or holds bytes of another encoding; the message names the
            line.
    """
    with open_bytes(path) as file:
        start = file.peek(4)[:4]
        encoding = encoding_of(start)
        if encoding == "utf-8" and b"\0" in start:
            raise DataError(
                f"{path}, line 1: the file looks like UTF-16 without its byte-order mark; "
                "convert it first, for instance: iconv -f utf-16le -t utf-8 OLD > NEW"
            )
        try:
            yield io.TextIOWrapper(file, encoding, errors, newline)
        except UnicodeError:
            raise _encoding_error(path, encoding) from None


def encoding_of(start: bytes) -> str:
    """Return the encoding that a file's first four bytes tell of."""
    for mark, encoding in _BYTE_ORDER_MARKS:
        if start.startswith(mark):
            return encoding
    return "utf-8"


def _encoding_error(path: Path, encoding: str) -> DataError:
    """Read the file again up to the invalid byte, to name its line."""
    line = 1
    with open_bytes(path) as file:
        decoder = codecs.getincrementaldecoder(encoding)()
        while True:
            chunk = file.read(2**20)
            try:
                line += decoder.decode(chunk, final=not chunk).count("\n")
            except UnicodeDecodeError as error:
                valid = error.object[: error.start].decode(encoding, "ignore")
                byte = error.object[error.start]
                line += valid.count("\n")
                break
            if not chunk:
                return DataError(f"{path} changed while it was read; leave it alone until this ends")
    if encoding == "utf-8":
        cure = "iconv -f latin1 -t utf-8 OLD > NEW"
        return DataError(
            f"{path}, line {line}: byte 0x{byte:02x} is not UTF-8 text; "
            f"convert the file first, for instance: {cure}"
        )
    name = encoding.upper().removesuffix("-SIG")
    return DataError(
        f"{path}, line {line}: byte 0x{byte:02x} is not {name} text, although the file begins with its "
        "byte-order mark; write the file again, as UTF-8"
    )
