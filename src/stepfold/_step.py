"""A cell's step as data: its states, its parameters and their axes, its graph; to JSON and back."""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ._graph import (
    FEATURES,
    KERNEL,
    LEAVES,
    RECURRENT_KERNEL,
    SCALAR,
    UNITS,
    Dims,
    Node,
    constant,
    in_order,
    leaf,
)
from ._ops import PRODUCTS, TABLE, apply

_FORMAT = 1
_MOST_NODES = 100_000


@dataclass(frozen=True, eq=False)
class Step:
    """One timestep: `states` in order, `parameters` (name → axes), `outputs` (the new states).

    `vectors` says what vector parameters start from (0 for those not named).
    """

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
                    [n.op, list(n.attributes), list(n.dims)]
                    if n.op in LEAVES
                    else [n.op, [number[id(i)] for i in n.inputs]]
                    for n in self.nodes
                ],
                "outputs": [number[id(n)] for n in self.outputs],
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Step:
        """Return the step that `to_json` wrote; ValueError, naming what is wrong, if the text is none."""
        try:
            return _read_step(json.loads(text))
        except RecursionError:
            raise ValueError("this is not a saved cell: it is nested too deeply") from None
        except ValueError as error:
            raise ValueError(f"this is not a saved cell: {error}") from None

    @functools.cached_property
    def key(self) -> str:
        """A name for the maths alone: two steps with the same key compute the same."""
        maths = json.loads(self.to_json())
        del maths["name"], maths["vectors"]
        return hashlib.sha256(json.dumps(maths).encode()).hexdigest()

    def __reduce__(self) -> tuple[object, ...]:
        # as a list of nodes: a chain of nodes inside nodes would be too deep for pickle
        return Step.from_json, (self.to_json(),)

    def __copy__(self) -> Step:
        return self

    def __deepcopy__(self, memo: object) -> Step:
        return self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Step) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


# ---- reading what somebody else may have written: every part is checked, none is run ----------------------


def _read_step(data: Any) -> Step:
    _need(isinstance(data, dict) and "stepfold" in data, "it is no JSON object with an entry 'stepfold'")
    _need(data["stepfold"] == _FORMAT, f"its format is {data['stepfold']!r}, this version reads {_FORMAT}")
    for entry, kind in _ENTRIES.items():
        _need(isinstance(data.get(entry), kind), f"{entry!r} is missing or is no {_KINDS[kind]}")
    _need(len(data["nodes"]) <= _MOST_NODES, f"it has {len(data['nodes'])} nodes, more than {_MOST_NODES}")
    nodes: list[Node] = []
    for entry in data["nodes"]:
        nodes.append(_read_node(entry, nodes))
    outputs = tuple(_earlier(i, nodes) for i in data["outputs"])
    parameters = {
        name: tuple(dims) if isinstance(dims, list) else () for name, dims in data["parameters"].items()
    }
    step = Step(data["name"], tuple(data["states"]), parameters, outputs, data["vectors"])
    _need(len(outputs) == len(step.states) > 0, "it needs as many outputs as states, and at least one")
    _need(all(o.dims == UNITS and not o.boolean for o in outputs), "an output does not have the axis units")
    _check_names(step)
    for n in step.nodes:
        _check_node(n, step)
    unused = step.parameters.keys() - set(step.leaves("parameter"))
    _need(not unused, f"parameter(s) {', '.join(sorted(unused))} are never used")
    return step


_ENTRIES = {"name": str, "states": list, "parameters": dict, "vectors": dict, "nodes": list, "outputs": list}
_KINDS = {str: "string", list: "list", dict: "object"}
_LEAVES_SAVED: dict[str, tuple[Any, tuple[Dims, ...]]] = {
    "input": (None, (FEATURES,)),
    "state": (str, (UNITS,)),
    "parameter": (str, (UNITS, KERNEL, RECURRENT_KERNEL)),
    "constant": ((int, float), (SCALAR, UNITS)),
    "size": (str, (SCALAR,)),
    "row_input": (str, (UNITS,)),
    "step_input": (str, (UNITS,)),
}
"""What stands beside a leaf's name (None: nothing), and which axes it can have."""


def _need(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)


def _read_node(entry: Any, nodes: list[Node]) -> Node:
    _need(
        isinstance(entry, list) and len(entry) in (2, 3), f"node {len(nodes)} is no list [operation, inputs]"
    )
    op, inputs = entry[:2]
    _need(
        isinstance(op, str) and isinstance(inputs, list), f"node {len(nodes)} is no list [operation, inputs]"
    )
    if len(entry) == 3:
        return _read_leaf(op, inputs, entry[2])
    _need(op in TABLE, f"operation {op!r} is unknown")
    _need(len(inputs) == TABLE[op].arity, f"{op} takes {TABLE[op].arity} inputs, not {len(inputs)}")
    return apply(op, *(_earlier(i, nodes) for i in inputs))


def _read_leaf(op: str, attributes: list[Any], dims: Any) -> Node:
    kind, allowed = _LEAVES_SAVED.get(op, (None, ()))
    _need(bool(allowed), f"leaf {op!r} is unknown")
    _need(isinstance(dims, list) and tuple(dims) in allowed, f"leaf {op!r} cannot have the axes {dims}")
    fits = [isinstance(a, kind) and not isinstance(a, bool) for a in attributes] if kind else attributes
    _need(fits == ([True] if kind else []), f"leaf {op!r} cannot be of {attributes}")
    return (
        constant(_number(attributes[0]), tuple(dims))
        if op == "constant"
        else leaf(op, *attributes, dims=tuple(dims))
    )


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, OverflowError):
        raise ValueError(f"{str(value)[:40]} is no number in the range of a float") from None


def _earlier(index: Any, nodes: list[Node]) -> Node:
    _need(type(index) is int and 0 <= index < len(nodes), f"node {index!r} does not exist yet")
    found: Node = nodes[index]
    return found


def _check_names(step: Step) -> None:
    names = [*step.states, *step.parameters]
    _need(all(isinstance(n, str) for n in names), "a state's name is no string")
    _need(len(set(names)) == len(names), "two states or parameters have the same name")
    for name, dims in step.parameters.items():
        _need(dims in _LEAVES_SAVED["parameter"][1], f"parameter {name!r} cannot have the axes {dims}")
    for name, value in step.vectors.items():
        _need(step.parameters.get(name) == UNITS, f"'vectors' names {name!r}, which is no vector parameter")
        _need(
            isinstance(value, (int, float)) and math.isfinite(_number(value)),
            f"{name!r} starts from no number",
        )
    unused = step.parameters.keys() - set(step.leaves("parameter"))
    _need(not unused, f"parameter(s) {', '.join(sorted(unused))} are never used")


def _check_node(n: Node, step: Step) -> None:
    """What tracing makes sure of for a cell that is written, for one that is read."""
    declared = {"state": dict.fromkeys(step.states, UNITS), "parameter": step.parameters}.get(n.op)
    if declared is not None:
        _need(
            declared.get(str(n.attributes[0])) == n.dims,
            f"{n.op} {n.attributes[0]!r} is not declared with axes {n.dims}",
        )
    for place, i in enumerate(n.inputs):
        if n.op in PRODUCTS and place == 0:
            _need(i.op == "parameter", f"the left side of {n.op} is no parameter")
        else:
            _need(
                i.dims in (SCALAR, UNITS) or n.op in PRODUCTS,
                f"{n.op} cannot take a value with axes {i.dims}",
            )
        _need(
            i.boolean == (n.op == "where" and place == 0),
            f"input {place} of {n.op} is {'a' if i.boolean else 'no'} comparison",
        )
