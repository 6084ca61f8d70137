"""One side of the server's benchmark in a process of its own: `python -m benchmarks._serve_worker SIDE`.

It prints its address and serves until it is told to end. It is the same server for every side: texts become
ids, and requests batches, by the same code; what differs is who runs the network.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from stepfold.data import KerasWords, imdb_texts
from stepfold.model import Model
from stepfold.serve import Limits, run_server

SIDES = ("stepfold", "keras predict", "keras predict_on_batch")
VOCABULARY, LENGTH, EMBEDDING, UNITS = 10_000, 500, 32, 32
_TIMES = (125, 250, 500)  # what Keras is given is padded to few shapes, each of which is compiled once
_BATCHES = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True, eq=False)
class KerasModel(Model):
    """A Model whose layers Keras runs."""

    network: Any = field(default=None)
    on_batch: bool = False

    def run(self, values: Any, mask: Any = None) -> Any:
        """Return the network's output for one batch of ids, padded to one of a few shapes."""
        rows, length = values.shape
        shape = _least(_BATCHES, rows), _least(_TIMES, length)
        padded = np.zeros(shape, np.int32)
        padded[:rows, shape[1] - length :] = values
        if self.on_batch:
            return np.asarray(self.network.predict_on_batch(padded))[:rows]
        return self.network.predict(padded, batch_size=_BATCHES[-1], verbose=0)[:rows]

    def warm_up(self) -> None:
        """Compile every shape."""
        for rows in _BATCHES:
            for length in _TIMES:
                self.run(np.ones((rows, length), np.int32))


def model(side: str) -> Model:
    """Return the tutorial's network with random weights as a model of one side, the same for all of them."""
    import keras

    from stepfold.keras import to_model

    keras.utils.set_random_seed(0)
    network = keras.Sequential(
        [
            keras.Input((LENGTH,), dtype="int32"),
            keras.layers.Embedding(VOCABULARY, EMBEDDING, mask_zero=True),
            keras.layers.LSTM(UNITS),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    words = KerasWords.learn(imdb_texts().texts, VOCABULARY)
    ours = to_model(network, vocabulary=words, length=LENGTH, labels=("neg", "pos"), name="reviews")
    if side == SIDES[0]:
        return ours
    variable = keras.Sequential([keras.Input((None,), dtype="int32"), *network.layers], name="variable")
    given = {each.name: getattr(ours, each.name) for each in fields(Model) if each.init}
    served = KerasModel(**given, network=variable, on_batch=side == SIDES[2])
    served.warm_up()
    return served


def _least(sizes: tuple[int, ...], needed: int) -> int:
    return next(size for size in sizes if size >= needed)


def main(side: str) -> None:
    os.environ.setdefault("KERAS_BACKEND", "jax")
    run_server([model(side)], port=0, limits=Limits(), ready=lambda address: print(address, flush=True))


if __name__ == "__main__":
    main(sys.argv[1])
