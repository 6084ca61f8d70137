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
from ._settings import SPLITS

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


_COUNTS = ("best_epoch", "epochs", "parameters", "training_examples", "held_out")


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
    epochs = max(lengths, default=0)
    numbers = list(range(1, epochs + 1))
    if history and ("loss" not in history or history.get("epoch", numbers) != numbers):
        raise _damaged(run, "history", history, "the losses of the epochs 1, 2, …")
    if not isinstance(results, dict) or not (results == {} or _are_results(results, epochs)):
        raise _damaged(run, "results", results, "the figures of a training")
    return history, results


def stored_seed(stored: Mapping[str, Any], run: RunFolder) -> int | None:
    """Return the seed that a run was begun with, None if it names none; ``RunError`` if it is no seed."""
    seed = stored.get("seed")
    if seed is not None and not _is_count(seed):
        raise _damaged(run, "seed", seed, "an integer of at least 0")
    return seed


def seed_begun_with(run: RunFolder, random_state: Any, drawn: int) -> int:
    """Return the seed of a run that goes on: with another one, examples held out would be trained on."""
    stored = stored_seed(run.read_config(), run)
    if stored is None:
        return drawn
    if isinstance(random_state, (int, np.integer)) and random_state != stored:
        raise RunError(
            f"the run in {run.path} was begun with random_state={stored}, not {random_state}; "
            "give the same, or begin another run in another folder (--out)"
        )
    return stored


def _are_results(results: dict[str, Any], epochs: int) -> bool:
    sound = all(_is_count(results.get(name)) for name in _COUNTS)
    sound = sound and all(_is_finite(value) for name, value in results.items() if name != "split")
    sound = sound and _is_finite(results.get("seconds")) and results.get("split") in (*SPLITS, "given")
    return sound and results["best_epoch"] <= epochs > 0


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


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
