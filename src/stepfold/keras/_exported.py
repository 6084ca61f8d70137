"""Each layer of Keras and of ours that a `stepfold.model.Model` can have, as the layer of the Model."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import layers as theirs
from keras import ops

from .. import model as data
from .._cell import Cell
from .._native import Array
from .._runtime import Recipe
from ._activations import function_of, name_of
from ._cells import borrowed
from ._chain import refusal
from ._embedding import Embedding
from ._layers import GRU, LSTM, SimpleRNN
from ._pooling import MaskedPooling1D
from ._recurrent import Recurrent
from ._rnn import RNN
from ._step_cell import StepCell, with_expected_zoneout
from ._with_mask import WithMask
from ._word_dropout import WordDropout


@dataclass
class Export:
    """The layers so far, and what is true of what comes out of the last one.

    Attributes:
        dtype: of all weights, float32 or float64.
        layers: what they are in the Model.
        mask: which timesteps are masked, as a value that is the same for the same ones; None if none are.
        cleared: whether Keras has zeros at masked timesteps where the Model repeats an output.
        flipped: whether Keras has the timesteps in the reverse of the Model's order.
        features: the length of the last axis that comes out of the layer at hand.
        first: whether the first of the layers reads what goes into the model.
    """

    dtype: Any
    layers: list[data.Layer] = field(default_factory=list)
    mask: object = None
    cleared: bool = False
    flipped: bool = False
    features: int = 0
    first: bool = True

    @property
    def masked(self) -> bool:
        """Whether some timesteps are masked."""
        return self.mask is not None

    def array(self, weight: Any) -> Array:
        """Return a copy of a weight."""
        value = ops.cast(ops.convert_to_tensor(weight), self.dtype)
        return np.array(ops.convert_to_numpy(value), self.dtype, order="C")


Converter = Callable[[Any, Export], None]


def export_layer(layer: Any, shape: tuple[int | None, ...], to: Export) -> None:
    """Add what a layer, whose output has a shape, is in a Model; ValueError if it is nothing there."""
    found = CONVERTERS.get(type(layer))
    if found is None:
        names = ", ".join(sorted({"Concatenate", *(kind.__name__ for kind in CONVERTERS)}))
        raise refusal(layer, f"a Model has no such layer; it may be made of {names}")
    if getattr(layer, "quantization_mode", None) is not None:
        raise refusal(layer, "it is quantised; export the model before it is, with weights='int8'")
    to.features = int(shape[-1] or 0)
    if to.masked and not layer.supports_masking and len(shape) == 3:
        raise refusal(layer, "it takes the mask away from the layers behind it")
    found(layer, to)
    if len(shape) == 2 and to.layers and not isinstance(to.layers[-1], data.EmbeddingLayer):
        to.mask, to.cleared, to.flipped = None, False, False  # there is no time left


def _nothing(layer: Any, to: Export) -> None:
    """Add no layer: what it does, it does in training."""


def _embedding(layer: Any, to: Export) -> None:
    if to.layers or not to.first:
        raise refusal(layer, "an embedding can only be the first layer, which reads ids")
    to.mask = "the id 0" if layer.mask_zero else None
    to.layers.append(data.EmbeddingLayer(to.array(layer.embeddings), to.masked))


def _masking(layer: Any, to: Export) -> None:
    to.mask = object()
    to.layers.append(data.MaskingLayer(float(layer.mask_value)))


def _with_mask(layer: Any, to: Export) -> None:
    to.mask = "given"


def _recurrent(layer: Any, to: Export) -> None:
    found = _one_direction(layer, to)
    to.layers.append(found)
    if layer.return_sequences:
        if to.masked and (layer.go_backwards or to.flipped):
            raise refusal(
                layer, "with go_backwards its outputs are in reverse, and the mask behind it is not"
            )
        to.cleared = to.masked and bool(layer.zero_output_for_mask)
        to.flipped ^= layer.go_backwards  # Keras gives outputs as they were computed
    elif to.masked and layer.zero_output_for_mask:
        raise refusal(layer, "with zero_output_for_mask its output is zero if the last timestep is masked")


def _bidirectional(layer: Any, to: Export) -> None:
    if layer.merge_mode not in data.MERGES:
        raise refusal(layer, f"merge_mode={layer.merge_mode!r} gives several outputs")
    if to.flipped or layer.forward_layer.go_backwards:
        raise refusal(layer, "it reads timesteps in reverse; put the layer that reads forward first")
    forward, backward = _one_direction(layer.forward_layer, to), _one_direction(layer.backward_layer, to)
    to.layers.append(data.BidirectionalLayer(forward, backward, layer.merge_mode))
    to.cleared = to.masked and bool(layer.return_sequences)  # Keras asks for zeros there by itself


def _one_direction(layer: Any, to: Export) -> data.RecurrentLayer:
    if layer.stateful:
        raise refusal(
            layer,
            "stateful=True carries its state from batch to batch; build the model with stateful=False, and "
            "set_weights(get_weights())",
        )
    if layer.return_state:
        raise refusal(layer, "return_state=True gives its states beside its output; leave it out")
    if type(layer) not in RECURRENT:
        raise refusal(layer, f"a recurrent layer may be {', '.join(kind.__name__ for kind in RECURRENT)}")
    cell, params = _cell_of(layer, to)
    return data.RecurrentLayer(
        cell, params, reverse=layer.go_backwards != to.flipped, return_sequences=layer.return_sequences
    )


def _cell_of(layer: Any, to: Export) -> tuple[Cell, Mapping[str, Array]]:
    cell = layer.cell
    if type(cell) is StepCell:
        step = cell.definition.step
        mixed = Cell(with_expected_zoneout(step, cell.zoneout)) if cell.zoneout else cell.definition
        return mixed, {
            name: to.array(weight) for name, weight in zip(step.parameters, cell.parameters, strict=True)
        }
    own = borrowed(cell)
    if own is None:
        raise refusal(
            layer, f"its cell is {type(cell).__name__}; write it with @stepfold.cell, for Recurrent"
        )
    meaning = own.definition()
    if meaning is None:
        raise refusal(layer, str(own.unsupported_reason()))
    weights = [to.array(weight) for weight in own.cell_weights()]
    recipe = Recipe(meaning.step, cell.units, own.parts(tuple(meaning.step.parameters)), len(weights))
    params = recipe.parameters(weights, lambda: np.zeros(cell.units, to.dtype))
    return meaning, {name: np.asarray(value, order="C") for name, value in params.items()}


def _pooling(kind: data.Pool, layer: Any, to: Export) -> None:
    if getattr(layer, "keepdims", False) or getattr(layer, "data_format", "") == "channels_first":
        raise refusal(layer, "it must pool (batch, time, features) to (batch, features)")
    masked = not to.masked or layer.supports_masking
    if not masked and to.cleared:
        raise refusal(layer, "it pools over masked timesteps too; use stepfold.keras.MaskedPooling1D")
    to.layers.append(data.PoolingLayer(kind, masked))


def _normalization(layer: Any, to: Export) -> None:
    mean, variance = (np.array(ops.convert_to_numpy(value)) for value in (layer.mean, layer.variance))
    if mean.size != mean.shape[-1]:
        raise refusal(layer, f"its mean has the shape {mean.shape}; it must be one for each feature")
    deviation = np.maximum(np.sqrt(variance.astype(np.float64)), keras.config.epsilon()).ravel()
    centre = mean.astype(np.float64).ravel()
    # two layers, as Keras computes it: with large means, values * scale and shift would nearly cancel
    if layer.invert:
        _affine(deviation, 0.0, to)
        _affine(1.0, centre, to)
    else:
        _affine(1.0, -centre, to)
        _affine(1 / deviation, 0.0, to)


def _batch_normalization(layer: Any, to: Export) -> None:
    gamma = to.array(layer.gamma) if layer.scale else 1.0
    beta = to.array(layer.beta) if layer.center else 0.0
    if layer.moving_mean.shape != (to.features,):
        raise refusal(layer, f"axis={layer.axis} is not the last one")
    variance = to.array(layer.moving_variance).astype(np.float64)
    scale = gamma / np.sqrt(variance + layer.epsilon)
    _affine(scale, beta - to.array(layer.moving_mean) * scale, to)


def _rescaling(layer: Any, to: Export) -> None:
    _affine(np.asarray(layer.scale), np.asarray(layer.offset), to)


def _affine(scale: Any, shift: Any, to: Export) -> None:
    arrays = (np.array(np.broadcast_to(value, to.features), to.dtype) for value in (scale, shift))
    to.layers.append(data.AffineLayer(*arrays))


def _dense(layer: Any, to: Export) -> None:
    bias = to.array(layer.bias) if layer.use_bias else None
    to.layers.append(data.DenseLayer(to.array(layer.kernel), bias, _activation_name(layer, layer.activation)))


def _time_distributed(layer: Any, to: Export) -> None:
    if type(layer.layer) not in EACH_STEP:
        names = ", ".join(sorted(kind.__name__ for kind in EACH_STEP))
        raise refusal(layer, f"the layer in it may be {names}, not {type(layer.layer).__name__}")
    CONVERTERS[type(layer.layer)](layer.layer, to)


def _activation(layer: Any, to: Export) -> None:
    to.layers.append(data.ActivationLayer(_activation_name(layer, layer.activation)))


def _named(name: str, defaults: Mapping[str, Any], layer: Any, to: Export) -> None:
    """Add the activation of a layer that computes it with these arguments and no others."""
    for argument, value in defaults.items():
        if getattr(layer, argument) != value:
            raise refusal(layer, f"{argument} must be {value!r}, not {getattr(layer, argument)!r}")
    if name == "softmax" and to.masked:
        raise refusal(layer, "it reads the mask as one of its features; write Activation('softmax')")
    to.layers.append(data.ActivationLayer(name))


def _activation_name(layer: Any, activation: Any) -> str:
    function = function_of(activation)
    for name, known in data.ACTIVATIONS.items():
        if known is function:
            return name
    raise refusal(
        layer,
        f"its activation {name_of(activation)!r} is not one of {', '.join(data.ACTIVATIONS)}",
    )


RECURRENT: tuple[type, ...] = (
    *(theirs.SimpleRNN, theirs.LSTM, theirs.GRU, theirs.RNN),
    *(SimpleRNN, LSTM, GRU, RNN, Recurrent),
)
_IN_TRAINING: tuple[type, ...] = (
    *(theirs.Dropout, theirs.SpatialDropout1D, theirs.AlphaDropout, theirs.GaussianDropout),
    *(theirs.GaussianNoise, theirs.ActivityRegularization, theirs.Identity, WordDropout),
)
_ACTIVATIONS: dict[type, Converter] = {
    theirs.Activation: _activation,
    theirs.ReLU: functools.partial(
        _named, "relu", {"max_value": None, "negative_slope": 0.0, "threshold": 0.0}
    ),
    theirs.ELU: functools.partial(_named, "elu", {"alpha": 1.0}),
    theirs.Softmax: functools.partial(_named, "softmax", {"axis": -1}),
}
EACH_STEP: dict[type, Converter] = {
    theirs.Dense: _dense,
    theirs.BatchNormalization: _batch_normalization,
    theirs.Rescaling: _rescaling,
    **_ACTIVATIONS,
    **dict.fromkeys(_IN_TRAINING[:-1], _nothing),
}
CONVERTERS: dict[type, Converter] = {
    **EACH_STEP,
    WordDropout: _nothing,
    theirs.Embedding: _embedding,
    Embedding: _embedding,
    theirs.Masking: _masking,
    WithMask: _with_mask,
    **dict.fromkeys(RECURRENT, _recurrent),
    theirs.Bidirectional: _bidirectional,
    theirs.TimeDistributed: _time_distributed,
    theirs.GlobalMaxPooling1D: functools.partial(_pooling, "max"),
    theirs.GlobalAveragePooling1D: functools.partial(_pooling, "mean"),
    MaskedPooling1D: lambda layer, to: _pooling(layer.kind, layer, to),
    theirs.Normalization: _normalization,
}
"""How each class of layers is added; a subclass may compute anything, and is not among them."""
