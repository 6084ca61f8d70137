"""Makes a recurrent layer from a cell's name."""

from typing import Any

from .. import keras as layers
from ..cells import by_name

_OWN = {"gru": layers.GRU, "lstm": layers.LSTM, "simple_rnn": layers.SimpleRNN}
"""Cells with a layer of their own, whose weights have Keras's layout."""


def recurrent_layer(cell: str, units: int, **options: Any) -> Any:
    """Return the layer of a cell by name; ``options`` as in every recurrent layer of Keras."""
    own = _OWN.get(cell)
    return own(units, **options) if own else layers.Recurrent(by_name(cell), units, **options)
