"""The task of every contestant of `program`: the same reviews in the same batches, the same first weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stepfold import cells

from ._problems import problem

Array = NDArray[Any]

VOCABULARY_SIZE, EMBEDDING_SIZE, UNITS, LENGTH, BATCH = 10_000, 32, 32, 500, 32
EPOCH = 625  # steps of 32 in the 20,000 reviews to train on


@dataclass(frozen=True)
class Task:
    """A contestant's task; `framework` is "jax", "torch", "tensorflow" (of Keras) or "torch loop".

    `layer` is "stepfold" or "keras"; `folder` holds reviews.npz.
    """

    contestant: str
    framework: str
    layer: str
    cell: str
    mask: bool
    folder: str
    threads: int
    batch: int = BATCH


def prepare(folder: Path, steps: int) -> float:
    """Write the first batches of real reviews, shuffled, to the folder; returns the share of words, the
    rest being padding."""
    from stepfold.data import load_imdb, pad

    corpus = load_imdb(vocabulary_size=VOCABULARY_SIZE)
    chosen = np.random.default_rng(3).permutation(len(corpus.sequences))[: steps * BATCH]
    x = pad([corpus.sequences[n] for n in chosen], LENGTH)
    np.savez(folder / "reviews.npz", x=x, y=corpus.labels[chosen].astype(np.float32))
    return float(np.mean(x != 0))


def batches(task: Task) -> tuple[Array, Array]:
    """Return ids (reviews, 500), padded on the left with 0, and labels (reviews,)."""
    with np.load(Path(task.folder) / "reviews.npz") as stored:
        return stored["x"], stored["y"]


def first_weights(task: Task) -> dict[str, Any]:
    """Return the first weights: the embedding, the cell's parameters under "cell", the dense layer.

    The embedding is larger, and the recurrent weights smaller, than at the start of a real training. With
    layer normalisation that start is chaotic over 500 timesteps: rounding errors grow too large to compare.
    """
    random = np.random.default_rng(5)
    cell = cells.by_name(task.cell)
    params = problem(cell, (1, 1, EMBEDDING_SIZE, UNITS)).params
    for name, axes in cell.step.parameters.items():
        if axes == ("units", "units"):
            params[name] *= np.float32(0.3)
    return {
        "embedding": random.uniform(-0.5, 0.5, (VOCABULARY_SIZE, EMBEDDING_SIZE)).astype(np.float32),
        "cell": params,
        "dense": random.uniform(-0.4, 0.4, (UNITS, 1)).astype(np.float32),
        "dense bias": np.zeros(1, np.float32),
    }
