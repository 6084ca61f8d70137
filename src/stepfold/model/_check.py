"""Whether layers fit one another: what each takes and gives, followed from the inputs to the outputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._layers import (
    ActivationLayer,
    AffineLayer,
    Array,
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
}
"""The layers' classes, and their names in messages and files."""


@dataclass(frozen=True)
class Flow:
    """What passes between two layers: `features` of each value (None: ids), and whether there is time."""

    features: int | None
    time: bool = True


def kind_of(layer: Layer) -> str:
    """Return a layer's kind by name; TypeError for what is no layer."""
    kind = KINDS.get(type(layer))
    if kind is None:
        known = ", ".join(each.__name__ for each in KINDS)
        raise TypeError(f"{type(layer).__name__} is no layer of a model; layers are {known}")
    return kind


def arrays_of(layer: Layer) -> Iterator[tuple[str, Array]]:
    """Yield a layer's arrays by name; those of two directions begin with "forward." and "backward."."""
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
        flow = _after(layer, flow, where, first=k == 0)
        for name, array in arrays_of(layer):
            dtype = dtype or array.dtype
            if array.dtype != dtype:
                raise TypeError(
                    f"{where}: {name} is {array.dtype}, the arrays before it {dtype}; "
                    "convert all to one dtype"
                )
    return flow, np.dtype(np.float32) if dtype is None else dtype


def _after(layer: Layer, flow: Flow, where: str, *, first: bool) -> Flow:
    if isinstance(layer, EmbeddingLayer):
        if not first or flow.features is not None:
            raise ValueError(
                f"{where}: an embedding takes ids, so it can only be the first layer of a model on ids"
            )
        return Flow(layer.table.shape[1])
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
            return Flow(layer.units, layer.return_sequences)
        case BidirectionalLayer():
            _taken(flow, layer.forward.features, f"{where}, forward")
            _taken(flow, layer.backward.features, f"{where}, backward")
            both = layer.forward.units + layer.backward.units
            units = both if layer.merge == "concat" else layer.forward.units
            return Flow(units, layer.forward.return_sequences)
        case PoolingLayer():
            return Flow((1 + (layer.kind == "max_mean")) * flow.features, time=False)
        case DenseLayer():
            return replace(_taken(flow, len(layer.kernel), where), features=layer.kernel.shape[1])
    return flow


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
