"""`to_model`, `to_layers`: a trained Keras model, or a part of one, as data, which runs without Keras."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import keras

from ..data import Vocabulary
from ..model import BidirectionalLayer, Layer, Model, RecurrentLayer, assemble, first_layers, reads_ids
from ._branches import export_chain
from ._chain import chain_of
from ._exported import Export, export_layer


def to_model(
    model: Any,
    *,
    vocabulary: Vocabulary | None = None,
    length: int | None = None,
    labels: Iterable[Any] | None = None,
    name: str | None = None,
) -> Model:
    """Return a `keras.Sequential` or functional `keras.Model` as a `stepfold.model.Model`: the same numbers.

    The layers must be a chain, from token ids (batch, time) through an embedding, or from sequences (batch,
    time, features): embedding, masking, recurrent layers in one or both directions, pooling over time,
    normalisation with fixed statistics, dense layers and activations; Keras's, ours, and models of them.
    Where branches of one tensor meet in a Concatenate, they are one layer of the chain. What acts in training
    alone, such as dropout, is left out. The weights are copied. They are float32, or float64 if all of the
    model's are; a policy of half precision rounds nothing in the Model. Outputs at masked timesteps, which
    mean nothing, may differ from Keras's.

    Args:
        model: the trained model; it stays as it is.
        vocabulary: with it the Model takes texts.
        length: how many of a sequence's last timesteps the Model reads; None: as many as the model's input
            says, all if it says nothing.
        labels: the classes in the order of the outputs, for one output, a probability, two. None: 0, 1, … if
            the model ends with a softmax, or with a sigmoid and one output; else the outputs are values.
            With labels, outputs that no sigmoid or softmax ends are logits, and get one.
        name: what to call the Model; None for the model's name.

    Raises TypeError for what is no model of Keras, ValueError for one that cannot be said as a Model, which
    names the layer and what can, and for a vocabulary, a length or labels that do not go with it.
    """
    chain = chain_of(model)
    shape = tuple(model.inputs[0].shape)
    kinds = {keras.backend.standardize_dtype(weight.dtype) for weight in model.weights}
    floating = {kind for kind in kinds if "float" in kind}
    export = Export("float64" if floating == {"float64"} else "float32")
    export_chain(chain, export)
    ids = reads_ids(export.layers)
    without_axis = ids or (len(shape) == 2 and _read_one_integer(export.layers))
    if len(shape) != (2 if without_axis else 3):
        raise ValueError(
            f"the input of {model.name!r} has the shape {shape}, expected (batch, time) of ids for an "
            "embedding or (batch, time, features)"
        )
    if export.flipped:
        raise ValueError(
            f"{model.name!r} gives its outputs in reverse, last timestep first (go_backwards); a Model gives "
            "them in the order of its input"
        )
    return assemble(
        export.layers,
        features=None if ids else 1 if without_axis else int(shape[-1]),
        vocabulary=vocabulary,
        length=shape[1] if length is None else length,
        labels=labels,
        name=model.name if name is None else name,
    )


def _read_one_integer(layers: Sequence[Layer]) -> bool:
    """Whether the cells of the first layers have one input, an integer, which Keras's layers also take as
    (batch, time)."""
    return all(_reads_one_integer(first) for _, first in first_layers(layers))


def _reads_one_integer(first: Layer | None) -> bool:
    first = first.forward if isinstance(first, BidirectionalLayer) else first
    step = first.cell.step if isinstance(first, RecurrentLayer) else None
    return step is not None and bool(step.integers) and len(step.input_names) == 1


def to_layers(*layers: Any, dtype: str = "float32") -> tuple[Layer, ...]:
    """Return Keras's layers as those of a `stepfold.model.Model`, for a model that is no chain.

    Args:
        layers: each called once, one after the other, on sequences with a mask. The weights are copied.
        dtype: of the weights, "float32" or "float64".

    Raises ValueError for a layer that cannot be said as data, see `to_model`.
    """
    export = Export(dtype, mask="given")
    for layer in layers:
        export_layer(layer, tuple(layer.output.shape), export)
    return tuple(export.layers)
