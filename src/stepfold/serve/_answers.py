"""What a model says, as data for JSON."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..model import Model

_DIGITS = 6


def answers(model: Model, inputs: list[Any]) -> list[dict[str, Any]]:
    """Return the answer to each input: label and probabilities, or the value, or several values."""
    if model.labels is None:
        return [
            {"values": found} if isinstance(found, list) else {"value": found}
            for found in np.asarray(model.predict(inputs)).tolist()
        ]
    names = [str(label) for label in model.labels]
    probabilities = model.predict_proba(inputs).astype(np.float64)
    rows = rounded(probabilities)
    likeliest = probabilities.argmax(axis=-1).tolist()
    return [
        {
            "label": model.labels[best],
            "probability": row[best],
            "probabilities": dict(zip(names, row, strict=True)),
        }
        for best, row in zip(likeliest, rows, strict=True)
    ]


def rounded(values: Any) -> Any:
    """Return an array as lists, rounded as probabilities are shown."""
    return np.asarray(values, np.float64).round(_DIGITS).tolist()
