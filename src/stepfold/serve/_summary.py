"""What a model is, for clients that choose one."""

from __future__ import annotations

from typing import Any

from ..model import (
    BidirectionalLayer,
    ConcatenateLayer,
    EnsembleLayer,
    Model,
    RecurrentLayer,
    Texts,
    kind_of,
)


def summary(model: Model) -> dict[str, Any]:
    """Return a model's name, labels, layers and inputs as data for JSON."""
    inputs = model.inputs
    texts = isinstance(inputs, Texts)
    return {
        "name": model.name,
        "labels": None if model.labels is None else list(model.labels),
        "inputs": "texts" if texts else "sequences",
        "features": None if isinstance(inputs, Texts) else inputs.features,
        "length": inputs.length,
        "streams": model.reads_forward,
        "equations": model.equations(),
        "layers": [_layer(layer) for layer in model.layers],
    }


def _layer(layer: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"kind": kind_of(layer)}
    if isinstance(layer, EnsembleLayer):
        found["members"] = [[_layer(each) for each in member] for member in layer.members]
    if isinstance(layer, ConcatenateLayer):
        found["branches"] = [[_layer(each) for each in branch] for branch in layer.branches]
    recurrent = layer.forward if isinstance(layer, BidirectionalLayer) else layer
    if isinstance(recurrent, RecurrentLayer):
        found |= {"cell": recurrent.cell.name, "units": recurrent.units}
    return found
