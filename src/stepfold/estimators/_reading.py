"""Reads one sequence step by step: what the network says, and what its state is, after each step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from ..data import UNKNOWN, Ragged
from ..report import Reading
from ._batches import Batches, Examples
from ._report import cells_of

_LONGEST = 300
_BATCH = 50


def read(
    estimator: Any, sequence: NDArray[Any], tokens: Sequence[str] | None = None, truth: Any = None
) -> Reading:
    """Return what a fitted estimator makes of one encoded sequence, step by step.

    The network runs on every beginning of the sequence: pooling and a second direction see no more than a
    reader would have seen. Of a long sequence the first 300 steps are read.

    Args:
        estimator: the fitted estimator.
        sequence: (time,) ids or (time, features) values, as the estimator encodes them.
        tokens: the words of a text, as the vocabulary cuts it; None for a sequence of measurements.
        truth: the true class or value, if known.
    """
    sequence = sequence[:_LONGEST]
    beginnings = Ragged.from_sequences([sequence[: k + 1] for k in range(len(sequence))])
    outputs, states = _run(estimator, beginnings)
    labels, outputs = _labelled(estimator, outputs)
    before = [np.nan] * len(labels)
    ids = sequence.ndim == 1
    if ids and len(sequence) > 1:  # the start mark is no word
        before, outputs, states, sequence = outputs[0].tolist(), outputs[1:], states[1:], sequence[1:]
    steps = range(len(sequence))
    cell = cells_of(estimator)[0]
    return Reading(
        explanation={
            "tokens": [str(k + 1) for k in steps] if tokens is None else list(tokens)[: len(steps)] or [""],
            "known": [tokens is None or int(sequence[k]) != UNKNOWN for k in steps],
            "labels": labels,
            "outputs": outputs,
            "before": before,
            "layers": [{"name": cell.name, "cell": cell.name, "values": {"h": states}}],
        },
        equations=[{"name": cell.name, "cell": cell.name, "maths": cell.show("maths")}],
        name=cell.name,
        inputs=None if ids else sequence,
        words=tokens is not None,
        truth=None if truth is None else str(truth),
    )


def _labelled(estimator: Any, outputs: NDArray[np.float32]) -> tuple[list[str], NDArray[np.float32]]:
    """Return the names of the classes and the probability of each, or of the first value and the values."""
    if not hasattr(estimator, "classes_"):
        return ["prediction"], outputs[:, :1] * estimator.target_deviation_[0] + estimator.target_mean_[0]
    names = [str(label) for label in estimator.classes_]
    return names, np.concatenate((1 - outputs, outputs), 1) if outputs.shape[1] == 1 else outputs


def _run(estimator: Any, beginnings: Ragged) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the network's outputs, (steps, outputs), and its last recurrent layer's, (steps, units)."""
    network = estimator.network_
    layer = [
        each for each in network.layers if isinstance(each, (keras.layers.RNN, keras.layers.Bidirectional))
    ][-1]
    both = keras.Model(network.inputs, [network.output, layer.output])
    examples = Examples(beginnings, np.zeros(len(beginnings), np.int32))
    whole = -(-len(beginnings) // _BATCH) * _BATCH
    rows = np.minimum(np.arange(whole), len(beginnings) - 1)
    outputs, states = both.predict(Batches(examples, rows, _BATCH, estimator._collate, None), verbose=0)
    states = np.asarray(states)[: len(beginnings)]
    return np.asarray(outputs)[: len(beginnings)], states[:, -1] if states.ndim == 3 else states
