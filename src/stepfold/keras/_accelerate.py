"""An existing Keras model with its recurrent layers replaced."""

from __future__ import annotations

import functools
from typing import Any

import keras
import numpy as np

from ._embedding import Embedding
from ._layers import GRU, LSTM, SimpleRNN

_REPLACEMENTS = {new.__name__: new for new in (SimpleRNN, LSTM, GRU, Embedding)}


def accelerate(model: Any) -> Any:
    """Return a model whose SimpleRNN, LSTM, GRU and Embedding layers are stepfold's: same numbers, sooner.

    `model`: a Sequential or functional model, or one layer; wrapped layers (Bidirectional, TimeDistributed,
    models in models) are found too. Weights, and the state of a compiled model's optimizer, are copied; the
    model that was given stays as it is. ValueError for a subclassed model, whose layers cannot be listed from
    outside, and for a model without any such layer.
    """
    found: list[str] = []
    exchange = functools.partial(_replaced, found=found)
    if isinstance(model, keras.Model):
        if not (isinstance(model, keras.Sequential) or hasattr(model, "operations")):
            raise ValueError(
                f"{type(model).__name__} is a subclassed model, whose layers only its own code knows; write "
                "stepfold.keras.LSTM in place of keras.layers.LSTM there (set_weights(get_weights()) carries "
                "the weights over)"
            )
        new = keras.models.clone_model(model, clone_function=exchange, recursive=True)
    else:
        new = exchange(model)
        if model.built:
            new.build_from_config(model.get_build_config())
    if not found:
        raise ValueError(
            f"{model.name!r} has none of the layers {', '.join(_REPLACEMENTS)} of keras.layers to replace"
        )
    _copy(model.variables, new.variables)
    if getattr(model, "compiled", False):
        new.compile_from_config(model.get_compile_config())
        if model.optimizer.built:
            new.optimizer.build(new.trainable_variables)
            _copy(model.optimizer.variables, new.optimizer.variables)
    return new


def _copy(values: list[Any], variables: list[Any]) -> None:
    for value, variable in zip(values, variables, strict=True):
        # a copy: JAX gives the memory of a variable away when it is trained
        variable.assign(np.array(keras.ops.convert_to_numpy(value.value)))


def _replaced(layer: Any, found: list[str]) -> Any:
    """Return a new layer from the configuration of a layer, with every recurrent layer in it exchanged."""
    saved = _exchanged(keras.saving.serialize_keras_object(layer), found)
    known = saved.get("registered_name") or saved.get("module", "").startswith("keras")
    if known:
        return keras.saving.deserialize_keras_object(saved)
    return type(layer).from_config(saved["config"])


def _exchanged(saved: Any, found: list[str]) -> Any:
    """Exchange Keras's own layers for ours in what `serialize_keras_object` returned, at any depth."""
    if isinstance(saved, (list, tuple)):
        return type(saved)(_exchanged(item, found) for item in saved)
    if not isinstance(saved, dict):
        return saved
    saved = {key: _exchanged(value, found) for key, value in saved.items()}
    new = _REPLACEMENTS.get(str(saved.get("class_name")))
    if new is not None and saved.get("module") == "keras.layers":
        registered = keras.saving.get_registered_name(new)
        found.append(new.__name__)
        saved.update(module=new.__module__, registered_name=registered)
    return saved
