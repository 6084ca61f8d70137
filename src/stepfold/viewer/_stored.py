"""Explanations made small enough to stand inside a page."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_STEPS = 300
MOST_BYTES = 120_000  # of all states together; base64 adds a third


def stored(explanations: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return explanations with at most 300 steps, outputs of 4 digits, and states as bytes in base64.

    A matrix becomes {"shape": [steps, units], "whole": units before, "units": their numbers from 1, "scale",
    "data"}: int8 values times the scale, -128 where a value is not finite.
    """
    cells = sum(
        min(len(each["tokens"]), MOST_STEPS) * sum(len(layer["values"]) for layer in each["layers"])
        for each in explanations
    )
    most = max(MOST_BYTES // max(cells, 1), 1)
    return [_one(each, most) for each in explanations]


def _one(given: Mapping[str, Any], most_units: int) -> dict[str, Any]:
    steps = len(given["tokens"])
    first = max(steps - MOST_STEPS, 0)
    outputs = [_rounded(row) for row in given["outputs"]]
    table = np.nan_to_num(_matrix(given["outputs"], steps, len(given["labels"])))[first:]  # (steps, classes)
    likeliest = int(table[-1:].sum(0).argmax()) if table.shape[1] > 2 else -1
    return {
        "tokens": [str(token)[:200] for token in given["tokens"][first:]],
        "known": [bool(known) for known in given["known"][first:]],
        "labels": [str(label) for label in given["labels"]],
        "outputs": outputs[first:],
        "before": outputs[first - 1] if first else _rounded(given["before"]),
        "skipped": first,
        "layers": [
            {
                "name": str(layer["name"]),
                "cell": str(layer["cell"]),
                "values": {
                    str(name): _packed(_matrix(values, steps, 0)[first:], table[:, likeliest], most_units)
                    for name, values in layer["values"].items()
                },
            }
            for layer in given["layers"]
        ],
    }


def _matrix(rows: Any, steps: int, width: int) -> NDArray[np.float64]:
    """Return rows of numbers as (steps, width); where there is none, `width` says how wide."""
    return np.asarray(rows, np.float64) if steps else np.zeros((0, width))


def _rounded(row: Sequence[float | None]) -> list[float | None]:
    return [round(float(value), 4) if value is not None and math.isfinite(value) else None for value in row]


def _packed(values: NDArray[np.float64], follow: NDArray[np.float64], most: int) -> dict[str, Any]:
    whole = values.shape[1]
    units = np.arange(whole)
    finite = np.isfinite(values)
    plain = np.where(finite, values, 0.0)
    if whole > most:
        centred = plain - plain.mean(0)
        strength = np.abs(centred.T @ (follow - follow.mean())) / (np.linalg.norm(centred, axis=0) + 1e-12)
        units = np.sort(np.argsort(-strength, kind="stable")[:most])
    largest = float(np.abs(plain[:, units]).max(initial=0.0))
    scale = largest / 127 or 1.0
    levels = np.where(finite, np.rint(plain / scale), -128)[:, units].astype(np.int8)
    return {
        "shape": [len(values), len(units)],
        "whole": whole,
        "units": (units + 1).tolist(),
        "scale": float(f"{scale:.6g}"),
        "data": base64.b64encode(levels.tobytes()).decode(),
    }
