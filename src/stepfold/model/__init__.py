"""Trained models as data: layers, arrays, vocabulary and labels, run by NumPy and the kernels alone."""

from ._layers import (
    ACTIVATIONS,
    MERGES,
    POOLS,
    ActivationLayer,
    AffineLayer,
    BidirectionalLayer,
    DenseLayer,
    EmbeddingLayer,
    Layer,
    MaskingLayer,
    PoolingLayer,
    RecurrentLayer,
    Signal,
)
from ._model import Model, Sequences, Texts

__all__ = [
    "ACTIVATIONS",
    "MERGES",
    "POOLS",
    "ActivationLayer",
    "AffineLayer",
    "BidirectionalLayer",
    "DenseLayer",
    "EmbeddingLayer",
    "Layer",
    "MaskingLayer",
    "Model",
    "PoolingLayer",
    "RecurrentLayer",
    "Sequences",
    "Signal",
    "Texts",
]
