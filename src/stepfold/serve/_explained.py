"""What a model makes of a text token by token, within the limits of an answer."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.exceptions import HTTPException

from .._show import named_values
from ..model import BidirectionalLayer, Model, RecurrentLayer, Texts, named_layers
from ._limits import Limits


def explained(model: Model, given: Any, values: bool | list[str], limits: Limits) -> bytes:
    """Return a model's explanation of one text or sequence as JSON.

    Raises:
        HTTPException: 400 for a named value that no layer has, 413 for more timesteps, or more numbers, than
            one answer may have.
    """
    steps = len(model.inputs.vocabulary.tokens(given)) if isinstance(model.inputs, Texts) else len(given)
    steps = min(steps, model.most_explained or steps)
    most = limits.explained_timesteps
    if model.pads or not model.reads_forward:
        most = min(most, limits.explained_backward)
    if steps > most:
        message = f"{steps:,} timesteps of at most {most:,} for {model.name}; send a part of it"
        raise HTTPException(413, message)
    if steps * _numbers(model, values) > limits.explained_values:
        message = f'over {limits.explained_values:,} numbers; ask for fewer "values", or send a part of it'
        raise HTTPException(413, message)
    try:
        found = model.explain(given, values)
    except ValueError as error:
        raise HTTPException(400, str(error)) from None
    return msgspec.json.encode(found.to_dict())


def _numbers(model: Model, values: bool | list[str]) -> int:
    """Return how many numbers an explanation has for each timestep, at most."""
    count = 0
    for _, layer in named_layers(model.layers):
        forward = layer.forward if isinstance(layer, BidirectionalLayer) else layer
        if isinstance(forward, RecurrentLayer):
            names = len(values) if isinstance(values, list) else len(named_values(forward.cell.step)) * values
            sizes = forward.sizes
            widths = [shape[0] for shape in sizes.states.values() if len(shape) == 1]
            widest = max([sizes.width, *sizes.sizes.values()])
            count += sum(widths) + sizes.width * forward.cell.step.output + widest * names
    return count
