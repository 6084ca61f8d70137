"""PyTorch modules: `RNN`, `LSTM`, `GRU`, their cells `RNNCell`, `LSTMCell`, `GRUCell`, and `Embedding` in
place of torch.nn's, `Recurrent` for any cell, `RecurrentCell` for one timestep of it, `accelerate` and
`restore` for a model; `Tokens` for ids.

`run` is the same as a function of tensors; `to_model` makes a trained module data that needs no PyTorch.
"""

from .._accelerated import Accelerated
from .._frameworks import missing
from .._warn import SlowPathWarning

try:
    import torch as _torch  # noqa: F401  (so that what follows finds it)
except ModuleNotFoundError as error:
    raise missing("torch", error) from None

from ._accelerate import accelerate, restore
from ._cell_drop_in import GRUCell, LSTMCell, RNNCell
from ._drop_in import GRU, LSTM, RNN
from ._one_step import RecurrentCell
from ._recurrent import Recurrent
from ._scan import run
from ._to_model import to_model
from ._tokens import Embedding, Tokens

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Accelerated",
    "Embedding",
    "GRUCell",
    "LSTMCell",
    "RNNCell",
    "Recurrent",
    "RecurrentCell",
    "SlowPathWarning",
    "Tokens",
    "accelerate",
    "restore",
    "run",
    "to_model",
]
