"""Ids of ever more texts: in memory while they are few, then in a memory-mapped file."""

import mmap
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import numpy as np
from numpy.typing import NDArray

from ._errors import DataError
from ._ragged import Ragged

_IN_MEMORY = 2**27
"""Bytes of ids that stay in memory."""


class GrowingIds:
    """Collects sequences of ids until ``finish`` makes them a ``Ragged``.

    Args:
        folder: where a temporary file goes once the ids are more than ``_IN_MEMORY`` bytes; None to hold them
            in memory, however many. The file has no name (POSIX): it vanishes with the process, even a killed
            one.

    Raises:
        DataError: the folder cannot be written to.
    """

    def __init__(self, folder: str | Path | None) -> None:
        self._folder = folder
        self._file: IO[bytes] | None = None
        self._parts: list[NDArray[np.int32]] = []
        self._ends: list[NDArray[np.int64]] = [np.zeros(1, np.int64)]
        self._total = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def append(self, ids: NDArray[np.int32], ends: NDArray[np.int64]) -> None:
        """Take the ids of some sequences, and where in these ids each sequence ends."""
        self._ends.append(ends + self._total)
        self._total += len(ids)
        self._parts.append(ids)
        if self._file is not None or (self._folder is not None and 4 * self._total > _IN_MEMORY):
            self._spill()

    def finish(self) -> Ragged:
        """Return all sequences; their ids are read-only where they lie in a file."""
        offsets = np.concatenate(self._ends)
        if self._file is None:
            values = np.concatenate(self._parts) if self._parts else np.zeros(0, np.int32)
        else:
            # Not numpy.memmap, which refers to its file by name.
            mapped = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
            values = np.frombuffer(mapped, np.int32)
        return Ragged(values, offsets)

    def _spill(self) -> None:
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 (closed by __exit__)
            for part in self._parts:
                self._file.write(part.data)
            self._file.flush()
        except OSError as error:
            raise DataError(
                f"cannot write {4 * self._total / 1e6:,.0f} MB of word ids to a file in {self._folder}: "
                f"{error.strerror}; make room there, or choose another folder"
            ) from None
        self._parts.clear()
