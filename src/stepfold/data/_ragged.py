"""Sequences of unequal length in one array, so that millions of them cost no Python objects."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ._errors import DataError


@dataclass(frozen=True, eq=False)
class Ragged:
    """Sequences of unequal length, one after the other.

    ``ragged[k]`` is a view of sequence ``k``; iterating gives them all.

    Attributes:
        values: all timesteps, (total,) int32 ids or (total, features) float32; may lie in a mapped file.
        offsets: (sequences + 1,) int64; sequence ``k`` is ``values[offsets[k] : offsets[k + 1]]``.

    Raises:
        DataError: the offsets do not start at 0, decrease, or do not end with the last timestep.
    """

    values: NDArray[Any]
    offsets: NDArray[np.int64]

    def __post_init__(self) -> None:
        offsets = np.ascontiguousarray(self.offsets, np.int64)
        object.__setattr__(self, "offsets", offsets)
        sound = offsets.ndim == 1 and len(offsets) > 0 and offsets[0] == 0
        if not sound or offsets[-1] != len(self.values) or np.any(offsets[1:] < offsets[:-1]):
            raise DataError(
                f"offsets of shape {offsets.shape} do not divide {len(self.values)} timesteps: "
                "they must start at 0, never decrease, and end with the number of timesteps"
            )

    @classmethod
    def from_sequences(cls, sequences: Sequence[NDArray[Any]]) -> "Ragged":
        """Copy a list of arrays, (time,) or (time, features) each, into one.

        Raises:
            DataError: no sequence at all, or sequences that differ in their features.
        """
        arrays = [np.asarray(sequence) for sequence in sequences]
        if not arrays:
            raise DataError("there are no sequences; give one at least")
        first = arrays[0].shape[1:]
        for k, array in enumerate(arrays):
            if array.ndim == 0 or array.shape[1:] != first:
                raise DataError(
                    f"sequence {k} has shape {array.shape} but sequence 0 has {arrays[0].shape}: "
                    "all need the same number of features; only the first axis, time, may differ"
                )
        offsets = np.zeros(len(arrays) + 1, np.int64)
        np.cumsum([len(array) for array in arrays], out=offsets[1:])
        return cls(np.concatenate(arrays), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, k: int) -> NDArray[Any]:
        n = len(self)
        if not -n <= k < n:
            raise IndexError(f"sequence {k} of {n}")
        k %= n
        return self.values[self.offsets[k] : self.offsets[k + 1]]

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (self.values[start:end] for start, end in zip(self.offsets, self.offsets[1:], strict=False))

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The number of timesteps of each sequence, (sequences,) int64."""
        return np.diff(self.offsets)

    @property
    def features(self) -> tuple[int, ...]:
        """The shape of one timestep: ``()`` for ids, ``(features,)`` for numbers."""
        return self.values.shape[1:]

    def take(self, indices: Sequence[int] | NDArray[np.integer[Any]]) -> "Ragged":
        """Copy some of the sequences, in the given order, into memory."""
        chosen = np.asarray(indices, np.int64)
        if not len(chosen):
            return Ragged(self.values[:0], np.zeros(1, np.int64))
        return Ragged.from_sequences([self[int(k)] for k in chosen])

    def padded(
        self,
        rows: Sequence[int] | NDArray[np.integer[Any]] | slice,
        length: int,
        side: Literal["left", "right"] = "left",
    ) -> NDArray[Any]:
        """Copy some sequences into one array, filled up with 0.

        Args:
            rows: the sequences' indices, or a slice of all.
            length: the number of timesteps; of a longer sequence the last ``length`` are taken.
            side: where the padding goes: ``"left"``, before the sequence, or ``"right"``, after it.

        Returns:
            (rows, length) or (rows, length, features), of the values' dtype.

        Raises:
            DataError: ``length`` is below 1, or ``side`` is neither.
        """
        if length < 1:
            raise DataError(f"length must be at least 1, got {length}")
        if side not in ("left", "right"):
            raise DataError(f"side must be 'left' or 'right', got {side!r}")
        indices = range(len(self))[rows] if isinstance(rows, slice) else rows
        padded = np.zeros((len(indices), length, *self.features), self.values.dtype)
        for row, k in zip(padded, indices, strict=True):
            tail = self[int(k)][-length:]
            if side == "left":
                row[length - len(tail) :] = tail
            else:
                row[: len(tail)] = tail
        return padded
