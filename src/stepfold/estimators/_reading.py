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
    steps = len(sequence)
    beginnings = Ragged.from_sequences([sequence[: k + 1] for k in range(steps)])
    outputs, states = _run(estimator, beginnings)
    ids = sequence.ndim == 1
    shown = slice(1, None) if ids and steps > 1 else slice(None)  # the start mark is no word
    common: dict[str, Any] = {
        "tokens": None if tokens is None else list(tokens)[: steps - 1] or [""],
        "known": None if tokens is None else [int(k) != UNKNOWN for k in sequence[shown]],
        "inputs": None if ids else sequence,
        "state": states[shown],
        "layer": estimator.settings_.cell if len(estimator.settings_.cell) < 40 else "cell",
        "truth": None if truth is None else str(truth),
    }
    if not hasattr(estimator, "classes_"):
        values = outputs[:, 0] * estimator.target_deviation_[0] + estimator.target_mean_[0]
        return Reading(output=values[shown], outcome="prediction", regression=True, **common)
    names = [str(label) for label in estimator.classes_]
    if outputs.shape[1] == 1:
        return Reading(output=outputs[shown, 0], outcome=names[1], other=names[0], **common)
    final = int(outputs[-1].argmax())
    return Reading(output=outputs[shown, final], outcome=names[final], **common)


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
