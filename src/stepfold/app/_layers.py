"""The one place that turns a cell's name into a recurrent layer."""

from typing import Any

import keras


def embedding(size: int, width: int, *, mask: bool) -> Any:
    """Return the layer that turns word ids into vectors; with ``mask``, padding is skipped behind it."""
    return keras.layers.Embedding(size, width, mask_zero=mask)


def recurrent_layer(cell: str, units: int, **options: Any) -> Any:
    """Return the layer of a cell by name; ``options`` as in every recurrent layer of Keras."""
    return {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU, "simple_rnn": keras.layers.SimpleRNN}[cell](
        units, **options
    )
