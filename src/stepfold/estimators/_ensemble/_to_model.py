"""The preset `best` as data, which runs without Keras."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from keras import ops
from numpy.typing import NDArray

from ...data import ReviewWords
from ...keras import MaskedPooling1D, to_layers
from ...model import (
    ActivationLayer,
    DenseLayer,
    EmbeddingLayer,
    EnsembleLayer,
    EvidenceLayer,
    JoinEvidenceLayer,
    Layer,
    Model,
    NgramScores,
    Texts,
)
from ._examples import Member
from ._network import SummedEvidence

_EVERY_TOKEN = 1_000_000


def ensemble_model(
    words: Sequence[str],
    ngrams: NgramScores,
    networks: Iterable[tuple[Member, Any]],
    *,
    embedded: int,
    length: int,
    labels: Iterable[Any],
    name: str,
) -> Model:
    """Return an ensemble as a Model of texts.

    Args:
        words: the vocabulary's, in the order of their ids.
        ngrams: what the n-grams say.
        networks: the members, each with its `evidence_network`.
        embedded: ids below it have a row in the networks' tables.
        length: of longer texts the networks see the first and last tokens.
        labels: the classes.
        name: what to call the model.

    Raises:
        ValueError: a network sees no evidence.
    """
    last = "sigmoid" if ngrams.scores == 1 else "softmax"
    layers = (
        EvidenceLayer(ngrams, embedded, length),
        EnsembleLayer(tuple(_network_layers(member, network, ngrams) for member, network in networks)),
        ActivationLayer(last),
    )
    return Model(layers, Texts(ReviewWords(tuple(words)), _EVERY_TOKEN), tuple(labels), name=name)


def _network_layers(member: Member, network: Any, ngrams: NgramScores) -> tuple[Layer, ...]:
    if not member.evidence:
        raise ValueError("a network without evidence cannot be a part of a Model; train it with evidence")
    recurrent = [network.get_layer("recurrent")] if member.cell is not None else []
    output = network.get_layer("output")
    # what the network adds up behind its pooled values, as rows of one matrix
    kernel = _array(output.kernel)
    kernel[len(kernel) - ngrams.channels :] *= _only(network, SummedEvidence).scale
    scale = _array(network.get_layer("scaled").scale) if member.add_logit else np.zeros((), np.float32)
    kernel = np.concatenate((kernel, scale * np.eye(ngrams.scores, dtype=kernel.dtype)))
    return (
        EmbeddingLayer(_array(network.get_layer("embedding").embeddings), mask_zero=True),
        *to_layers(*recurrent, _only(network, MaskedPooling1D)),
        JoinEvidenceLayer(),
        DenseLayer(kernel, _array(output.bias)),
    )


def _array(weight: Any) -> NDArray[np.float32]:
    """Return a copy of a weight."""
    return np.array(ops.convert_to_numpy(ops.convert_to_tensor(weight)), np.float32)


def _only(network: Any, kind: type[Any]) -> Any:
    """Return the network's only layer of a kind."""
    (found,) = [layer for layer in network.layers if type(layer) is kind]
    return found
