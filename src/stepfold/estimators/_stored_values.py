"""Reads values of a run's configuration; what is damaged is one clear error."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._run import RunError, RunFolder

UNREADABLE = (
    OSError,
    EOFError,
    KeyError,
    ValueError,
    TypeError,
    OverflowError,
    MemoryError,
    RecursionError,
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What reading a damaged file of arrays may raise."""


def stored_integer(stored: Mapping[str, Any], name: str, run: RunFolder) -> int:
    """Return a positive integer of a configuration; ``RunError`` if it is something else."""
    value = stored.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 2**31:
        raise _damaged(run, name, value, "a positive integer")
    return value


def stored_row(stored: Mapping[str, Any], name: str, run: RunFolder) -> NDArray[np.float64]:
    """Return a list of finite numbers as an array; ``RunError`` if it is something else."""
    values = stored.get(name)
    if not isinstance(values, list) or not values or not all(map(_is_finite, values)):
        raise _damaged(run, name, values, "a list of numbers")
    return np.array(values, np.float64)


def stored_history(
    stored: Mapping[str, Any], run: RunFolder
) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Return the history and the final figures; ``RunError`` if they are something else."""
    history, results = stored.get("history", {}), stored.get("results", {})
    if not isinstance(history, dict) or not all(isinstance(row, list) for row in history.values()):
        raise _damaged(run, "history", history, "lists of numbers")
    lengths = {len(values) for values in history.values()}
    if len(lengths) > 1 or not all(_is_finite(value) for row in history.values() for value in row):
        raise _damaged(run, "history", history, "lists of numbers, all of one length")
    if not isinstance(results, dict):
        raise _damaged(run, "results", results, "a mapping")
    return history, results


def _is_finite(value: Any) -> bool:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer of hundreds of digits
        return False


def _damaged(run: RunFolder, name: str, value: Any, expected: str) -> RunError:
    text = repr(value)
    shown = text if len(text) <= 40 else text[:37] + "..."
    return RunError(
        f"{run.config} is damaged: {name!r} is {shown}, not {expected}; train again (--overwrite)"
    )
