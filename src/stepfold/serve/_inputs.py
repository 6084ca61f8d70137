"""From what a request holds to what a model takes, every part checked."""

from __future__ import annotations

from typing import Any

import numpy as np
from starlette.exceptions import HTTPException

from ..model import EmbeddingLayer, Model, Texts, first_layers
from ._limits import Limits


def checked(model: Model, name: str, given: list[Any], limits: Limits) -> list[Any]:
    """Return the inputs for a model.

    Args:
        model: takes texts, or sequences.
        name: the field of the request that holds them, for errors.
        given: texts, or sequences as lists.
        limits: how many and how long they may be.

    Raises:
        HTTPException: 400 for inputs that the model cannot take, 413 for too many or too long ones.
    """
    texts = isinstance(model.inputs, Texts)
    if texts != name.startswith("text"):
        kind = '"text" or "texts"' if texts else '"sequence" or "sequences"'
        raise HTTPException(400, f'the model {model.name} takes {kind}, not "{name}"')
    if len(given) > limits.texts:
        raise HTTPException(
            413, f'"{name}" holds {len(given):,} of at most {limits.texts:,}; send several requests'
        )
    many = name.endswith("s")
    check = _text if texts else _sequence
    return [
        check(model, f'"{name}"[{place}]' if many else f'"{name}"', each, limits)
        for place, each in enumerate(given)
    ]


def _text(model: Model, where: str, text: str, limits: Limits) -> str:
    if len(text) > limits.characters:
        raise HTTPException(
            413, f"{where} has {len(text):,} characters of at most {limits.characters:,}; send a part of it"
        )
    return text


def _sequence(model: Model, where: str, steps: list[Any], limits: Limits) -> Any:
    if not 0 < len(steps) <= limits.timesteps:
        status = 413 if steps else 400
        raise HTTPException(status, f"{where} has {len(steps):,} timesteps; give 1 to {limits.timesteps:,}")
    return timesteps(model, where, steps)


def timesteps(model: Model, where: str, steps: list[Any]) -> Any:
    """Return the timesteps of one sequence: (time,) ids int64, or (time, features) numbers of its dtype."""
    assert not isinstance(model.inputs, Texts)
    features = model.inputs.features
    if features is None:
        return _ids(model, where, steps)
    if features == 1 and not any(isinstance(step, list) for step in steps):
        steps = [[step] for step in steps]
    for place, step in enumerate(steps):
        if not isinstance(step, list) or len(step) != features:
            shape = f"a list of {len(step)}" if isinstance(step, list) else "a number"
            raise HTTPException(400, f"{where}[{place}] is {shape}; the model takes {features} features")
    with np.errstate(over="ignore"):
        values = np.array(steps, np.float64).astype(model.dtype)
    if not np.isfinite(values).all():
        place = int((~np.isfinite(values)).any(axis=-1).argmax())
        raise HTTPException(400, f"{where}[{place}] has a number that {model.dtype} cannot hold")
    return values


def _ids(model: Model, where: str, steps: list[Any]) -> Any:
    counts = [len(each.table) for _, each in first_layers(model.layers) if isinstance(each, EmbeddingLayer)]
    highest = min(counts, default=2**31) - 1
    for place, step in enumerate(steps):
        if not isinstance(step, int) or not 0 <= step <= highest:
            shown = "a list" if isinstance(step, list) else f"{step:.6g}"
            raise HTTPException(
                400, f"{where}[{place}] is {shown}; the model takes ids, integers from 0 to {highest}"
            )
    return np.array(steps, np.int64)
