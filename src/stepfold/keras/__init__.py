"""Recurrent layers for Keras 3, run by compiled kernels: Keras's three, one for any cell, an embedding; and
what stands around them: side features, masks, pooling over time with masks, dropout of words; `to_model`
makes a trained model data that needs no Keras."""

from ._accelerate import accelerate
from ._embedding import Embedding
from ._layer import SlowPathWarning
from ._layers import GRU, LSTM, SimpleRNN
from ._pooling import MaskedPooling1D
from ._recurrent import Recurrent
from ._side_features import SideFeatures
from ._to_model import to_model
from ._with_mask import WithMask
from ._word_dropout import WordDropout

__all__ = [
    "GRU",
    "LSTM",
    "Embedding",
    "MaskedPooling1D",
    "Recurrent",
    "SideFeatures",
    "SimpleRNN",
    "SlowPathWarning",
    "WithMask",
    "WordDropout",
    "accelerate",
    "to_model",
]
