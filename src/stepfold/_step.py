"""A cell's step as data: its states, its parameters and their axes, the graph of its new states; to JSON and back."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ._graph import FEATURES, KERNEL, LEAVES, RECURRENT_KERNEL, SCALAR, UNITS, Dims, Node, in_order, leaf
from ._ops import TABLE, apply

_FORMAT = 1
_LEAF_DIMS: dict[str, tuple[Dims, ...]] = {
    "input": (FEATURES,),
    "state": (UNITS,),
    "parameter": (UNITS, KERNEL, RECURRENT_KERNEL),
    "constant": (SCALAR, UNITS),
    "size": (SCALAR,),
    "row_input": (UNITS,),
    "step_input": (UNITS,),
}


@dataclass(frozen=True, eq=False)
class Step:
    """One timestep: `states` in order, `parameters` (name → axes), `outputs` (the new states), what vectors start from."""

    name: str
    states: tuple[str, ...]
    parameters: Mapping[str, Dims]
    outputs: tuple[Node, ...]
    vectors: Mapping[str, float] = field(default_factory=dict)

    @functools.cached_property
    def nodes(self) -> list[Node]:
        """Every node, each after its inputs."""
        return in_order(self.outputs)

    def leaves(self, op: str) -> list[str]:
        """The names of the leaves of one kind, in the order of their first use."""
        return [str(n.attributes[0]) for n in self.nodes if n.op == op]

    def to_json(self) -> str:
        """Return the step as JSON text."""
        number = {id(n): i for i, n in enumerate(self.nodes)}
        return json.dumps(
            {
                "stepfold": _FORMAT,
                "name": self.name,
                "states": self.states,
                "parameters": {name: list(dims) for name, dims in self.parameters.items()},
                "vectors": dict(self.vectors),
                "nodes": [
                    [n.op, list(n.attributes), list(n.dims)] if n.op in LEAVES else [n.op, [number[id(i)] for i in n.inputs]]
                    for n in self.nodes
                ],
                "outputs": [number[id(n)] for n in self.outputs],
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Step:
        """Return the step that `to_json` wrote. ValueError, naming what is wrong, if the text is no such step."""
        try:
            data = json.loads(text)
            if data["stepfold"] != _FORMAT:
                raise ValueError(f"format {data['stepfold']!r}, this version reads {_FORMAT}")
            nodes: list[Node] = []
            for entry in data["nodes"]:
                nodes.append(_read_leaf(entry) if entry[0] in LEAVES else _read_operation(entry, nodes))
            outputs = tuple(nodes[_index(i, nodes)] for i in data["outputs"])
            states = tuple(map(str, data["states"]))
            if len(outputs) != len(states) or any(o.dims != UNITS for o in outputs):
                raise ValueError("as many outputs as states are needed, each with the axis units")
            parameters = {str(k): tuple(map(str, v)) for k, v in data["parameters"].items()}
            step = cls(str(data["name"]), states, parameters, outputs, {str(k): float(v) for k, v in data["vectors"].items()})
            step._check()
            return step
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
            reason = f"{error!r} is missing" if isinstance(error, KeyError) else str(error)
            raise ValueError(f"this is not a saved cell: {reason}") from None

    def _check(self) -> None:
        known: dict[str, Any] = {"state": dict.fromkeys(self.states, UNITS), "parameter": self.parameters}
        for n in self.nodes:
            if n.op in known and known[n.op].get(n.attributes[0]) != n.dims:
                raise ValueError(f"{n.op} {n.attributes[0]!r} is not declared with axes {n.dims}")

    @functools.cached_property
    def key(self) -> str:
        """A name for the maths alone: two steps with the same key compute the same."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Step) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


def _index(value: Any, nodes: list[Node]) -> int:
    if not isinstance(value, int) or not 0 <= value < len(nodes):
        raise ValueError(f"node {value!r} does not exist yet")
    return value


def _read_leaf(entry: list[Any]) -> Node:
    op, attributes, dims = entry
    if tuple(dims) not in _LEAF_DIMS.get(op, ()) or len(attributes) > 1:
        raise ValueError(f"leaf {op!r} cannot have axes {dims}")
    value = float(attributes[0]) if op == "constant" else None
    return leaf(op, *([value] if value is not None else map(str, attributes)), dims=tuple(dims))


def _read_operation(entry: list[Any], nodes: list[Node]) -> Node:
    op, inputs = entry
    if op not in TABLE:
        raise ValueError(f"operation {op!r} is unknown")
    return apply(op, *(nodes[_index(i, nodes)] for i in inputs))
