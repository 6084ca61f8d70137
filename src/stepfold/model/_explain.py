"""What a model makes of one text or sequence after each token: outputs, states, named values of the maths."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._cell import Cell
from .._graph import Node, topological_order
from .._lookups import gather
from .._reference import evaluate
from .._show import named_values
from ..data import START, UNKNOWN
from ._batches import Texts
from ._beginnings import Trace, beginnings, forward_layers
from ._layers import BidirectionalLayer, RecurrentLayer
from ._walk import named_layers

if TYPE_CHECKING:
    from ._model import Model

_DIGITS = 5


@dataclass(frozen=True, eq=False)
class LayerStates:
    """A recurrent layer that reads forward, after each token.

    Attributes:
        name: which layer of the model, "layer 1", "layer 1, forward" of two directions, "network 1, layer 1,
            forward" of an ensemble, "layer 1, branch 2, layer 0" of a concatenation.
        cell: the name of its cell.
        values: (tokens, units) each, or as wide as the value is: the states by their names, before them an
            output that is no state, then the named values that were asked for. Matrices are left out.
    """

    name: str
    cell: str
    values: dict[str, NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class Explanation:
    """What a model makes of one text or sequence, token by token.

    Attributes:
        tokens: (T,) as the vocabulary cuts the text; of a sequence "1", "2", …
        known: (T,) whether the vocabulary has the token.
        labels: (C,) the names of the classes; ("value",) for one value, ("value 1", …) for several.
        outputs: (T, C) the probability of each class, or the values, after each token.
        before: (C,) the same before the first token.
        layers: the recurrent layers that read forward.
    """

    tokens: tuple[str, ...]
    known: tuple[bool, ...]
    labels: tuple[str, ...]
    outputs: NDArray[np.float32]
    before: NDArray[np.float32]
    layers: tuple[LayerStates, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it as lists, for JSON; numbers have five digits after the point."""
        return {
            "tokens": list(self.tokens),
            "known": list(self.known),
            "labels": list(self.labels),
            "outputs": _rounded(self.outputs),
            "before": _rounded(self.before),
            "layers": [
                {
                    "name": layer.name,
                    "cell": layer.cell,
                    "values": {name: _rounded(value) for name, value in layer.values.items()},
                }
                for layer in self.layers
            ],
        }


def _rounded(array: NDArray[Any]) -> Any:
    return np.round(array.astype(np.float64), _DIGITS).tolist()


def explain(model: Model, given: Any, values: bool | Iterable[str]) -> Explanation:
    """Return the explanation that `Model.explain` promises."""
    wanted = _wanted(model, values)
    sequence = model.encoded([given])[0]
    if model.inputs.length is not None:
        sequence = sequence[-model.inputs.length :]
    texts = isinstance(model.inputs, Texts)
    start = int(texts and len(sequence) > 0 and sequence[0] == START)
    start = max(start, len(sequence) - (model.most_explained or len(sequence)))
    found, traces = beginnings(model, sequence, start)  # the first is that before the first token
    outputs = model.answers(found).astype(np.float32)
    tokens = sequence[start:]
    if isinstance(model.inputs, Texts):
        names = model.inputs.vocabulary.tokens(given)
        names = names[len(names) - len(tokens) :]
        known = [int(each) != UNKNOWN for each in tokens]
    else:
        names = [str(k + 1) for k in range(len(tokens))]
        known = [True] * len(tokens)
    return Explanation(
        tuple(names),
        tuple(known),
        _labels(model, outputs.shape[-1]),
        outputs[1:],
        outputs[0],
        tuple(_states(trace, wanted) for trace in traces),
    )


def _labels(model: Model, count: int) -> tuple[str, ...]:
    if model.labels is not None:
        return tuple(map(str, model.labels))
    return ("value",) if count == 1 else tuple(f"value {k + 1}" for k in range(count))


def _wanted(model: Model, values: bool | Iterable[str]) -> frozenset[str] | None:
    """Return the names of the values to compute, None for all; ValueError for one that no layer has."""
    if isinstance(values, bool):
        return None if values else frozenset()
    wanted = frozenset([values] if isinstance(values, str) else values)
    cells = [layer.cell for _, layer in forward_layers(model.layers).values()]
    known = dict.fromkeys(name for cell in cells for name in (*cell.step.states, *_named(cell)))
    if wanted - known.keys():
        raise ValueError(
            f"no layer of {model.name} that reads forward has the value {min(wanted - known.keys())!r}; "
            f"the values are {', '.join(known) or 'none'}"
        )
    return wanted


def _named(cell: Cell) -> dict[str, Node]:
    """Return the named values of a cell that are no new states and no matrices, in the order of its
    equations."""
    new = {f"{state}'" for state in cell.states}
    named = named_values(cell.step).items()
    return {name: node for name, node in named if name not in new and len(node.dims) < 2}


def _states(trace: Trace, wanted: frozenset[str] | None) -> LayerStates:
    cell = trace.layer.cell
    sizes, rows = trace.layer.sizes, len(trace.inputs)
    values = {cell.step.states[0]: trace.output} if cell.step.output else {}
    values |= {name: each for name, each in zip(cell.states, trace.after, strict=True) if each.ndim < 3}
    named = {name: node for name, node in _named(cell).items() if wanted is None or name in wanted}
    if named:
        given = sizes.split(trace.inputs)
        inputs = ["", *cell.step.inputs] if cell.step.takes_features else list(cell.step.inputs)
        parts = given if isinstance(given, tuple) else (given,)
        read, _ = gather(cell.step.lookups, dict(zip(inputs, parts, strict=True)), trace.layer.params)
        leaves = {("input", name): each for name, each in read.items()}
        leaves.update({("state", name): each for name, each in zip(cell.states, trace.before, strict=True)})
        leaves.update({("parameter", name): each for name, each in trace.layer.params.items()})
        nodes = topological_order(tuple(named.values()))
        found = evaluate(nodes, leaves, {"units": trace.layer.units, **sizes.sizes}, trace.inputs.dtype)
        for name, node in named.items():
            shape = sizes.shape(node.dims) or (trace.layer.width,)
            values.setdefault(name, np.broadcast_to(found[id(node)], (rows, *shape)))
    return LayerStates(
        trace.name, cell.name, {name: each[1:].astype(np.float32) for name, each in values.items()}
    )


def equations(model: Model) -> list[dict[str, str]]:
    """Return the equations that `Model.equations` promises."""
    found = []
    for place, layer in named_layers(model.layers):
        if isinstance(layer, RecurrentLayer):
            parts = {place: layer.cell}
        elif isinstance(layer, BidirectionalLayer):
            parts = {f"{place}, forward": layer.forward.cell}
            if layer.backward.cell != layer.forward.cell:
                parts[f"{place}, backward"] = layer.backward.cell
        else:
            continue
        for name, cell in parts.items():
            found.append(
                {"name": name, "cell": cell.name, "maths": cell.show("maths"), "latex": cell.show("latex")}
            )
    return found
