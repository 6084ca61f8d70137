"""What goes into a model: texts and sequences as ids or numbers, checked, and padded into batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data import Ragged, Vocabulary
from ._arrays import Array

_LONGEST = 1_000_000
_SHORTEST = 16


@dataclass(frozen=True)
class Texts:
    """How texts become ids: of a longer text the last `length` ids are taken; a shorter one is padded with 0
    on the left, up to `length` where the model masks nothing."""

    vocabulary: Vocabulary = field(repr=False)
    length: int

    def __post_init__(self) -> None:
        if not isinstance(self.vocabulary, Vocabulary):
            raise TypeError(f"vocabulary must be one of stepfold.data, not {type(self.vocabulary).__name__}")
        _checked_integer("length", self.length)


@dataclass(frozen=True)
class Sequences:
    """How sequences go in: `features` of each timestep (None: ids); of a longer one the last `length` steps
    are taken (None: all)."""

    features: int | None
    length: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("features", self.features), ("length", self.length)):
            if value is not None:
                _checked_integer(name, value)


def _checked_integer(name: str, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= _LONGEST:
        raise ValueError(f"{name} must be an integer from 1 to {_LONGEST:,}, not {value!r}")


def encoded(inputs: Texts | Sequences, given: Iterable[Any], dtype: np.dtype[Any]) -> Ragged:
    """Return texts or sequences as ids, or as numbers of this dtype.

    Raises:
        TypeError: one text or array where a list of them is expected, or numbers where ids are.
        ValueError: a sequence of another shape, or with NaN, infinity or a number that `dtype` cannot hold.
    """
    if isinstance(inputs, Texts):
        if isinstance(given, str):
            raise TypeError("give a list of texts, not one text")
        if not isinstance(given, Iterable):
            raise TypeError(f"give a list of texts, not {type(given).__name__}")
        return inputs.vocabulary.encode_all(_checked_texts(given))
    arrays = [_checked_sequence(k, each, inputs.features, dtype) for k, each in enumerate(given)]
    if not arrays:
        return Ragged(np.zeros(0, np.int64), np.zeros(1, np.int64))
    return Ragged.from_sequences(arrays)


def _checked_texts(texts: Iterable[Any]) -> Iterable[str]:
    for k, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"text {k} is no string but {type(text).__name__}")
        yield text


def _checked_sequence(k: int, given: Any, features: int | None, dtype: np.dtype[Any]) -> Array:
    array = np.asarray(given)
    if features is None:
        if array.ndim != 1:
            raise ValueError(f"sequence {k} has shape {array.shape}, expected (time,) ids")
        if array.size and array.dtype.kind not in "iu":
            raise TypeError(f"sequence {k} holds {array.dtype}, expected ids, which are integers")
        return array.astype(np.int64)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"sequence {k} holds {array.dtype}, expected numbers")
    if features == 1 and array.ndim == 1:
        array = array[:, None]
    if not array.size and array.ndim < 3:
        array = array.reshape(0, features)
    if array.ndim != 2 or array.shape[1] != features:
        raise ValueError(
            f"sequence {k} has shape {array.shape}, expected (time, features) = (time, {features})"
        )
    with np.errstate(over="ignore"):
        numbers = array.astype(dtype)
    if not np.isfinite(numbers).all():
        raise ValueError(
            f"sequence {k} contains NaN, infinity or a number too large for {dtype}; "
            "fill in or leave out those timesteps beforehand"
        )
    return numbers


def checked_values(values: Any, features: int | None) -> Array:
    """Return one batch for a model of so many features (None: ids) as an array; TypeError or ValueError for
    what has other axes or no real numbers."""
    array = np.asarray(values)
    axes = "(batch, time)" if features is None else f"(batch, time, features) = (…, …, {features})"
    if array.dtype.kind in "cOSUMm":
        raise TypeError(f"values hold {array.dtype}, expected numbers {axes}")
    if array.ndim != (2 if features is None else 3) or features not in (None, array.shape[-1]):
        raise ValueError(f"values have shape {array.shape}, expected {axes}")
    return array


def checked_mask(mask: Any, shape: tuple[int, ...], axes: str) -> NDArray[np.bool_] | None:
    """Return a mask as an array of booleans of this shape, whose axes are called so; TypeError or ValueError
    for anything else, None for None."""
    if mask is None:
        return None
    found = np.asarray(mask)
    if found.dtype != np.bool_:
        raise TypeError(f"mask must be of booleans, not {found.dtype.name}; write mask != 0")
    if found.shape != shape:
        raise ValueError(f"mask has shape {found.shape}, expected {axes} = {shape}")
    return found


def batches(lengths: NDArray[np.int64], size: int, *, equal: bool) -> Iterator[NDArray[np.int64]]:
    """Yield the indices of sequences, longest first, up to `size` at a time; with `equal` of one length."""
    order = np.argsort(-lengths, kind="stable")
    changes = np.flatnonzero(np.diff(lengths[order])) + 1
    for part in np.split(order, changes) if equal else [order]:
        for start in range(0, len(part), size):
            yield part[start : start + size]


def padded(
    rows: Ragged,
    chosen: NDArray[np.integer[Any]],
    most: int | None,
    *,
    whole: bool,
    mask: bool,
    few: bool = False,
) -> tuple[Array, NDArray[np.bool_] | None]:
    """Pad some sequences on the left.

    Args:
        rows: the sequences.
        chosen: the indices of those to take.
        most: of a longer sequence, so many of the last steps are taken; None for all.
        whole: whether to pad up to `most`, not only to the longest sequence.
        mask: whether to return which steps are no padding.
        few: whether to pad further, to one of few lengths: the kernels' programs are recorded for each shape,
            which takes longer than a short batch does, while masked timesteps take next to nothing.

    Returns:
        (batch, time[, features]), and (batch, time) booleans or None.
    """
    longest = max(int(rows.lengths[chosen].max(initial=1)), 1)
    if few:
        longest = max(_SHORTEST, 1 << (longest - 1).bit_length())
    length = longest if most is None else most if whole else min(longest, most)
    values = rows.padded(chosen, length)
    if not mask:
        return values, None
    active = np.minimum(rows.lengths[chosen], length)
    return values, np.arange(length) >= (length - active)[:, None]
