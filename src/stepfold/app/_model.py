"""The classifier: embedding, recurrent layers, one dense layer; made, compiled, loaded."""

import math
import zipfile
from typing import Any

import keras

from ..keras import Embedding
from ._layers import recurrent_layer
from ._run import RunError, RunFolder
from ._settings import Settings


def build(settings: Settings, vocabulary_size: int, classes: int) -> Any:
    """Return the compiled model for word ids (batch, length) below ``vocabulary_size``.

    Its output is (batch, 1), the probability of the second of two classes, or (batch, classes).
    """
    keras.utils.set_random_seed(settings.seed)
    stack = []
    for k in range(settings.layers):
        layer = recurrent_layer(
            settings.cell,
            settings.units,
            return_sequences=k < settings.layers - 1,
            dropout=settings.dropout,
            recurrent_dropout=settings.recurrent_dropout,
        )
        stack.append(keras.layers.Bidirectional(layer) if settings.bidirectional else layer)
    if classes == 2:
        top, loss = keras.layers.Dense(1, activation="sigmoid"), "binary_crossentropy"
    else:
        top, loss = keras.layers.Dense(classes, activation="softmax"), "sparse_categorical_crossentropy"
    model = keras.Sequential(
        [
            keras.Input((settings.length,), dtype="int32"),
            Embedding(vocabulary_size, settings.embedding, mask_zero=settings.mask),
            *stack,
            top,
        ]
    )
    optimizer = keras.optimizers.get(settings.optimizer)
    if settings.learning_rate is not None:
        optimizer.learning_rate = settings.learning_rate
    model.compile(optimizer=optimizer, loss=loss, metrics=["accuracy"])
    return model


def parameters(model: Any) -> int:
    """Return the number of trainable values."""
    return sum(math.prod(variable.shape) for variable in model.trainable_variables)


def load(run: RunFolder) -> Any:
    """Return the saved model of a run; ``RunError`` if the file is missing, cut short or no model."""
    cure = "train again with --overwrite, or copy an undamaged file"
    if not run.model.exists():
        raise RunError(f"{run.path} holds no model yet: no epoch was finished; continue it with --resume")
    try:
        with zipfile.ZipFile(run.model) as archive:
            bad = archive.testzip()
    except (OSError, zipfile.BadZipFile) as error:
        raise RunError(f"{run.model} is damaged or cut short ({error}); {cure}") from None
    if bad is not None:
        raise RunError(f"{run.model} is damaged (its part {bad} does not match its checksum); {cure}")
    try:
        return keras.saving.load_model(run.model)
    except (OSError, KeyError, TypeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise RunError(f"{run.model} cannot be loaded ({reason}); {cure}") from None
