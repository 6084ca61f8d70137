"""The layers of a model as ONNX operators; the NumPy of `model._layers` is what each must compute."""

from __future__ import annotations

import functools

import numpy as np
import onnx

from .._graph import leaf
from .._trace import Traced, as_node
from ..model import (
    ACTIVATIONS,
    ActivationLayer,
    AffineLayer,
    BidirectionalLayer,
    ConcatenateLayer,
    DenseLayer,
    EmbeddingLayer,
    Layer,
    MaskingLayer,
    PoolingLayer,
    RecurrentLayer,
)
from ._builder import Builder
from ._recurrent import bidirectional, recurrent
from ._scan import lowered_function
from ._signal import Named, Order, order_of

BOOL, INT32 = onnx.TensorProto.BOOL, onnx.TensorProto.INT32


class Writer:
    """Adds the operators of one layer after the other to a graph."""

    def __init__(self, builder: Builder) -> None:
        self._b = builder
        self._orders: dict[str, Order] = {}
        self._padding: dict[tuple[str, str | None], str] = {}

    def layer(self, layer: Layer, signal: Named) -> Named:
        """Add the operators of a layer."""
        b = self._b
        if isinstance(layer, EmbeddingLayer):
            return self._embedding(layer, signal)
        if isinstance(layer, MaskingLayer):
            return self._masking(layer, signal)
        if isinstance(layer, AffineLayer):
            scaled = b.operator("Mul", signal.values(b), b.constant(layer.scale))
            return _with_values(signal, b.operator("Add", scaled, b.constant(layer.shift)), signal.features)
        if isinstance(layer, RecurrentLayer):
            return recurrent(b, layer, signal, self._ordered)
        if isinstance(layer, BidirectionalLayer):
            return bidirectional(b, layer, signal, self._ordered)
        if isinstance(layer, PoolingLayer):
            return self._pooling(layer, signal)
        if isinstance(layer, DenseLayer):
            return self._dense(layer, signal)
        if isinstance(layer, ConcatenateLayer):
            return self._concatenated(layer, signal)
        assert isinstance(layer, ActivationLayer)
        found = self._activation(layer.name, signal.values(b), signal.features)
        return _with_values(signal, found, signal.features)

    def _ordered(self, mask: str) -> Order:
        if mask not in self._orders:
            self._orders[mask] = order_of(self._b, mask)
        return self._orders[mask]

    def _embedding(self, layer: EmbeddingLayer, signal: Named) -> Named:
        b, mask = self._b, signal.mask
        assert signal.ids is not None, "a model checks that only its first layers take ids"
        ids, _ = signal.ids
        if layer.mask_zero:
            if (ids, mask) not in self._padding:  # so that branches have one mask
                zero = b.operator("CastLike", b.integers(0), ids)
                found = b.operator("Not", b.operator("Equal", ids, zero))
                self._padding[ids, mask] = found if mask is None else b.operator("And", mask, found)
            mask = self._padding[ids, mask]
        return Named(layer.table.shape[1], ids=(ids, b.array(layer.table, "table")), mask=mask)

    def _masking(self, layer: MaskingLayer, signal: Named) -> Named:
        b, values = self._b, signal.values(self._b)
        differs = b.operator("Not", b.operator("Equal", values, b.constant(layer.value)))
        any_ = b.reduction("ReduceMax", b.operator("Cast", differs, to=INT32))  # (B, T, 1)
        active = b.operator("Cast", any_, to=BOOL)
        if signal.mask is not None:
            active = b.operator("And", active, b.operator("Unsqueeze", signal.mask, b.integers(-1)))
        kept = b.operator("Where", active, values, b.constant(0.0))
        return Named(signal.features, batched=kept, mask=b.operator("Squeeze", active, b.integers(-1)))

    def _pooling(self, layer: PoolingLayer, signal: Named) -> Named:
        b = self._b
        mask = signal.mask if layer.masked and layer.kind != "last" else None
        timed = mask is None and signal.batched is None and signal.timed is not None
        axis = 0 if timed else 1
        values = signal.time_major(b) if timed else signal.values(b)
        if layer.kind == "last":
            return Named(signal.features, batched=b.take(values, -1, axis), time=False)
        wide = None if mask is None else b.operator("Unsqueeze", mask, b.integers(-1))
        kinds = layer.kind.split("_")
        pools = {"max": _maximum, "mean": _mean, "sum": _sum}
        found = [pools[kind](b, values, wide, axis) for kind in kinds]
        pooled = found[0] if len(found) == 1 else b.operator("Concat", *found, axis=-1)
        return Named(signal.features * len(kinds), batched=pooled, time=False)

    def _dense(self, layer: DenseLayer, signal: Named) -> Named:
        b, outputs = self._b, layer.kernel.shape[1]
        found = b.operator("MatMul", signal.values(b), b.array(layer.kernel, "kernel"))
        if layer.bias is not None:
            found = b.operator("Add", found, b.array(layer.bias, "bias"))
        return _with_values(signal, self._activation(layer.activation, found, outputs), outputs)

    def _concatenated(self, layer: ConcatenateLayer, signal: Named) -> Named:
        b, found = self._b, []
        for branch in layer.branches:
            passed = signal
            for each in branch:
                passed = self.layer(each, passed)
            found.append(passed)
        timed = all(each.batched is None and each.timed is not None for each in found)
        parts = [each.time_major(b) if timed else each.values(b) for each in found]
        values = b.operator("Concat", *parts, axis=-1)
        made = Named(sum(each.features for each in found), time=found[0].time)
        made.timed, made.batched = (values, None) if timed else (None, values)
        masks = list(dict.fromkeys(each.mask for each in found if each.mask is not None))
        if all(each.mask is not None for each in found):
            made.mask = functools.reduce(lambda one, other: b.operator("Or", one, other), masks)
        return made

    def _activation(self, name: str, value: str, units: int) -> str:
        """A function of `ACTIVATIONS`: softmax is an operator, the others are traced and lowered."""
        if name == "softmax":
            return self._b.operator("Softmax", value, axis=-1)
        traced = as_node(ACTIVATIONS[name](Traced(leaf("state", "x"))))
        return lowered_function(self._b, traced, value, units)


