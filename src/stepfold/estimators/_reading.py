"""Reads one input step by step: what the network says, its states and gates, after each step."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..model import Model, Texts
from ..report import Reading

_LONGEST = 300  # timesteps of a sequence; of a text, as many words as the network reads


def read(model: Model, given: Any, truth: str | float | None = None) -> Reading | None:
    """Return what a model makes of one input, step by step; None if there is no step in it.

    Args:
        model: a fitted estimator's.
        given: a text, ids (time,) or values (time, features); of a longer sequence the first 300 timesteps
            are read.
        truth: the true class or value, if known.
    """
    text = isinstance(model.inputs, Texts)
    if not text:
        given = np.asarray(given)[:_LONGEST]
    explanation = model.explain(given, values=True).to_dict()
    count = len(explanation["tokens"])
    if not count:
        return None
    ids = not text and given.ndim == 1
    if ids:  # they are what a reader knows in place of words
        explanation["tokens"] = [str(each) for each in given[-count:]]
    equations = model.equations()
    return Reading(
        explanation=explanation,
        equations=equations,
        name=", ".join(dict.fromkeys(each["cell"] for each in equations)),
        inputs=None if text or ids else given[-count:],
        words=text or ids,
        truth=truth,
    )
