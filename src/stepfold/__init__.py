"""stepfold: write one timestep, get a fast, trainable recurrent network."""

import importlib
from typing import TYPE_CHECKING, Any

from ._cell import Cell, cell
from ._declared import Scalar
from ._errors import CellError
from ._export import export, from_onnx, load
from ._language import (
    abs,
    celu,
    clip,
    cos,
    elu,
    erf,
    exp,
    floor,
    gelu,
    hard_shrink,
    hard_sigmoid,
    hard_silu,
    hard_tanh,
    layer_norm,
    leaky_relu,
    linear,
    log,
    log_sigmoid,
    log_softmax,
    logical_and,
    logical_not,
    logical_or,
    logsumexp,
    max,
    maximum,
    mean,
    minimum,
    mish,
    mod,
    outer,
    relu,
    relu6,
    selu,
    sigmoid,
    silu,
    sin,
    soft_shrink,
    softmax,
    softplus,
    softsign,
    sparse_plus,
    sparse_sigmoid,
    sqrt,
    square,
    squareplus,
    sum,
    tanh,
    tanh_shrink,
    threshold,
    where,
)
from ._noise import dropout, noise
from ._parts import concatenate, cumsum, repeat, reverse, roll, shift, split
from ._runtime import Gradients, Run, record, scan
from ._stream import Stream

if TYPE_CHECKING:
    from . import cells

__version__ = "0.2.0"
__all__ = [
    "Cell",
    "CellError",
    "Gradients",
    "Run",
    "Scalar",
    "Stream",
    "abs",
    "cell",
    "cells",
    "celu",
    "clip",
    "concatenate",
    "cos",
    "cumsum",
    "dropout",
    "elu",
    "erf",
    "exp",
    "export",
    "floor",
    "from_onnx",
    "gelu",
    "hard_shrink",
    "hard_sigmoid",
    "hard_silu",
    "hard_tanh",
    "layer_norm",
    "leaky_relu",
    "linear",
    "load",
    "log",
    "log_sigmoid",
    "log_softmax",
    "logical_and",
    "logical_not",
    "logical_or",
    "logsumexp",
    "max",
    "maximum",
    "mean",
    "minimum",
    "mish",
    "mod",
    "noise",
    "outer",
    "record",
    "relu",
    "relu6",
    "repeat",
    "reverse",
    "roll",
    "scan",
    "selu",
    "shift",
    "sigmoid",
    "silu",
    "sin",
    "soft_shrink",
    "softmax",
    "softplus",
    "softsign",
    "sparse_plus",
    "sparse_sigmoid",
    "split",
    "sqrt",
    "square",
    "squareplus",
    "sum",
    "tanh",
    "tanh_shrink",
    "threshold",
    "where",
]


def __getattr__(name: str) -> Any:
    if name == "cells":  # made when asked for: tracing them is a sixth of the import
        return importlib.import_module(".cells", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
