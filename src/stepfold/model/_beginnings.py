"""What a model's layers hold and give after each timestep of one sequence.

A model that reads forward is run over the sequence once, pooling as it goes. Where what comes later, or the
padding before, changes what came first, every beginning of the sequence is run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from .._stream import Stream
from ..data import Ragged
from ._arrays import Array
from ._concatenate import ConcatenateLayer
from ._evidence_layers import EnsembleLayer, EvidenceLayer
from ._layers import BidirectionalLayer, Layer, PoolingLayer, RecurrentLayer
from ._signal import Signal
from ._walk import named_layers

if TYPE_CHECKING:
    from ._model import Model

_BATCH = 64


@dataclass(frozen=True, eq=False)
class Trace:
    """One recurrent layer that reads forward, at the last timestep of each beginning.

    Args:
        name: of the layer.
        layer: the layer, of two directions the forward one.
        inputs: (beginnings, features), what goes in at that timestep.
        before, after: (beginnings, units) for each state, or as wide as the state is, before and after that
            timestep.
        output: (beginnings, width), after that timestep.
    """

    name: str
    layer: RecurrentLayer
    inputs: Array
    before: tuple[Array, ...]
    after: tuple[Array, ...]
    output: Array


Beginnings = tuple[Array, list[Trace]]
"""The network's outputs, (beginnings, outputs), and the traces of its layers."""


def forward_layers(layers: tuple[Layer, ...]) -> dict[str, tuple[str, RecurrentLayer]]:
    """Return what reads forward, by the name of the layer that it is, or is part of: its name, itself."""
    found: dict[str, tuple[str, RecurrentLayer]] = {}
    for name, layer in named_layers(layers):
        if isinstance(layer, BidirectionalLayer):
            found[name] = f"{name}, forward", layer.forward
        elif isinstance(layer, RecurrentLayer) and not layer.reverse:
            found[name] = name, layer
    return found


def beginnings(model: Model, sequence: Array, shortest: int) -> Beginnings:
    """Return what the layers make of the beginnings of a sequence, (steps,) ids or (steps, features).

    The first beginning has `shortest` timesteps, 0 or 1, and each has one more than the one before.
    """
    if model.pads or not model.reads_forward:
        return every_beginning(model, sequence, shortest)
    return one_pass(model, sequence, shortest)


def one_pass(model: Model, sequence: Array, shortest: int) -> Beginnings:
    """Return the same for a model that reads forward and masks its padding, by one run over the sequence."""
    mask = np.ones((1, len(sequence) + 1), bool)
    mask[0, 0] = False  # a masked timestep changes nothing: the empty beginning
    signal = Signal(
        np.concatenate([np.zeros_like(sequence, shape=(1, *sequence.shape[1:])), sequence])[None], mask
    )
    traces: list[Trace] = []
    signal = _passed(model.layers, signal, "", traces)
    return signal.vectors()[0, shortest:], [_but_first(trace, shortest) for trace in traces]


def _passed(layers: tuple[Layer, ...], signal: Signal, of: str, traces: list[Trace]) -> Signal:
    """Run layers, whose names begin with `of`, over the only row of a batch, so that what they give of each
    beginning stands at its last timestep; add the traces of recurrent ones."""
    for k, layer in enumerate(layers):
        if isinstance(layer, RecurrentLayer):
            traces.append(_stepped(f"{of}layer {k}", layer, signal))
            signal = Signal(traces[-1].output[None], signal.mask)
        elif isinstance(layer, PoolingLayer):
            signal = Signal(_pooled(layer, signal)[None])
        elif isinstance(layer, ConcatenateLayer):
            signal = layer.joined(
                [
                    _passed(branch, signal, f"{of}layer {k}, branch {number}, ", traces)
                    for number, branch in enumerate(layer.branches, 1)
                ]
            )
        else:
            signal = layer(signal)
    return signal


def _stepped(name: str, layer: RecurrentLayer, signal: Signal) -> Trace:
    """Step through the only row of a batch."""
    inputs = signal.vectors()[0]
    stream = Stream(layer.cell, layer.params)
    count = len(inputs) + 1
    states = [np.zeros((count, *shape), inputs.dtype) for shape in layer.sizes.states.values()]
    output = np.zeros((count, layer.width), inputs.dtype)
    for t, values in enumerate(inputs):
        output[t + 1] = output[t]
        if signal.mask is None or signal.mask[0, t]:
            output[t + 1] = stream.step(layer.sizes.split(values))
        for steps, state in zip(states, stream.state, strict=True):
            steps[t + 1] = state[0]
    before, after = (tuple(steps[part] for steps in states) for part in (slice(-1), slice(1, None)))
    return Trace(name, layer, inputs, before, after, output[1:])


