"""stepfold: write one timestep, get a fast, trainable recurrent network."""

from . import cells
from ._cell import Cell, cell
from ._errors import CellError
from ._export import export, from_onnx, load
from ._language import (
    abs,
    clip,
    elu,
    erf,
    exp,
    gelu,
    hard_sigmoid,
    layer_norm,
    linear,
    log,
    max,
    maximum,
    mean,
    minimum,
    relu,
    sigmoid,
    silu,
    softmax,
    softplus,
    softsign,
    sqrt,
    sum,
    tanh,
    where,
)
from ._runtime import Gradients, Run, record, scan
from ._stream import Stream

__version__ = "0.1.0"
__all__ = [
    "Cell",
    "CellError",
    "Gradients",
    "Run",
    "Stream",
    "abs",
    "cell",
    "cells",
    "clip",
    "elu",
    "erf",
    "exp",
    "export",
    "from_onnx",
    "gelu",
    "hard_sigmoid",
    "layer_norm",
    "linear",
    "load",
    "log",
    "max",
    "maximum",
    "mean",
    "minimum",
    "record",
    "relu",
    "scan",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "softsign",
    "sqrt",
    "sum",
    "tanh",
    "where",
]
