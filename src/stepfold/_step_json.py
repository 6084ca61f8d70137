"""A step as JSON text. A text that is read may come from anybody: every part is checked, nothing is run."""

from __future__ import annotations

import json
import math
import reprlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ._graph import (
    FEATURES,
    KERNEL,
    LEAVES,
    MAX_NODES,
    RECURRENT_KERNEL,
    SCALAR,
    UNITS,
    Dims,
    Node,
    constant,
    leaf,
    topological_order,
)
from ._hyperparameters import Number, checked_number
from ._ops import PRODUCTS, TABLE, apply, takes_condition

FORMAT = 1
MAX_CHARACTERS = 4_000_000
"""The longest text that is read; the text of `MAX_NODES` nodes is shorter."""
MAX_NAME = 1_000
"""The longest name, in characters."""

_ENTRIES = {"name": str, "states": list, "parameters": dict, "vectors": dict, "nodes": list, "outputs": list}
_KINDS = {str: "a string", list: "a list", dict: "an object"}
_LEAF_DIMS: dict[str, tuple[Dims, ...]] = {
    "input": (FEATURES,),
    "state": (UNITS,),
    "parameter": (SCALAR, UNITS, KERNEL, RECURRENT_KERNEL),
    "constant": (SCALAR, UNITS),
    "size": (SCALAR,),
    "row_input": (UNITS,),
    "step_input": (UNITS,),
}
"""The leaves that a text may hold, and the axes that each may have."""

_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = _repr.maxlong = 60


StepParts = tuple[
    str,
    tuple[str, ...],
    Mapping[str, Dims],
    tuple[Node, ...],
    Mapping[str, float],
    Mapping[str, tuple[str, float]],
    Mapping[str, Number],
]
"""Name, states, parameters, outputs, vectors, kernels and hyper-parameters of a step, in the order of the
fields of `Step`."""


def write(parts: StepParts, nodes: Sequence[Node]) -> str:
    """Return the JSON text of a step; `nodes` are all of its nodes, each after its inputs."""
    name, states, parameters, outputs, vectors, kernels, hyperparameters = parts
    index = {id(n): i for i, n in enumerate(nodes)}
    return json.dumps(
        {
            "stepfold": FORMAT,
            "name": name,
            "states": states,
            "parameters": {key: list(dims) for key, dims in parameters.items()},
            "vectors": dict(vectors),
            # only where it says something, so that earlier versions read the other cells
            **({"kernels": {key: list(begin) for key, begin in kernels.items()}} if kernels else {}),
            **({"hyperparameters": dict(hyperparameters)} if hyperparameters else {}),
            "nodes": [
                [n.op, list(n.attributes), list(n.dims)]
                if n.op in LEAVES
                else [n.op, [index[id(i)] for i in n.inputs]]
                for n in nodes
            ],
            "outputs": [index[id(n)] for n in outputs],
        }
    )


