"""PyTorch modules: `RNN`, `LSTM`, `GRU` and `Embedding` in place of torch.nn's, `Recurrent` for any cell,
`accelerate` and `restore` for a model; `Tokens` for ids in place of vectors.

`run` is the same as a function of tensors.
"""

from ._accelerate import Accelerated, accelerate, restore
from ._drop_in import GRU, LSTM, RNN
from ._recurrent import Recurrent
from ._scan import run
from ._tokens import Embedding, Tokens
from ._warn import SlowPathWarning

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Accelerated",
    "Embedding",
    "Recurrent",
    "SlowPathWarning",
    "Tokens",
    "accelerate",
    "restore",
    "run",
]
