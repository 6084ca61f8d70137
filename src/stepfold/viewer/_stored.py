"""Explanations made small enough to stand inside a page."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_STEPS = 300
MOST_INPUTS = 12  # features
MOST_CLASSES = 12  # of more, those that are likeliest in the end
MOST_BYTES = 100_000  # of all states together; base64 adds a third


def probabilities(explanation: Mapping[str, Any]) -> bool:
    """Return whether the outputs are probabilities of classes; otherwise they are values.

    A stored explanation says so itself: where only the likeliest classes are kept, they do not add up to 1.
    """
    if "probabilities" in explanation:
        return bool(explanation["probabilities"])
    for row in (explanation["before"], *explanation["outputs"]):
        numbers = np.asarray(row, np.float64)
        if np.isfinite(numbers).all():
            return len(numbers) > 1 and bool((numbers >= 0).all()) and abs(float(numbers.sum()) - 1) < 0.01
    return len(explanation["labels"]) > 1


def shown_class(explanation: Mapping[str, Any]) -> int:
    """Return the index of the output that is shown first.

    Of two classes the second, of more the likeliest in the end, of values the first.
    """
    count = len(explanation["labels"])
    if count <= 2 or not probabilities(explanation):
        return int(count == 2 and probabilities(explanation))
    last = explanation["outputs"][-1] if len(explanation["outputs"]) else explanation["before"]
    return int(np.argmax(np.nan_to_num(np.asarray(last, np.float64))))


def stored(explanations: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return explanations with at most 300 steps, outputs of 5 digits, and states as bytes in base64.

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
    table = _matrix(given["outputs"], steps, len(given["labels"]))  # (steps, classes)
    before = np.asarray(given["before"], np.float64)
    last = np.nan_to_num(table[-1] if steps else before)
    kept = np.sort(np.argsort(-last, kind="stable")[:MOST_CLASSES])
    outputs = [_rounded(row) for row in table[:, kept]]
    follow = np.nan_to_num(table[first:, shown_class(given)])
    return {
        "tokens": [str(token)[:200] for token in given["tokens"][first:]],
        "known": [bool(known) for known in given["known"][first:]],
        "labels": [str(given["labels"][k]) for k in kept],
        "outputs": outputs[first:],
        "before": outputs[first - 1] if first else _rounded(before[kept]),
        "probabilities": probabilities(given),
        "skipped": first,
        "unit": str(given.get("unit", "word")),
        "inputs": _inputs(given.get("inputs"), first),
        "layers": [
            {
                "name": str(layer["name"]),
                "cell": str(layer["cell"]),
                "values": {
                    str(name): _packed(_matrix(values, steps, 0)[first:], follow, most_units)
                    for name, values in layer["values"].items()
                },
            }
            for layer in given["layers"]
        ],
    }


def _inputs(inputs: Any, first: int) -> dict[str, Any] | None:
    if inputs is None:
        return None
    rows = np.asarray(inputs, np.float64)[first:]  # (steps, features)
    return {"whole": rows.shape[1], "values": [_rounded(row) for row in rows[:, :MOST_INPUTS]]}


def _matrix(rows: Any, steps: int, width: int) -> NDArray[np.float64]:
    """Return rows of numbers as (steps, width); where there is none, `width` says how wide."""
    return np.asarray(rows, np.float64) if steps else np.zeros((0, width))


def _rounded(row: NDArray[np.float64]) -> list[float | None]:
    return [float(f"{value:.5g}") if math.isfinite(value) else None for value in row]


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
