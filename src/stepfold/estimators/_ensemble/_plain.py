"""The preset `plain`: one network of words alone, taught by what n-grams say of every word.

Its first layer, a *tagger*, is trained to tell what the n-grams' regression says of each word; its second,
to tell the class from the words and what the regression says. That is teacher forcing (Williams & Zipser
1989, "A learning algorithm for continually running fully recurrent neural networks"): the first layer has
seen these texts, and what it tells of them agrees with their labels more often than what it tells of
others. Joined, the second layer reads what the first tells, and no n-gram is left.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from ..._processors import processors
from ...data import FIRST_WORD as FIRST_OF_VOCABULARY
from ...data import PADDING, START, Ragged
from ...keras import GRU, MaskedPooling1D
from ...model.ngrams import FIRST_WORD, UNKNOWN
from .._network import recurrent_layer
from ._evidence import KINDS, NgramEvidence
from ._examples import Member, Tagger, TextsWithEvidence
from ._network import SUMMED
from ._side_by_side import Part, Trained, train_parts
from ._tokens import EncodedTexts, ReviewVocabulary

READER = Member(cell="gru", add_logit=False)
"""The second layer, but for its epochs, which are the first one's: a network of the preset `best`."""
_READ = 4000
"""How many ids it tells apart."""
_START = FIRST_WORD
"""The id of the start mark in training, where that of a word is one more than in n-grams."""


def plain_network(tagger: Tagger, vocabulary_size: int, outputs: int) -> Any:
    """Return the network, (batch, time) ids of a vocabulary → (batch, outputs) probabilities."""
    ids = keras.Input((None,), dtype="int32", name="ids")
    first = keras.layers.Embedding(vocabulary_size, tagger.embedding, mask_zero=True, name="tagger_embedding")
    layer = recurrent_layer(tagger.cell, tagger.units, return_sequences=True)
    states = keras.layers.Bidirectional(layer, name="tagger")(first(ids))
    told = keras.layers.Dense(2 * KINDS * outputs, name="channels")(states)
    words = keras.layers.Embedding(vocabulary_size, READER.embedding, mask_zero=True, name="embedding")(ids)
    both = keras.layers.Concatenate()([words, told])
    reader = GRU(READER.units, return_sequences=True, name="gru")
    read = keras.layers.Bidirectional(reader, name="recurrent")(both)
    pooled = keras.layers.Concatenate()([MaskedPooling1D("max_mean")(read), MaskedPooling1D("sum")(both)])
    activation = "sigmoid" if outputs == 1 else "softmax"
    return keras.Model(ids, keras.layers.Dense(outputs, activation=activation, name="output")(pooled))


def train_plain(
    network: Any,
    tagger: Tagger,
    texts: Ragged,
    words: tuple[str, ...],
    labels: NDArray[np.integer[Any]],
    classes: int,
    length: int,
    *,
    keep: Path | None,
    verbose: int,
) -> tuple[Trained, Trained]:
    """Train both layers of a `plain_network`; return the second and the first, as they were trained.

    Args:
        network: gets the weights.
        tagger: the first layer's settings.
        texts: ids of the vocabulary, a start mark before each text; those about the same thing stand
            together.
        words: the vocabulary's.
        labels: (texts,) integers below `classes`.
        classes: their number.
        length: of longer texts the second layer learns the first and last tokens.
        keep, verbose: see `train_parts`.
    """
    jobs, began = processors(), time.perf_counter()
    examples, scores = _taught(texts, words, labels, classes, jobs)
    if verbose:
        line = f"n-grams of {len(labels):,} texts, {time.perf_counter() - began:.0f} s"
        print(line, file=sys.stderr, flush=True)
    size = _START + 1 + len(words)
    parts = [Part(replace(READER, epochs=tagger.epochs), min(_READ, size)), Part(tagger, size)]
    # One after the other, on all processors: the tagger alone takes most of the time.
    reader, told = train_parts(parts, examples.shortened(length), labels, scores, 1, keep, verbose)
    for name, weights in _weights(told.weights, reader.weights, len(words)).items():
        network.get_layer(name).set_weights(weights)
    return reader, told


def _taught(
    texts: Ragged, words: tuple[str, ...], labels: NDArray[np.integer[Any]], classes: int, jobs: int
) -> tuple[TextsWithEvidence, int]:
    """Return the texts with what n-grams of other texts say of their words, and the number of scores."""
    word = np.ones(len(texts.values), bool)
    word[texts.offsets[:-1]] = False  # the start marks
    ids = np.maximum(texts.values[word] - (FIRST_OF_VOCABULARY - FIRST_WORD), UNKNOWN)
    encoded = EncodedTexts(ids.astype(np.int32), texts.offsets - np.arange(len(texts.offsets)))
    evidence = NgramEvidence(ReviewVocabulary(words), jobs=jobs)
    found = evidence.fit_transform(encoded, labels, classes)
    marked = np.full(len(word), _START, np.int32)
    marked[word] = ids + (ids >= _START)
    channels = np.zeros((len(word), found.channels.shape[1]), np.float32)
    channels[word] = found.channels
    return TextsWithEvidence(marked, channels, texts.offsets, np.zeros_like(found.logits)), evidence.scores


def _weights(tagger: list[Any], reader: list[Any], words: int) -> dict[str, list[NDArray[np.float32]]]:
    """Return the weights of the layers of a `plain_network` from those of its two parts."""
    first, *recurrent, channels, bias = tagger
    second, *gru, kernel, output_bias, _ = reader
    told = channels.shape[1]
    none = np.zeros((second.shape[1], kernel.shape[1]), np.float32)  # for the sums of the words' vectors
    output = np.concatenate((kernel[:-told], none, SUMMED * kernel[-told:]))
    return {
        "tagger_embedding": [_of_vocabulary(first, words)],
        "tagger": recurrent,
        "channels": [channels, bias],
        "embedding": [_of_vocabulary(second, words)],
        "recurrent": gru,
        "output": [output, output_bias],
    }


def _of_vocabulary(table: NDArray[np.float32], words: int) -> NDArray[np.float32]:
    """Return a table of the ids in training as one of the vocabulary's; ids that it has not are unknown."""
    rows = np.full(FIRST_OF_VOCABULARY + words, UNKNOWN)
    rows[[PADDING, START]] = PADDING, _START
    rows[FIRST_OF_VOCABULARY:] = np.arange(_START + 1, _START + 1 + words)
    rows[rows >= len(table)] = UNKNOWN
    return np.asarray(table[rows])
