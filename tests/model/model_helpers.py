"""Small models for the tests of the file, of explanations and of what reads them."""

from __future__ import annotations

from typing import Any

import numpy as np

from stepfold import Cell, cells
from stepfold.data import KerasWords
from stepfold.model import (
    ActivationLayer,
    AffineLayer,
    BidirectionalLayer,
    ConcatenateLayer,
    DenseLayer,
    EmbeddingLayer,
    Layer,
    MaskingLayer,
    Model,
    PoolingLayer,
    RecurrentLayer,
    Sequences,
    Texts,
)

WORDS = KerasWords(("good", "bad", "film", "the", "was"))
TEXTS = ["the film was good", "the film was bad bad bad bad", "", "unheard of good"]


def recurrent(
    cell: Cell, features: int, units: int, *, seed: int = 0, dtype: Any = np.float32, **options: Any
) -> RecurrentLayer:
    """A layer with random parameters, vectors too."""
    random = np.random.default_rng(seed)
    params = {
        name: (value + random.normal(0, 0.3, value.shape)).astype(dtype)
        for name, value in cell.init(features, units, seed=seed).items()
    }
    return RecurrentLayer(cell, params, **options)


def normal(*shape: int, dtype: Any = np.float32) -> Any:
    """Random numbers, the same every time."""
    return np.random.default_rng(len(shape) + sum(shape)).normal(0, 0.7, shape).astype(dtype)


def text_model(*layers: Layer, length: int = 6, mask_zero: bool = True, dtype: Any = np.float32) -> Model:
    """A classifier of texts: an embedding of 4 features, then the layers, or an LSTM."""
    inner = layers or (recurrent(cells.lstm, 4, 5, dtype=dtype),)
    units = 5 if not layers else _units(layers[-1])
    table = EmbeddingLayer(normal(WORDS.size, 4, dtype=dtype), mask_zero)
    last = DenseLayer(normal(units, 1, dtype=dtype), normal(1, dtype=dtype), "sigmoid")
    return Model((table, *inner, last), Texts(WORDS, length), ("no", "yes"), name="a model of texts")


def _units(layer: Layer) -> int:
    if isinstance(layer, BidirectionalLayer):
        return layer.forward.units + layer.backward.units
    return layer.units if isinstance(layer, RecurrentLayer) else 5


def value_model(dtype: Any = np.float32) -> Model:
    """Every kind of layer but an embedding: values from sequences of 3 features."""
    layers: tuple[Layer, ...] = (
        AffineLayer(normal(3, dtype=dtype), normal(3, dtype=dtype)),
        MaskingLayer(-1.0),
        DenseLayer(normal(3, 4, dtype=dtype), None, "tanh"),
        BidirectionalLayer(
            recurrent(cells.gru, 4, 5, dtype=dtype, return_sequences=True),
            recurrent(cells.gru, 4, 5, dtype=dtype, return_sequences=True, reverse=True, seed=1),
        ),
        recurrent(cells.simple_rnn, 10, 6, dtype=dtype, return_sequences=True),
        ActivationLayer("relu"),
        PoolingLayer("max_mean"),
        DenseLayer(normal(12, 2, dtype=dtype), normal(2, dtype=dtype)),
    )
    return Model(layers, Sequences(3), None, np.array([2.0, 3.0]), np.array([0.1, 1e-300]))


def branched_texts(*masks: bool, both: bool = False) -> Model:
    """Two embeddings of the same ids with other layers behind them, then a skip connection and two ways to
    pool; `both` has layers that read in both directions."""

    def layer(features: int, units: int) -> Layer:
        one = recurrent(cells.gru, features, units, return_sequences=True)
        if not both:
            return one
        other = recurrent(cells.lstm, features, units, seed=1, return_sequences=True, reverse=True)
        return BidirectionalLayer(one, other, "sum")

    first, second = masks or (True, True)
    embedded = ConcatenateLayer(
        (
            (EmbeddingLayer(normal(WORDS.size, 4), first), layer(4, 3), DenseLayer(normal(3, 2))),
            (EmbeddingLayer(normal(WORDS.size, 3), second),),
        )
    )
    skip = ConcatenateLayer(((), (layer(5, 3),)))
    pooled = ConcatenateLayer(((layer(8, 4), PoolingLayer("max_mean")), (PoolingLayer("sum"),)))
    last = DenseLayer(normal(16, 1), normal(1), "sigmoid")
    return Model((embedded, skip, pooled, last), Texts(WORDS, 6), ("no", "yes"), name="branches")


def branched_values() -> Model:
    """Branches of several masks within one another, all of which read forward, on sequences of 3 features."""
    retention = RecurrentLayer(cells.retnet, cells.retnet.init(3, 4, key=2, seed=0), return_sequences=True)
    inner = ConcatenateLayer(((), (recurrent(cells.peephole_lstm, 2, 3, return_sequences=True),)))
    layers: tuple[Layer, ...] = (
        ConcatenateLayer(((retention,), (MaskingLayer(0.5), DenseLayer(normal(3, 2), None, "tanh"), inner))),
        ConcatenateLayer(
            (
                (recurrent(cells.lstm, 9, 2),),
                (PoolingLayer("max_mean"),),
                (DenseLayer(normal(9, 3)), PoolingLayer("sum"), ActivationLayer("softsign")),
                (PoolingLayer("last"),),
            )
        ),
        DenseLayer(normal(32, 2), normal(2)),
    )
    return Model(layers, Sequences(3))


SEQUENCES = [normal(7, 3), normal(2, 3), normal(4, 3)]
