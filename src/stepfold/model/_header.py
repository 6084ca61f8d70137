"""What of a model is no array, as data for JSON; `_stored.py` reads it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from .._cell import Cell
from ._arrays import Array
from ._batches import Texts
from ._check import arrays_of, kind_of
from ._concatenate import ConcatenateLayer
from ._evidence_layers import EnsembleLayer, EvidenceLayer
from ._layers import (
    ActivationLayer,
    BidirectionalLayer,
    DenseLayer,
    EmbeddingLayer,
    Layer,
    MaskingLayer,
    PoolingLayer,
    RecurrentLayer,
)
from ._model import Model

FORMAT = 1


def tensors(layers: tuple[Layer, ...], of: str = "layers") -> Iterator[tuple[str, Layer, Array]]:
    """Yield every array of the layers: its name in a file (`layers.0.table`, `layers.1.forward.W_i`, …), the
    layer that computes with it, and itself."""
    for k, layer in enumerate(layers):
        if isinstance(layer, (EnsembleLayer, ConcatenateLayer)):
            chains = layer.members if isinstance(layer, EnsembleLayer) else layer.branches
            for m, chain in enumerate(chains):
                yield from tensors(chain, f"{of}.{k}.{m}")
        else:
            yield from ((f"{of}.{k}.{name}", layer, array) for name, array in arrays_of(layer))


def described(model: Model, version: str) -> dict[str, Any]:
    """Return all of a model but its arrays as data for JSON."""
    cells: list[Cell] = []
    layers = [_described_layer(layer, cells) for layer in model.layers]
    if isinstance(model.inputs, Texts):
        vocabulary = json.loads(model.inputs.vocabulary.to_json())
        inputs = {"kind": "texts", "length": model.inputs.length, "vocabulary": vocabulary}
    else:
        inputs = {"kind": "sequences", "length": model.inputs.length, "features": model.inputs.features}
    return {
        "format": FORMAT,
        "version": version,
        "name": model.name,
        "dtype": model.dtype.name,
        "inputs": inputs,
        "labels": None if model.labels is None else list(model.labels),
        "scale": None if model.scale is None else model.scale.tolist(),
        "shift": None if model.shift is None else model.shift.tolist(),
        "cells": [json.loads(cell.to_json()) for cell in cells],
        "layers": layers,
    }


def _described_layer(layer: Layer, cells: list[Cell]) -> dict[str, Any]:
    found: dict[str, Any] = {"kind": kind_of(layer)}
    match layer:
        case EmbeddingLayer():
            found["mask_zero"] = bool(layer.mask_zero)
        case MaskingLayer():
            found["value"] = float(layer.value)
        case RecurrentLayer():
            found["cell"] = _place(layer.cell, cells)
            found["reverse"] = bool(layer.reverse)
            found["return_sequences"] = bool(layer.return_sequences)
        case BidirectionalLayer():
            found["forward"] = _place(layer.forward.cell, cells)
            found["backward"] = _place(layer.backward.cell, cells)
            found["return_sequences"] = bool(layer.forward.return_sequences)
            found["merge"] = layer.merge
        case PoolingLayer():
            found["pool"] = layer.kind
            found["masked"] = bool(layer.masked)
        case DenseLayer():
            found["bias"] = layer.bias is not None
            found["activation"] = layer.activation
        case ActivationLayer():
            found["activation"] = layer.name
        case EvidenceLayer():
            found["embedded"], found["length"] = layer.embedded, layer.length
            found["words"], found["marked"] = len(layer.ngrams.words), len(layer.ngrams.marked)
        case ConcatenateLayer():
            found["branches"] = [
                [_described_layer(each, cells) for each in branch] for branch in layer.branches
            ]
        case EnsembleLayer():
            found["members"] = [
                [_described_layer(each, cells) for each in member] for member in layer.members
            ]
    return found


def _place(cell: Cell, cells: list[Cell]) -> int:
    """Return the cell's index in the list, where each distinct cell stands once."""
    if cell not in cells:
        cells.append(cell)
    return cells.index(cell)
