"""Whether layers fit one another: what each takes and gives, followed from the inputs to the outputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._arrays import Array
from ._concatenate import ConcatenateLayer
from ._evidence_layers import EnsembleLayer, EvidenceLayer, JoinEvidenceLayer
from ._layers import (
    ActivationLayer,
    AffineLayer,
    BidirectionalLayer,
    DenseLayer,
    EmbeddingLayer,
    Layer,
    MaskingLayer,
    PoolingLayer,
    RecurrentLayer,
)

Label = str | int | float | bool

KINDS: dict[type[Any], str] = {
    EmbeddingLayer: "embedding",
    MaskingLayer: "masking",
    AffineLayer: "affine",
    RecurrentLayer: "recurrent",
    BidirectionalLayer: "bidirectional",
    PoolingLayer: "pooling",
    DenseLayer: "dense",
    ActivationLayer: "activation",
    ConcatenateLayer: "concatenate",
    EvidenceLayer: "evidence",
    JoinEvidenceLayer: "join_evidence",
    EnsembleLayer: "ensemble",
}
"""The layers' classes, and their names in messages and files."""

MOST_FEATURES = 2**16
"""Of a concatenation: branches without arrays, of which a file may have many, multiply features."""


@dataclass(frozen=True)
class Flow:
    """What passes between two layers.

    Args:
        features: of each value; None for ids.
        time: whether there is time.
        evidence: what n-grams give beside it; None if nothing does.
    """

    features: int | None
    time: bool = True
    evidence: EvidenceLayer | None = None


def kind_of(layer: Layer) -> str:
    """Return a layer's kind by name; TypeError for what is no layer."""
    kind = KINDS.get(type(layer))
    if kind is None:
        known = ", ".join(each.__name__ for each in KINDS)
        raise TypeError(f"{type(layer).__name__} is no layer of a model; layers are {known}")
    return kind


def arrays_of(layer: Layer) -> Iterator[tuple[str, Array]]:
    """Yield a layer's arrays by name.

    Those of two directions begin with "forward." and "backward.", those of an ensemble or a concatenation
    with the numbers of the network or branch and of the layer in it, "0.2.", from 0.
    """
    match layer:
        case EmbeddingLayer():
            yield "table", layer.table
        case AffineLayer():
            yield "scale", layer.scale
            yield "shift", layer.shift
        case RecurrentLayer():
            for name in layer.cell.step.parameters:
                yield name, layer.params[name]
        case BidirectionalLayer():
            for direction, inner in (("forward", layer.forward), ("backward", layer.backward)):
                yield from ((f"{direction}.{name}", array) for name, array in arrays_of(inner))
        case DenseLayer():
            yield "kernel", layer.kernel
            if layer.bias is not None:
                yield "bias", layer.bias
        case EvidenceLayer():
            yield from layer.ngrams.arrays()
        case EnsembleLayer() | ConcatenateLayer():
            chains = layer.members if isinstance(layer, EnsembleLayer) else layer.branches
            for m, chain in enumerate(chains):
                for k, each in enumerate(chain):
                    yield from ((f"{m}.{k}.{name}", array) for name, array in arrays_of(each))


def checked_flow(layers: tuple[Layer, ...], features: int | None) -> tuple[Flow, np.dtype[Any]]:
    """Follow the features through the layers.

    Args:
        layers: in order.
        features: of each timestep that goes in; None for ids.

    Returns:
        What comes out, and the one dtype of all arrays (float32 if there are none).

    Raises:
        ValueError, TypeError: a layer cannot take what the one before gives; the message names it.
    """
    if not layers:
        raise ValueError("a model needs at least one layer")
    flow, dtype = Flow(features), None
    for k, layer in enumerate(layers):
        where = f"layer {k} ({kind_of(layer)})"
        flow = _after(layer, flow, where)
        for name, array in arrays_of(layer):
            if array.dtype == np.int64:  # no weights: the layer has checked them
                continue
            dtype = dtype or array.dtype
            if array.dtype != dtype:
                raise TypeError(
                    f"{where}: {name} is {array.dtype}, the arrays before it {dtype}; "
                    "convert all to one dtype"
                )
    return flow, np.dtype(np.float32) if dtype is None else dtype


