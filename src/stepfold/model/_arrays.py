"""Arrays and choices that layers hold, checked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._dtype import checked_dtype

Array = NDArray[Any]


def checked_array(name: str, array: Any, axes: tuple[str, ...], *, empty: bool = False) -> None:
    """ValueError or TypeError unless this is an array of floats with these axes, none of them empty unless
    `empty`."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name} must be a NumPy array ({', '.join(axes)}), not {type(array).__name__}")
    if array.ndim != len(axes) or (0 in array.shape and not empty):
        raise ValueError(f"{name} has shape {array.shape}, expected ({', '.join(axes)}), none of them 0")
    checked_dtype(array.dtype)


def checked_choice(name: str, value: Any, choices: Iterable[str]) -> None:
    """ValueError unless this is one of the choices."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
