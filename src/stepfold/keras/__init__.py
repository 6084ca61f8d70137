"""Recurrent layers for Keras 3, run by compiled kernels: Keras's three and its RNN, one for any cell, an
embedding; and what stands around them: side features, masks, pooling over time with masks, dropout of words.
`accelerate` and `restore` are for a model that exists; `to_model` makes a trained model data that needs no
Keras. Importing this package is all that Keras needs to load a saved model with these layers."""

from .._accelerated import Accelerated
from .._frameworks import missing
from .._warn import SlowPathWarning

try:
    import keras
except ModuleNotFoundError as error:
    raise missing("keras", error) from None

from ._accelerate import accelerate, restore
from ._embedding import Embedding
from ._layers import GRU, LSTM, SimpleRNN
from ._pooling import MaskedPooling1D
from ._recurrent import Recurrent
from ._rnn import RNN
from ._side_features import SideFeatures
from ._to_model import to_layers, to_model
from ._with_mask import WithMask
from ._word_dropout import WordDropout

if keras.backend.backend() == "jax":
    from . import _xla  # noqa: F401  (registers the handler that exported programs call)

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Accelerated",
    "Embedding",
    "MaskedPooling1D",
    "Recurrent",
    "SideFeatures",
    "SimpleRNN",
    "SlowPathWarning",
    "WithMask",
    "WordDropout",
    "accelerate",
    "restore",
    "to_layers",
    "to_model",
]