def read(text: str) -> StepParts:
    """Return the parts that `write` wrote; ValueError, naming what is wrong, for any other text."""
    try:
        if len(text) > MAX_CHARACTERS:
            raise ValueError(f"it has {len(text):,} characters, more than {MAX_CHARACTERS:,}")
        return _parts(json.loads(text, object_pairs_hook=_object))
    except RecursionError:
        raise ValueError("this is not a saved cell: it is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"this is not a saved cell: {error}") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f"an object has the entry {_repr.repr(twice)} twice")
    return found


def _parts(data: Any) -> StepParts:
    if not isinstance(data, dict) or "stepfold" not in data:
        raise ValueError("it is not a JSON object with an entry 'stepfold'")
    if type(data["stepfold"]) is not int or data["stepfold"] != FORMAT:
        raise ValueError(f"its format is {_repr.repr(data['stepfold'])}, this version reads {FORMAT}")
    for entry, kind in _ENTRIES.items():
        if not isinstance(data.get(entry), kind):
            raise ValueError(f"{entry!r} is missing or is not {_KINDS[kind]}")
    for entry in ("states", "parameters", "nodes"):
        if len(data[entry]) > MAX_NODES:
            raise ValueError(f"it has {len(data[entry]):,} {entry}, more than {MAX_NODES:,}")
    if len(data["name"]) > MAX_NAME or not data["name"].isprintable():
        raise ValueError(f"'name' is not a printable string of at most {MAX_NAME:,} characters")
    declared = _declared(data["states"], data["parameters"])
    states, parameters = tuple(declared["state"]), declared["parameter"]
    nodes = _Nodes(declared)
    for entry in data["nodes"]:
        nodes.read(entry)
    outputs = _outputs(data["outputs"], len(states), nodes)
    unused = parameters.keys() - {n.attributes[0] for n in topological_order(outputs) if n.op == "parameter"}
    if unused:
        raise ValueError(f"the parameter {_repr.repr(min(unused))} is never used")
    vectors, kernels = (
        _vectors(data["vectors"], parameters),
        checked_kernels(data.get("kernels", {}), parameters),
    )
    hyperparameters = _hyperparameters(data.get("hyperparameters", {}), declared)
    return data["name"], states, parameters, outputs, vectors, kernels, hyperparameters


def _declared(states: list[Any], parameters: dict[str, Any]) -> dict[str, dict[str, Dims]]:
    """The axes of the states and parameters by their names."""
    names = [*states, *parameters]
    for name in names:
        if not isinstance(name, str) or not name.isidentifier() or len(name) > MAX_NAME:
            raise ValueError(f"{_repr.repr(name)} cannot name a state or parameter; a Python name can")
    if len(set(names)) < len(names):
        raise ValueError("two states or parameters have the same name")
    found: dict[str, Dims] = {}
    for name, dims in parameters.items():
        if not isinstance(dims, list) or tuple(dims) not in _LEAF_DIMS["parameter"]:
            raise ValueError(f"parameter {_repr.repr(name)} cannot have the axes {_repr.repr(dims)}")
        found[name] = tuple(dims)
    return {"state": dict.fromkeys(states, UNITS), "parameter": found}


def _outputs(indices: list[Any], states: int, nodes: _Nodes) -> tuple[Node, ...]:
    if not len(indices) == states > 0:
        raise ValueError("it needs as many outputs as states, and at least one")
    outputs = tuple(nodes.earlier(index) for index in indices)
    if any(o.dims != UNITS or o.boolean for o in outputs):
        raise ValueError("an output does not have the axes (units,)")
    return outputs


def _vectors(vectors: dict[str, Any], parameters: Mapping[str, Dims]) -> dict[str, float]:
    found = {}
    for name, value in vectors.items():
        if parameters.get(name) not in (UNITS, SCALAR):
            raise ValueError(f"'vectors' names {_repr.repr(name)}, which is not a vector or scalar parameter")
        found[name] = _initial(name, value)
    return found


def _hyperparameters(values: Any, declared: Mapping[str, Mapping[str, Dims]]) -> dict[str, Number]:
    if not isinstance(values, dict) or len(values) > MAX_NODES:
        raise ValueError("'hyperparameters' is not an object")
    for name in values:
        if (
            not name.isidentifier()
            or len(name) > MAX_NAME
            or any(name in names for names in declared.values())
        ):
            raise ValueError(
                f"{_repr.repr(name)} cannot name a hyper-parameter; a Python name of its own can"
            )
    return {name: checked_number(name, value) for name, value in values.items()}


def checked_kernels(kernels: Any, parameters: Mapping[str, Dims]) -> dict[str, tuple[str, float]]:
    """Return how kernels begin, checked; ValueError, naming the kernel, for what none can begin with."""
    if not isinstance(kernels, Mapping):
        raise ValueError("'kernels' is not an object")
    found = {}
    for name, begin in kernels.items():
        if parameters.get(name) not in (KERNEL, RECURRENT_KERNEL):
            raise ValueError(f"'kernels' names {_repr.repr(name)}, which is not a kernel")
        if not isinstance(begin, (list, tuple)) or len(begin) != 2 or begin[0] not in ("identity", "normal"):
            raise ValueError(
                f"'kernels' begins {name!r} with {_repr.repr(begin)}, "
                "expected 'identity' or 'normal' and a number"
            )
        kind, number = begin[0], _initial(name, begin[1])
        if kind == "identity" and parameters[name] != RECURRENT_KERNEL:
            raise ValueError(
                f"'kernels' begins {name!r} as the identity, but only a recurrent kernel is square"
            )
        if kind == "normal" and number < 0:
            raise ValueError(
                f"'kernels' begins {name!r} with the standard deviation {number:g}; it is negative"
            )
        found[name] = (kind, number)
    return found


def _initial(name: str, value: Any) -> float:
    try:
        number = _number(value)
    except ValueError as error:
        raise ValueError(f"the initial value of {_repr.repr(name)}: {error}") from None
    if not math.isfinite(number):
        raise ValueError(f"the initial value of {_repr.repr(name)}: {value} is not finite")
    return number


def _number(value: Any) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise ValueError(f"{_repr.repr(value)} is not a number")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{_repr.repr(value)} is outside the range of a float") from None


class _Nodes:
    """The nodes read so far; `declared`: the axes of the states and parameters that leaves may name."""

    def __init__(self, declared: Mapping[str, Mapping[str, Dims]]) -> None:
        self.declared = declared
        self._nodes: list[Node] = []

    def earlier(self, index: Any) -> Node:
        """Return the node of an index; only nodes before this one can be named, so there is no cycle."""
        if type(index) is not int or not 0 <= index < len(self._nodes):
            raise ValueError(f"there is no earlier node {_repr.repr(index)}")
        return self._nodes[index]

    def read(self, entry: Any) -> None:
        """Read one more node: [operation, [inputs]] or [leaf, [attributes], [axes]]."""
        try:
            if not isinstance(entry, list) or len(entry) not in (2, 3):
                raise ValueError("it is not a list [operation, inputs] or [leaf, attributes, axes]")
            if not isinstance(entry[0], str) or not all(isinstance(part, list) for part in entry[1:]):
                raise ValueError("it is not a list [operation, inputs] or [leaf, attributes, axes]")
            found = self._operation(*entry) if len(entry) == 2 else self._leaf(*entry)
        except ValueError as error:
            raise ValueError(f"node {len(self._nodes)}: {error}") from None
        self._nodes.append(found)

    def _operation(self, op: str, indices: list[Any]) -> Node:
        if op not in TABLE:
            raise ValueError(f"the operation {_repr.repr(op)} is unknown")
        if len(indices) != TABLE[op].arity:
            raise ValueError(f"{op} takes {TABLE[op].arity} inputs, not {len(indices)}")
        inputs = [self.earlier(index) for index in indices]
        for position, i in enumerate(inputs):
            if i.dims == FEATURES and op not in PRODUCTS:
                raise ValueError(f"{op} cannot take a value with the axes (features,)")
            if i.boolean != takes_condition(op, position):
                raise ValueError(f"input {position} of {op} is {'' if i.boolean else 'not '}a comparison")
        found = apply(op, *inputs)
        if found.dims not in (SCALAR, UNITS):
            raise ValueError(f"{op} of these inputs has the axes (features,), expected (units,)")
        return found

    def _leaf(self, op: str, attributes: list[Any], axes: list[Any]) -> Node:
        if op not in _LEAF_DIMS:
            raise ValueError(f"the leaf {_repr.repr(op)} is unknown")
        dims = tuple(axes)
        if dims not in _LEAF_DIMS[op]:
            raise ValueError(f"{op} cannot have the axes {_repr.repr(axes)}")
        if len(attributes) != (op != "input"):
            raise ValueError(f"{op} cannot have the attributes {_repr.repr(attributes)}")
        if op == "input":
            return leaf(op, dims=dims)
        (value,) = attributes
        if op == "constant":
            return constant(_number(value), dims)
        if not isinstance(value, str) or len(value) > MAX_NAME or not value.isprintable():
            raise ValueError(f"{op} cannot have the name {_repr.repr(value)}")
        if op == "size" and value != "units":
            raise ValueError(f"the size of {value!r} is unknown; the size of 'units' is known")
        if op in self.declared and self.declared[op].get(value) != dims:
            raise ValueError(f"{op} {_repr.repr(value)} is not declared with the axes {axes}")
        return leaf(op, value, dims=dims)
