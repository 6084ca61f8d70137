"""Hyper-parameters: numbers of a step that are fixed before it is traced."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping
from typing import Any

import numpy as np

Number = bool | int | float

_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = _repr.maxlong = 60


def checked_number(name: str, value: Any, kind: str = "hyper-parameter") -> Number:
    """Return the value of a hyper-parameter, or of another kind, as a Python number; ValueError if it is no
    finite number."""
    if isinstance(value, (np.bool_, np.integer, np.floating)):
        value = value.item()
    if not isinstance(value, (bool, int, float)) or not _is_finite(value):
        raise ValueError(
            f"{kind} {name} must be a finite number (bool, int or float), not {_repr.repr(value)}"
        )
    return value


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def replaced(cell: str, values: Mapping[str, Number], changes: Mapping[str, Any]) -> dict[str, Number]:
    """Return the hyper-parameters of a cell with some values changed; TypeError for names that it lacks."""
    unknown = [name for name in changes if name not in values]
    if unknown:
        has = f"it has {', '.join(values)}" if values else "it has none"
        raise TypeError(f"{cell} has no hyper-parameter {', '.join(unknown)}; {has}")
    return {**values, **{name: checked_number(name, value) for name, value in changes.items()}}