def flows(layers: tuple[Layer, ...], flow: Flow, of: str = "") -> Iterator[tuple[str, Layer, Flow]]:
    """Yield the layers of a checked model that reads forward: where each is, "2", or of a branch "2.0.1" by
    the numbers of the concatenation, the branch and the layer in it; itself; and what it takes."""
    for k, layer in enumerate(layers):
        yield f"{of}{k}", layer, flow
        if isinstance(layer, ConcatenateLayer):
            for b, branch in enumerate(layer.branches):
                yield from flows(branch, flow, f"{of}{k}.{b}.")
        flow = _after(layer, flow, f"layer {of}{k}")


def _after(layer: Layer, flow: Flow, where: str) -> Flow:
    if isinstance(layer, EvidenceLayer):
        if flow.features is not None or flow.evidence is not None:
            raise ValueError(
                f"{where}: n-grams are of ids, so it can only be the first layer of a model on ids"
            )
        return replace(flow, evidence=layer)
    if isinstance(layer, EmbeddingLayer):
        return _embedded(layer, flow, where)
    if isinstance(layer, EnsembleLayer):
        return _averaged(layer, flow, where)
    if isinstance(layer, ConcatenateLayer):
        return _concatenated(layer, flow, where)
    if flow.features is None:
        raise ValueError(f"{where} cannot take ids; an embedding must be the first layer of a model on ids")
    if isinstance(layer, (RecurrentLayer, BidirectionalLayer, PoolingLayer, MaskingLayer)) and not flow.time:
        raise ValueError(
            f"{where} needs timesteps, but a layer before it returns the last one or pools over time; "
            "let it return sequences, or leave this layer out"
        )
    match layer:
        case AffineLayer():
            return _taken(flow, len(layer.scale), where)
        case RecurrentLayer():
            _taken(flow, layer.features, where)
            return replace(flow, features=layer.width, time=layer.return_sequences)
        case BidirectionalLayer():
            _taken(flow, layer.forward.features, f"{where}, forward")
            _taken(flow, layer.backward.features, f"{where}, backward")
            both = layer.forward.width + layer.backward.width
            width = both if layer.merge == "concat" else layer.forward.width
            return replace(flow, features=width, time=layer.forward.return_sequences)
        case PoolingLayer():
            if flow.evidence is not None and not layer.masked and layer.kind != "last":
                raise ValueError(
                    f"{where} pools over padding too, of which evidence has any; give masked=True"
                )
            return replace(flow, features=(1 + (layer.kind == "max_mean")) * flow.features, time=False)
        case JoinEvidenceLayer():
            if flow.time or flow.evidence is None:
                raise ValueError(
                    f"{where} needs an evidence layer before it, and a layer that pools over time"
                )
            ngrams = flow.evidence.ngrams
            return replace(flow, features=flow.features + ngrams.channels + ngrams.scores)
        case DenseLayer():
            return replace(_taken(flow, len(layer.kernel), where), features=layer.kernel.shape[1])
    return flow


def _embedded(layer: EmbeddingLayer, flow: Flow, where: str) -> Flow:
    evidence = flow.evidence
    if flow.features is not None:
        raise ValueError(
            f"{where}: an embedding takes ids, so it can only be the first layer of a model on ids"
        )
    if evidence is None:
        return replace(flow, features=layer.table.shape[1])
    if len(layer.table) < evidence.embedded:
        raise ValueError(
            f"{where}: the table has {len(layer.table)} rows, but the evidence layer gives ids below "
            f"{evidence.embedded}"
        )
    return replace(flow, features=layer.table.shape[1] + evidence.ngrams.channels)


