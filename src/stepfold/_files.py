"""Files that are there whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a disk that is full, or of a file that may not be longer."""


def not_written(target: Path, error: OSError) -> str:
    """Return which file an error kept from being written, why, and what is there now."""
    kept = "the file of that name is as before" if target.exists() else "nothing of it is kept"
    return f"cannot write {target}: {' '.join(str(error.strerror or error).split())}; {kept}"


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give the name of a file beside `path` that is not there; once it is written, it takes the name `path`.

    After an error nothing of it is kept, and what was at `path` is as before. Each call gives another name,
    so that threads and processes may write the same file: the last one stays. OSError if it cannot be done.
    """
    target = Path(path)
    part = target.with_name(f".{target.name}.{os.urandom(4).hex()}.part")
    try:
        yield part
        os.replace(part, target)
    except OSError as error:
        if error.filename == str(part) and error.filename2 is None:
            error.filename = str(target)  # the name that the caller knows
        elif error.filename is None and error.errno in FULL:  # writing names no file, opening one does
            error.filename = str(target)
        raise
    finally:
        with suppress(OSError):
            part.unlink()
