"""The networks: what comes before the recurrent layers, those, pooling over time, and one dense layer."""

from __future__ import annotations

import math
import warnings
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from .. import keras as layers
from .._defaults import check_one_input, default_sizes
from ..cells import as_cell
from ._run import RunError
from ._settings import Settings, TextSettings

_KERAS_LAYERS = {"gru": layers.GRU, "lstm": layers.LSTM, "simple_rnn": layers.SimpleRNN}
"""Cells with a layer of their own, whose weights have Keras's layout."""


def recurrent_layer(cell: str, units: int, **options: Any) -> Any:
    """Return the layer of a cell by its name or its JSON text; ``options`` as in Keras's recurrent layers."""
    own = _KERAS_LAYERS.get(cell)
    if own:
        return own(units, **options)
    found = as_cell(cell)
    check_one_input(found)
    return layers.Recurrent(found, units, **default_sizes(found, units), **options)


def text_network(settings: TextSettings, vocabulary_size: int, outputs: int) -> Any:
    """Return the classifier of ids (batch, length) below ``vocabulary_size``.

    Its output is (batch, 1), the probability of the second of two classes, or (batch, outputs).
    """
    ids = keras.Input((settings.length,), dtype="int32", name="ids")
    kept = layers.WordDropout(settings.word_dropout)(ids) if settings.word_dropout else ids
    vectors = layers.Embedding(
        vocabulary_size, settings.embedding, mask_zero=settings.mask, dropout=settings.embedding_dropout
    )(kept)
    activation = "sigmoid" if outputs == 1 else "softmax"
    return keras.Model(ids, _output(_recurrent(vectors, settings), settings, outputs, activation))


def sequence_network(
    settings: Settings,
    mean: NDArray[np.float32],
    variance: NDArray[np.float32],
    outputs: int,
    activation: str,
) -> Any:
    """Return the network of sequences (batch, time, features) and their masks (batch, time).

    Args:
        settings: the choices.
        mean: (features,), which is subtracted.
        variance: (features,), by whose root is divided.
        outputs: length of the output.
        activation: of the output, "sigmoid", "softmax" or "linear".
    """
    values = keras.Input((None, len(mean)), name="values")
    mask = keras.Input((None,), dtype="bool", name="mask")
    scaled = keras.layers.Normalization(mean=mean, variance=variance)(values)
    masked = layers.WithMask()([scaled, mask])
    return keras.Model([values, mask], _output(_recurrent(masked, settings), settings, outputs, activation))


def _recurrent(sequences: Any, settings: Settings) -> Any:
    """Run the recurrent layers and pool over time: (batch, time, features) → (batch, pooled)."""
    pooling = settings.pooling
    for k in range(settings.layers):
        layer = recurrent_layer(
            settings.cell,
            settings.units,
            return_sequences=k < settings.layers - 1 or pooling != "last",
            dropout=settings.dropout,
            recurrent_dropout=settings.recurrent_dropout,
            recurrent_initializer=settings.recurrent_initializer,
        )
        sequences = (keras.layers.Bidirectional(layer) if settings.bidirectional else layer)(sequences)
    return sequences if pooling == "last" else layers.MaskedPooling1D(pooling)(sequences)


def _output(pooled: Any, settings: Settings, outputs: int, activation: str) -> Any:
    if settings.output_dropout:
        pooled = keras.layers.Dropout(settings.output_dropout)(pooled)
    return keras.layers.Dense(outputs, activation=activation)(pooled)


def compile_network(
    network: Any, settings: Settings, steps: int, *, regression: bool, filled: bool = False
) -> None:
    """Give a network its loss, its metrics and its optimizer for a run of so many training steps.

    With ``filled`` the metrics leave out rows without weight.
    """
    metrics = "weighted_metrics" if filled else "metrics"
    optimizer = keras.optimizers.get(settings.optimizer)
    rate = settings.learning_rate or float(optimizer.learning_rate)
    end = 0.05 * rate
    if settings.schedule == "linear":
        rate = keras.optimizers.schedules.PolynomialDecay(rate, max(steps, 1), end)
    elif settings.schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(rate, max(steps, 1), alpha=0.05)
    optimizer = type(optimizer)(learning_rate=rate, global_clipnorm=settings.clip_norm or None)
    if regression:
        network.compile(optimizer=optimizer, loss="mse", **{metrics: ["mae"]})
    else:
        binary = network.output_shape[-1] == 1
        loss = "binary_crossentropy" if binary else "sparse_categorical_crossentropy"
        network.compile(optimizer=optimizer, loss=loss, **{metrics: ["accuracy"]})


def count_parameters(network: Any) -> int:
    """Return the number of trainable values."""
    return sum(math.prod(variable.shape) for variable in network.trainable_variables)


def save_network(network: Any, path: Path) -> None:
    """Write a network to a ``.keras`` file."""
    with warnings.catch_warnings():
        # Keras's variables do not know the newest argument of __array__ yet.
        warnings.filterwarnings("ignore", "__array__ implementation doesn't accept a copy")
        network.save(path)


def load_network(path: Path) -> Any:
    """Return a saved network; ``RunError`` if the file is missing, cut short or no network."""
    cure = "train again (--overwrite), or copy an undamaged file"
    if not path.exists():
        raise RunError(
            f"{path.parent} holds no model yet: no epoch was finished; continue with resume=True (--resume)"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
    except (OSError, zipfile.BadZipFile) as error:
        raise RunError(f"{path} is damaged or cut short ({error}); {cure}") from None
    if bad is not None:
        raise RunError(f"{path} is damaged (its part {bad} does not match its checksum); {cure}")
    try:
        return keras.saving.load_model(path)
    except (OSError, KeyError, TypeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise RunError(f"{path} cannot be loaded ({reason}); {cure}") from None
