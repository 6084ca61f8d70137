"""Training shared by several processes: who computes which part of a batch.

Keras on JAX does the work. All processes end with the weights of one that computed whole batches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import keras


class Share(NamedTuple):
    """Which part of each batch this process trains on.

    Attributes:
        process: the number of this process, counted from 0; the first one writes the run.
        processes: how many there are.
        devices: how many devices of JAX all of them have together.
    """

    process: int = 0
    processes: int = 1
    devices: int = 1


ALONE = Share()


def share() -> Share:
    """Return the share of this process: everything, unless ``jax.distributed.initialize`` (or
    ``keras.distribution.initialize``) has joined it to others."""
    if keras.backend.backend() != "jax":
        return ALONE
    import jax

    if jax.process_count() == 1:
        return ALONE
    return Share(jax.process_index(), jax.process_count(), jax.device_count())


@contextmanager
def together(mine: Share) -> Iterator[None]:
    """Give what Keras makes while the block runs to all processes: the same variables, batches in parts."""
    if mine.processes == 1:
        yield
        return
    with keras.distribution.DataParallel(auto_shard_dataset=False).scope():
        yield


@contextmanager
def apart() -> Iterator[None]:
    """Let this process alone make something while the block runs: the others do not wait for it."""
    before = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(before)