def _with_values(signal: Named, values: str, features: int) -> Named:
    return Named(features, batched=values, mask=signal.mask, time=signal.time)


def _maximum(b: Builder, values: str, wide: str | None, axis: int) -> str:
    """(batch, features), 0 where every timestep is masked."""
    if wide is None:
        return b.reduction("ReduceMax", values, axis, keepdims=False)
    low = b.operator("Where", wide, values, b.constant(-np.inf))
    found = b.reduction("ReduceMax", low, axis, keepdims=False)
    any_ = b.reduction("ReduceMax", b.operator("Cast", wide, to=INT32), axis, keepdims=False)  # (B, 1)
    return b.operator("Where", b.operator("Cast", any_, to=BOOL), found, b.constant(0.0))


def _mean(b: Builder, values: str, wide: str | None, axis: int) -> str:
    """(batch, features), 0 where every timestep is masked."""
    if wide is None:
        return b.reduction("ReduceMean", values, axis, keepdims=False)
    total = _sum(b, values, wide, axis)
    count = b.reduction("ReduceSum", b.operator("Cast", wide, to=b.type), axis, keepdims=False)  # (B, 1)
    return b.operator("Div", total, b.operator("Max", count, b.constant(1.0)))


def _sum(b: Builder, values: str, wide: str | None, axis: int) -> str:
    """(batch, features), 0 where every timestep is masked."""
    kept = values if wide is None else b.operator("Where", wide, values, b.constant(0.0))
    return b.reduction("ReduceSum", kept, axis, keepdims=False)
