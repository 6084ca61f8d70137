"""Layers that an adapter has read from a framework's model, and a user's words about them, as a `Model`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..data import Vocabulary
from ._batches import Sequences, Texts
from ._check import checked_flow
from ._concatenate import ConcatenateLayer
from ._layers import ActivationLayer, DenseLayer, Layer
from ._model import Model
from ._walk import reads_ids


def assemble(
    layers: Sequence[Layer],
    *,
    features: int | None,
    vocabulary: Vocabulary | None,
    length: int | None,
    labels: Iterable[Any] | None,
    name: str,
) -> Model:
    """Return the model of some layers.

    Args:
        layers: in the order in which they run.
        features: of each timestep; None if the model reads ids.
        vocabulary: for a model of texts; None for sequences.
        length: how many of the last timesteps are read; None for all, which texts do not allow.
        labels: the classes, in the order of the outputs. None: 0, 1, … where the last layer ends with a
            sigmoid and has one output, or with a softmax; else the outputs are values.
        name: what to call the model.

    With labels, outputs that no sigmoid or softmax ends are logits, and get one.

    Raises ValueError or TypeError where these do not go together, as `Model` does.
    """
    flow, _ = checked_flow(tuple(layers), features)
    last = _last_activation(layers)
    if labels is None:
        outputs = flow.features or 0
        count = outputs if last == "softmax" else 2 if (last, outputs) == ("sigmoid", 1) else 0
        labels = range(count) if count > 1 and not flow.time else None
    elif last not in ("softmax", "sigmoid"):
        layers = [*layers, ActivationLayer("sigmoid" if flow.features == 1 else "softmax")]
    inputs = _inputs(layers, features, vocabulary, length)
    return Model(tuple(layers), inputs, None if labels is None else tuple(labels), name=name)


def _last_activation(layers: Sequence[Layer]) -> str:
    last = layers[-1] if layers else None
    if isinstance(last, ConcatenateLayer):  # only sigmoids side by side are again such outputs
        found = {_last_activation(branch) for branch in last.branches}
        return "sigmoid" if found == {"sigmoid"} else "linear"
    if isinstance(last, ActivationLayer):
        return last.name
    return last.activation if isinstance(last, DenseLayer) else "linear"


def _inputs(
    layers: Sequence[Layer], features: int | None, vocabulary: Vocabulary | None, length: int | None
) -> Texts | Sequences:
    if vocabulary is None:
        return Sequences(features, length)
    if not reads_ids(layers):
        raise ValueError("a vocabulary is for a model of texts, which begins with an embedding; leave it out")
    if length is None:
        raise ValueError("a model of texts needs a length, the number of tokens of a text that it reads")
    return Texts(vocabulary, length)
