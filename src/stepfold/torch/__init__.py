"""PyTorch modules: `RNN`, `LSTM` and `GRU` in place of torch.nn's, `Recurrent` for any cell, `accelerate` for
a model.

`run` is the same as a function of tensors.
"""

from ._accelerate import Accelerated, accelerate
from ._drop_in import GRU, LSTM, RNN
from ._recurrent import Recurrent
from ._scan import run
from ._warn import SlowPathWarning

__all__ = ["GRU", "LSTM", "RNN", "Accelerated", "Recurrent", "SlowPathWarning", "accelerate", "run"]
