"""Walks over the layers of a model, those of its branches and networks included."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ._concatenate import ConcatenateLayer
from ._evidence_layers import EnsembleLayer
from ._layers import BidirectionalLayer, EmbeddingLayer, Layer, RecurrentLayer


def named_layers(layers: tuple[Layer, ...], of: str = "") -> Iterator[tuple[str, Layer]]:
    """Yield all layers and their names, "layer 0", …; before an ensemble its own, "network 1, layer 0", …;
    before a concatenation its own, "layer 0, branch 1, layer 0", …"""
    for k, layer in enumerate(layers):
        if isinstance(layer, EnsembleLayer):
            for number, member in enumerate(layer.members, 1):
                yield from named_layers(member, f"{of}network {number}, ")
        elif isinstance(layer, ConcatenateLayer):
            for number, branch in enumerate(layer.branches, 1):
                yield from named_layers(branch, f"{of}layer {k}, branch {number}, ")
        yield f"{of}layer {k}", layer


def first_layers(layers: Sequence[Layer], of: str = "") -> list[tuple[str, Layer | None]]:
    """Return the layers that read what goes in, with their names: the first, or of a concatenation the first
    of each branch; None for a branch of no layer."""
    first = layers[0] if layers else None
    if not isinstance(first, ConcatenateLayer):
        return [(f"{of}layer 0", first)]
    found = []
    for number, branch in enumerate(first.branches, 1):
        found += first_layers(branch, f"{of}layer 0, branch {number}, ")
    return found


def reads_ids(layers: Sequence[Layer]) -> bool:
    """Whether all that reads what goes in are embeddings."""
    return all(isinstance(layer, EmbeddingLayer) for _, layer in first_layers(layers))


def reads_backward(layer: Layer) -> bool:
    """Whether a layer, or one in it, reads from the last timestep to the first."""
    return any(
        isinstance(each, BidirectionalLayer) or (isinstance(each, RecurrentLayer) and each.reverse)
        for _, each in named_layers((layer,))
    )
