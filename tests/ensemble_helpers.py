"""A small ensemble as data: n-grams beside the words, two networks that read both ways."""

from __future__ import annotations

from typing import Any

import numpy as np

from stepfold import cells
from stepfold.data import ReviewWords
from stepfold.model import (
    ActivationLayer,
    BidirectionalLayer,
    DenseLayer,
    EmbeddingLayer,
    EnsembleLayer,
    EvidenceLayer,
    JoinEvidenceLayer,
    Layer,
    Model,
    NgramScores,
    PoolingLayer,
    RecurrentLayer,
    Texts,
)

WORDS = ReviewWords(("film", "not", "good", ".", "bad", "very", "the"))
SIZE = 2 + len(WORDS.words)  # of the ids of n-grams, from 2 on in the order of the words
GRAMS = [["film", "not", "good", "bad", "very"], ["not good", "very bad", "film not"], ["film not good"]]
"""N-grams of words that are known, of each length."""
MARKED = [["film", "not", "*good", "*bad", "."], ["film not", "not *good"]]
"""The same of words that are marked, with a star, where a negation stands before them."""


def number(word: str) -> int:
    return WORDS.words.index(word.removeprefix("*")) + 2 + SIZE * word.startswith("*")


def keys(grams: list[list[str]]) -> tuple[Any, ...]:
    """The keys of n-grams, and the n-grams in the order of their keys."""
    found, places, order = [], {}, []
    for of_length in grams:
        by_key = {
            places.get(gram.rpartition(" ")[0], 0) * 2 * SIZE + number(gram.split()[-1]): gram
            for gram in of_length
        }
        found.append(np.array(sorted(by_key), np.int64))
        places = {by_key[key]: place for place, key in enumerate(sorted(by_key))}
        order += [by_key[key] for key in sorted(by_key)]
    return tuple(found), order


def normal(seed: int, *shape: int) -> Any:
    return np.random.default_rng(seed).normal(0, 0.7, shape).astype(np.float32)


def ngrams(scores: int = 1) -> NgramScores:
    words, marked = keys(GRAMS)[0], keys(MARKED)[0]
    count = sum(map(len, (*words, *marked)))
    return NgramScores(
        SIZE,
        np.array([number("not")]),
        np.array([number(".")]),
        words,
        marked,
        normal(1, count, scores),
        normal(2, count, scores),
        normal(3, scores),
    )


def _network(cell: Any, channels: int, scores: int, embedded: int) -> tuple[Layer, ...]:
    forward, backward = (
        RecurrentLayer(cell, cell.init(3 + channels, 4, seed=seed), reverse=bool(seed), return_sequences=True)
        for seed in (0, 1)
    )
    return (
        EmbeddingLayer(normal(4, embedded, 3), mask_zero=True),
        BidirectionalLayer(forward, backward),
        PoolingLayer("max_mean"),
        JoinEvidenceLayer(),
        DenseLayer(normal(5, 16 + channels + scores, scores), normal(6, scores)),
    )


def ensemble_model(classes: int = 2, length: int = 6, embedded: int = SIZE - 1) -> Model:
    """A classifier of texts whose rarest word, "the", has no row in the tables."""
    scores = 1 if classes == 2 else classes
    found = ngrams(scores)
    networks = tuple(_network(cell, found.channels, scores, embedded) for cell in (cells.lstm, cells.gru))
    layers = (
        EvidenceLayer(found, embedded, length),
        EnsembleLayer(networks),
        ActivationLayer("sigmoid" if classes == 2 else "softmax"),
    )
    labels = ("neg", "pos") if classes == 2 else tuple(range(classes))
    return Model(layers, Texts(WORDS, 1_000_000), labels, name="an ensemble")
