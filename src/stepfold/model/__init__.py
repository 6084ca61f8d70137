"""Trained models as data: layers, arrays, vocabulary and labels, run by NumPy and the kernels alone."""

from .._language import ACTIVATIONS
from ._assemble import assemble
from ._batches import Sequences, Texts
from ._cell_sizes import CellSizes
from ._check import kind_of
from ._concatenate import ConcatenateLayer
from ._errors import ModelError
from ._evidence_layers import EnsembleLayer, EvidenceLayer, JoinEvidenceLayer
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
)
from ._model import Model
from ._signal import Signal
from ._stream import ModelStream
from ._walk import first_layers, named_layers, reads_ids
from .ngrams import NgramScores

__all__ = [
    "ACTIVATIONS",
    "MERGES",
    "POOLS",
    "ActivationLayer",
    "AffineLayer",
    "BidirectionalLayer",
    "CellSizes",
    "ConcatenateLayer",
    "DenseLayer",
    "EmbeddingLayer",
    "EnsembleLayer",
    "EvidenceLayer",
    "Explanation",
    "JoinEvidenceLayer",
    "Layer",
    "LayerStates",
    "MaskingLayer",
    "Merge",
    "Model",
    "ModelError",
    "ModelStream",
    "NgramScores",
    "Pool",
    "PoolingLayer",
    "RecurrentLayer",
    "Sequences",
    "Signal",
    "Texts",
    "assemble",
    "first_layers",
    "kind_of",
    "named_layers",
    "read_model",
    "reads_ids",
    "write_model",
]
