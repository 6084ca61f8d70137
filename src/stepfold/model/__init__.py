"""Trained models as data: layers, arrays, vocabulary and labels, run by NumPy and the kernels alone."""

from .._language import ACTIVATIONS
from ._assemble import assemble
from ._batches import Sequences, Texts
from ._errors import ModelError
from ._explain import Explanation, LayerStates
from ._file import read_model, write_model
from ._layers import (
    MERGES,
    POOLS,
    ActivationLayer,
    AffineLayer,
    BidirectionalLayer,
    DenseLayer,
    EmbeddingLayer,
    Layer,
    MaskingLayer,
    Merge,
    Pool,
    PoolingLayer,
    RecurrentLayer,
    Signal,
)
from ._model import Model
from ._stream import ModelStream

__all__ = [
    "ACTIVATIONS",
    "MERGES",
    "POOLS",
    "ActivationLayer",
    "AffineLayer",
    "BidirectionalLayer",
    "DenseLayer",
    "EmbeddingLayer",
    "Explanation",
    "Layer",
    "LayerStates",
    "MaskingLayer",
    "Merge",
    "Model",
    "ModelError",
    "ModelStream",
    "Pool",
    "PoolingLayer",
    "RecurrentLayer",
    "Sequences",
    "Signal",
    "Texts",
    "assemble",
    "read_model",
    "write_model",
]