def _but_first(trace: Trace, count: int) -> Trace:
    before, after = (tuple(each[count:] for each in states) for states in (trace.before, trace.after))
    return replace(
        trace, inputs=trace.inputs[count:], before=before, after=after, output=trace.output[count:]
    )


def _pooled(layer: PoolingLayer, signal: Signal) -> Array:
    """Return what the pooling gives after each timestep, (steps, features), of two kinds twice as many."""
    values = signal.vectors()[0]
    if layer.kind == "last":
        return np.asarray(values)
    active = np.ones((len(values), 1), bool)
    active[0] = False  # the empty beginning
    if layer.masked and signal.mask is not None:
        active &= signal.mask[0][:, None]
    count = np.cumsum(active, axis=0)  # (steps, 1)
    greatest = np.maximum.accumulate(np.where(active, values, -np.inf), axis=0)
    total = np.cumsum(np.where(active, values, 0), axis=0, dtype=np.float64)
    found = {"max": np.where(count > 0, greatest, 0), "mean": total / np.maximum(count, 1), "sum": total}
    return np.concatenate([found[kind] for kind in layer.kind.split("_")], axis=-1).astype(values.dtype)


def every_beginning(model: Model, sequence: Array, shortest: int) -> Beginnings:
    """Return the same for any model, by runs over batches of beginnings."""
    outputs: list[Array] = []
    traces: list[list[Trace]] = []
    forward = forward_layers(model.layers)
    first = model.layers[0]
    of_evidence = first.beginnings(sequence) if isinstance(first, EvidenceLayer) else None
    size = 1 if model.needs_equal_lengths else _BATCH
    for start in range(shortest, len(sequence) + 1, size):
        ends = range(start, min(start + size, len(sequence) + 1))
        if of_evidence is None:
            rows = Ragged.from_sequences([sequence[:end] for end in ends])
            signal = Signal(*model.batch(rows, np.arange(len(rows))))
        else:
            signal = of_evidence(ends)
        part: list[Trace] = []
        signal = _traced(model.layers, signal, "", forward, part, after=int(of_evidence is not None))
        outputs.append(signal.vectors())
        traces.append(part)
    found = np.concatenate([each[:, -1] if each.ndim == 3 else each for each in outputs])
    return found, [_joined(each) for each in zip(*traces, strict=True)]


def _traced(
    layers: tuple[Layer, ...],
    signal: Signal,
    of: str,
    forward: dict[str, tuple[str, RecurrentLayer]],
    traces: list[Trace],
    after: int = 0,
) -> Signal:
    """Run all but the first `after` layers, whose names begin with `of`; add the traces of those that read
    forward."""
    for k, layer in enumerate(layers[after:], after):
        if isinstance(layer, EnsembleLayer):
            found = [
                _traced(member, signal, f"{of}network {number}, ", forward, traces).vectors()
                for number, member in enumerate(layer.members, 1)
            ]
            signal = Signal(layer.mean(found))
            continue
        if isinstance(layer, ConcatenateLayer):
            signal = layer.joined(
                [
                    _traced(branch, signal, f"{of}layer {k}, branch {number}, ", forward, traces)
                    for number, branch in enumerate(layer.branches, 1)
                ]
            )
            continue
        if f"{of}layer {k}" in forward:
            traces.append(_last(*forward[f"{of}layer {k}"], signal))
        signal = layer(signal)
    return signal


def _last(name: str, layer: RecurrentLayer, signal: Signal) -> Trace:
    """Return what a layer does at the last timestep of each row."""
    mask = np.ones(signal.values.shape[:2], bool) if signal.mask is None else signal.mask.copy()

    def states() -> tuple[Array, ...]:
        return tuple(layer.scan(signal, mask=mask, return_state=True))

    output, *after = states()
    mask[:, -1] = False
    return Trace(name, layer, signal.last_vectors(), states()[1:], tuple(after), output)


def _joined(traces: tuple[Trace, ...]) -> Trace:
    before, after = (
        tuple(np.concatenate(parts) for parts in zip(*states, strict=True))
        for states in ([each.before for each in traces], [each.after for each in traces])
    )
    inputs, output = (
        np.concatenate(parts) for parts in zip(*((each.inputs, each.output) for each in traces), strict=True)
    )
    return replace(traces[0], inputs=inputs, before=before, after=after, output=output)
