"""Recurrent layers as ONNX: the operators RNN, LSTM and GRU where they say the cell, `Scan` elsewhere."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..model import BidirectionalLayer, RecurrentLayer
from ._builder import Builder
from ._operators import Operator, operator_attributes, operator_of
from ._scan import scan_operator
from ._signal import Named, Order, along_time

Ordered = Callable[[str], Order]
"""From the name of a mask to what brings its active timesteps to the front; equal masks share it."""


def recurrent(b: Builder, layer: RecurrentLayer, signal: Named, ordered: Ordered) -> Named:
    """Add a recurrent layer of one direction."""
    operator = _operator(b, layer)
    if operator is None:
        return _after(layer, signal, layer.width, batched=_scan(b, layer, signal))
    found = _run_operator(b, [operator], [layer], signal, ordered)
    if not layer.return_sequences:
        return _after(layer, signal, layer.width, batched=b.operator("Squeeze", found, b.integers(0)))
    if signal.mask is not None:
        return _after(layer, signal, layer.width, batched=found)
    return _after(layer, signal, layer.width, timed=b.operator("Squeeze", found, b.integers(1)))


def bidirectional(b: Builder, layer: BidirectionalLayer, signal: Named, ordered: Ordered) -> Named:
    """Add both directions of a layer: one operator where both are the same one, two otherwise."""
    both = [layer.forward, layer.backward]
    operators = [found for found in (_operator(b, each) for each in both) if found is not None]
    features = layer.forward.width + (layer.backward.width if layer.merge == "concat" else 0)
    sequences = layer.forward.return_sequences
    if len(operators) < 2 or not _one_operator(operators, both):
        first, second = (recurrent(b, each, signal, ordered).values(b) for each in both)
        return _after(layer.forward, signal, features, batched=_merged(b, layer.merge, first, second))
    found = _run_operator(b, operators, both, signal, ordered)
    if not sequences:  # (2, B, H)
        return _after(layer.forward, signal, features, batched=_merged_axis(b, layer.merge, found, 0))
    if signal.mask is not None:  # (B, T, 2, H)
        return _after(layer.forward, signal, features, batched=_merged_axis(b, layer.merge, found, 2))
    return _after(layer.forward, signal, features, timed=_merged_axis(b, layer.merge, found, 1))


def _operator(b: Builder, layer: RecurrentLayer) -> Operator | None:
    """The operator of a layer; in float64 none, for which ONNX Runtime has only `Scan`."""
    return operator_of(layer.cell) if b.dtype == np.float32 else None


def _one_operator(operators: list[Operator], layers: list[RecurrentLayer]) -> bool:
    kinds = {(operator.kind, operator.reset_after) for operator in operators}
    return len(kinds) == 1 and layers[0].units == layers[1].units


def _after(
    layer: RecurrentLayer,
    signal: Named,
    features: int,
    *,
    batched: str | None = None,
    timed: str | None = None,
) -> Named:
    mask = signal.mask if layer.return_sequences else None
    return Named(features, batched=batched, timed=timed, mask=mask, time=layer.return_sequences)


def _scan(b: Builder, layer: RecurrentLayer, signal: Named) -> str:
    return scan_operator(
        b,
        layer.cell.step,
        layer.params,
        signal.values(b),
        sizes=layer.sizes,
        features=signal.features,
        mask=signal.mask,
        reverse=layer.reverse,
        return_sequences=layer.return_sequences,
    )


def _run_operator(
    b: Builder, operators: list[Operator], layers: list[RecurrentLayer], signal: Named, ordered: Ordered
) -> str:
    """Add the operator; return the last states (directions, batch, units), or what `return_sequences` asks
    for: (time, directions, batch, units) without a mask; with one the state after every timestep of the
    signal, (batch, time, units) of one direction, (batch, time, 2, units) of both."""
    weights = zip(*(o.weights(layer.params) for o, layer in zip(operators, layers, strict=True)), strict=True)
    names = [b.array(np.concatenate(both), hint) for both, hint in zip(weights, "WRB", strict=True)]
    order = None if signal.mask is None else ordered(signal.mask)
    values = signal.time_major(b) if order is None else signal.fronted(b, order)
    inputs = [values, *names, *([] if order is None else [order.lengths])]
    attributes = operator_attributes(operators, layers[0].units, layers[0].reverse)
    outputs, last = b.operators(operators[0].kind, inputs, 2, **attributes)
    if not layers[0].return_sequences:
        return last
    if order is None:
        return outputs
    batched = b.operator("Transpose", outputs, perm=[2, 0, 1, 3])  # (B, T, D, H)
    found = []
    for k, layer in enumerate(layers):
        rows, begun = (
            (order.backward, order.begun_backward) if layer.reverse else (order.forward, order.begun)
        )
        states = along_time(b, b.take(batched, k, 2), rows)
        found.append(b.operator("Where", begun, states, b.constant(0.0)))
    if len(found) == 1:
        return found[0]
    wide = [b.operator("Unsqueeze", each, b.integers(2)) for each in found]
    return b.operator("Concat", *wide, axis=2)


_REDUCTIONS = {"sum": "ReduceSum", "mul": "ReduceProd", "ave": "ReduceMean"}


def _merged_axis(b: Builder, merge: str, both: str, axis: int) -> str:
    """Both directions, which stand side by side on an axis, merged."""
    if merge != "concat":
        return b.reduction(_REDUCTIONS[merge], both, axis, keepdims=False)
    first, second = (b.take(both, k, axis) for k in range(2))
    return b.operator("Concat", first, second, axis=-1)


def _merged(b: Builder, merge: str, first: str, second: str) -> str:
    if merge == "concat":
        return b.operator("Concat", first, second, axis=-1)
    if merge == "mul":
        return b.operator("Mul", first, second)
    total = b.operator("Add", first, second)
    return total if merge == "sum" else b.operator("Mul", total, b.constant(0.5))
