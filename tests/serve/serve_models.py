"""Small models with random weights, for the tests of the server."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from stepfold import cells
from stepfold.data import UnicodeWords
from stepfold.model import (
    BidirectionalLayer,
    DenseLayer,
    EmbeddingLayer,
    Model,
    PoolingLayer,
    RecurrentLayer,
    Sequences,
    Texts,
)

WORDS = "the film is good bad very not and this was"
UNITS = 8


def text_model(name: str = "reviews", *, cell: str = "lstm", both_ways: bool = False) -> Model:
    """A classifier of texts, "neg" and "pos", 40 tokens at most."""
    vocabulary = UnicodeWords.learn([WORDS])
    layers: list[Any] = [EmbeddingLayer(_normal(vocabulary.size, 6), mask_zero=True)]
    params = cells.by_name(cell).init(6, UNITS, seed=3)
    first = RecurrentLayer(cells.by_name(cell), params, return_sequences=True)
    if both_ways:
        layers.append(
            BidirectionalLayer(
                first, RecurrentLayer(cells.by_name(cell), params, reverse=True, return_sequences=True)
            )
        )
    else:
        layers.append(first)
    width = UNITS * (1 + both_ways)
    layers += [PoolingLayer("max"), DenseLayer(_normal(width, 1), _normal(1), "sigmoid")]
    return Model(tuple(layers), Texts(vocabulary, 40), labels=("neg", "pos"), name=name)


def number_model(name: str = "sensors", features: int | None = 2) -> Model:
    """Three classes from sequences of `features` numbers; with None from ids below 12."""
    cell = cells.by_name("gru")
    layers: list[Any] = [] if features else [EmbeddingLayer(_normal(12, 4))]
    layers += [
        RecurrentLayer(cell, cell.init(features or 4, UNITS, seed=1)),
        DenseLayer(_normal(UNITS, 3), None, "softmax"),
    ]
    return Model(tuple(layers), Sequences(features), labels=(0, 1, 2), name=name)


def value_model(name: str = "values") -> Model:
    """One value from a sequence of one feature."""
    cell = cells.by_name("simple_rnn")
    layers = (RecurrentLayer(cell, cell.init(1, UNITS, seed=2)), DenseLayer(_normal(UNITS, 1)))
    scale = {"scale": np.array([2.0]), "shift": np.array([10.0])}
    return Model(layers, Sequences(1), name=name, **scale)


@dataclass(frozen=True, eq=False)
class Watched(Model):
    """A model that says which batches it got, waits for `open`, and fails at the text "poison"."""

    batches: list[list[str]] = field(default_factory=list)
    open: threading.Event = field(default_factory=threading.Event)

    def predict_proba(self, inputs: Iterable[Any]) -> Any:
        texts = list(inputs)
        self.batches.append(texts)
        assert self.open.wait(10)
        if "poison" in texts:
            raise RuntimeError("poison")
        return super().predict_proba(texts)


def watched() -> Watched:
    model = text_model()
    return Watched(**{each.name: getattr(model, each.name) for each in fields(model) if each.init})


def _normal(*shape: int) -> Any:
    return np.random.default_rng(sum(shape)).normal(0, 1, shape).astype(np.float32)
