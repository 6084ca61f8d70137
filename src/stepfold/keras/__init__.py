"""Recurrent layers for Keras 3, run by compiled kernels: Keras's three, one for any cell, an embedding."""

from ._accelerate import accelerate
from ._embedding import Embedding
from ._layer import SlowPathWarning
from ._layers import GRU, LSTM, SimpleRNN
from ._recurrent import Recurrent

__all__ = ["GRU", "LSTM", "Embedding", "Recurrent", "SimpleRNN", "SlowPathWarning", "accelerate"]