def _averaged(layer: EnsembleLayer, flow: Flow, where: str) -> Flow:
    if flow.features is None and flow.evidence is None:
        raise ValueError(f"{where} cannot take ids; an evidence layer must be before it")
    found: list[int | None] = []
    for number, member in enumerate(layer.members, 1):
        after = flow
        for k, each in enumerate(member):
            name = f"{where}, network {number}, layer {k} ({kind_of(each)})"
            after = _after(each, after, name)
        if after.time:
            raise ValueError(
                f"{where}: network {number} gives values at every timestep; let it pool over time"
            )
        found.append(after.features)
    if len(set(found)) > 1:
        raise ValueError(f"{where}: its networks give {', '.join(map(str, found))} outputs; give them alike")
    return Flow(found[0], time=False)


def _concatenated(layer: ConcatenateLayer, flow: Flow, where: str) -> Flow:
    if flow.evidence is not None:
        raise ValueError(f"{where} cannot stand behind an evidence layer; n-grams are for chains of layers")
    found, features = [], 0
    for number, branch in enumerate(layer.branches, 1):
        after = flow
        for k, each in enumerate(branch):
            after = _after(each, after, f"{where}, branch {number}, layer {k} ({kind_of(each)})")
        if after.features is None:
            raise ValueError(f"{where}: branch {number} passes ids on; begin it with an embedding")
        found.append(after.time)
        features += after.features
    if len(set(found)) > 1:
        raise ValueError(
            f"{where}: branch {found.index(True) + 1} gives timesteps, branch {found.index(False) + 1} does "
            "not; pool all over time, or none"
        )
    if features > MOST_FEATURES:
        raise ValueError(f"{where} gives {features:,} features, more than {MOST_FEATURES:,}")
    return replace(flow, features=features, time=found[0])


def _taken(flow: Flow, features: int | None, where: str) -> Flow:
    if features is not None and flow.features != features:
        raise ValueError(
            f"{where} takes {features} features, but what comes before it gives {flow.features}; "
            "one of them is of another model"
        )
    return flow


def checked_labels(labels: Iterable[Any], flow: Flow) -> tuple[Label, ...]:
    """Return labels as Python's own values; ValueError or TypeError if they do not fit what comes out."""
    plain = tuple(each.item() if isinstance(each, np.generic) else each for each in labels)
    if not all(isinstance(each, (str, int, float)) for each in plain):
        raise TypeError("labels must be texts, numbers or booleans")
    kinds = {each if each in (str, bool) else float for each in map(type, plain)}
    if len(kinds) > 1 or len(set(plain)) < len(plain):
        raise ValueError(
            "labels must be all texts, all numbers or all booleans, and each must stand there once"
        )
    if any(isinstance(each, (int, float)) and not abs(each) < 2**63 for each in plain):
        raise ValueError("a label is not finite, or too large for 64 bits; name the classes otherwise")
    outputs, count = flow.features, len(plain)
    if flow.time or count < 2 or not (count == outputs or (count, outputs) == (2, 1)):
        given = f"(batch, time, {outputs})" if flow.time else f"(batch, {outputs})"
        expected = "(batch, 1) or (batch, 2)" if count == 2 else f"(batch, {count}) of at least 2"
        raise ValueError(
            f"the model has {count} labels, but its last layer gives {given}, expected {expected}"
        )
    return plain


def checked_row(name: str, value: Any, flow: Flow) -> NDArray[np.float64]:
    """Return one finite number an output, (outputs,), as float64; ValueError for anything else."""
    row: NDArray[np.float64] = np.asarray(value, np.float64)
    if row.shape != (flow.features,) or not np.isfinite(row).all():
        raise ValueError(
            f"{name} has shape {row.shape}, expected finite numbers (outputs,) = ({flow.features},)"
        )
    return row
