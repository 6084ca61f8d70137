"""Trains small networks on several devices, or in several processes, for `test_keras_sharding.py`.

python sharded_worker.py FILE                 each kind, on all of this process's devices
python sharded_worker.py FILE ADDRESS N RANK  the same as process RANK of N
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras_helpers import random, randomised, weights_of

import stepfold.keras as layers

KINDS = ("tokens", "masks", "states")
BATCH, BATCHES = 8, 3


def network(kind: str) -> Any:
    """Stacks that between them have every operand: a table, masks, both directions, noise, states."""
    if kind == "tokens":
        given = keras.Input((7,), dtype="int32")
        vectors = layers.Embedding(20, 4, mask_zero=True)(given)
        found = keras.layers.Bidirectional(layers.LSTM(6, return_sequences=True))(vectors)
        found = layers.GRU(5)(found)
    elif kind == "masks":
        given = keras.Input((7, 3))
        masked = keras.layers.Masking()(given)
        found = layers.Recurrent(
            "gru", 6, dropout=0.1, recurrent_dropout=0.2, zoneout=0.1, seed=3, return_sequences=True
        )(masked)
        found = layers.SimpleRNN(4, go_backwards=True)(found)
    else:
        given = keras.Input((7, 3))
        _, *states = layers.LSTM(5, return_state=True)(given)
        found = layers.LSTM(5)(keras.ops.flip(given, 1), initial_state=states)
    model = randomised(keras.Model(given, keras.layers.Dense(1)(found)))
    model.compile(keras.optimizers.SGD(0.2, momentum=0.5), "mse")
    return model


def examples(kind: str) -> Iterator[tuple[Any, Any]]:
    """The batches, padded on the right."""
    for number in range(BATCHES):
        lengths = np.random.default_rng(number).integers(1, 8, (BATCH, 1))
        active = np.arange(7) < lengths
        if kind == "tokens":
            x = np.random.default_rng([number, 1]).integers(1, 20, (BATCH, 7)) * active
        else:
            x = random(BATCH, 7, 3, seed=number) * active[:, :, None]
        yield x, random(BATCH, 1, seed=number)


def train(kind: str, rank: int = 0, ranks: int = 1) -> tuple[Any, list[Any]]:
    """Train on this process's rows of each batch; returns the model and its weights."""
    model, rows = network(kind), slice(rank * BATCH // ranks, (rank + 1) * BATCH // ranks)
    x, y = (np.concatenate([part[rows] for part in parts]) for parts in zip(*examples(kind), strict=True))
    model.fit(x, y, batch_size=BATCH // ranks, epochs=2, shuffle=False, verbose=0)
    return model, weights_of(model)


def compiled(model: Any, kind: str) -> str:
    """What XLA makes of a training step."""
    import jax

    mesh = keras.distribution.distribution().device_mesh.backend_mesh
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("batch"))
    state = model._get_jax_state(
        trainable_variables=True,
        non_trainable_variables=True,
        optimizer_variables=True,
        metrics_variables=True,
    )
    data = tuple(jax.device_put(each, rows) for each in next(examples(kind)))
    return str(jax.jit(model.train_step).lower(state, data).compile().as_text())


def main(file: str, address: str = "", ranks: str = "1", rank: str = "0") -> None:
    if address:
        keras.distribution.initialize(address, int(ranks), int(rank))
    keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))
    kept: dict[str, Any] = {}
    for kind in KINDS:
        model, weights = train(kind, int(rank), int(ranks))
        kept |= {f"{kind} {number}": value for number, value in enumerate(weights)}
        if not address:
            kept[f"{kind} compiled"] = np.array(compiled(model, kind))
    np.savez(file, **kept)


if __name__ == "__main__":
    main(*sys.argv[1:])
