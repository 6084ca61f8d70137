"""A step as JSON text. A text that is read may come from anybody: every part is checked, nothing is run."""

from __future__ import annotations

import json
import math
import reprlib
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from typing import Any

from ._axes import names_in
from ._declared import is_axis
from ._dims import axes_text
from ._graph import (
    FEATURES,
    LEAVES,
    MAX_NODES,
    UNITS,
    Dims,
    Node,
    constant,
    leaf,
    topological_order,
)
from ._hyperparameters import Number, checked_number
from ._initial import checked_kernels, initial_value, number_of
from ._lookups import Lookup
from ._moves import takes_offset
from ._ops import MATRIX_PRODUCTS, PRODUCTS, TABLE, apply, takes_condition, takes_parameter

FORMAT = 1
MAX_CHARACTERS = 4_000_000
"""The longest text that is read; the text of `MAX_NODES` nodes is shorter."""
MAX_NAME = 1_000
"""The longest name, in characters."""

_ENTRIES = {"name": str, "states": list, "parameters": dict, "vectors": dict, "nodes": list, "outputs": list}
_KINDS = {str: "a string", list: "a list", dict: "an object"}
_LEAF_AXES: dict[str, tuple[int, ...]] = {
    "input": (1,),
    "state": (1, 2),
    "parameter": (0, 1, 2),
    "constant": (0, 1, 2),
    "size": (0,),
    "offset": (0, 1, 2),
    "noise": (1,),
    "row_input": (1, 2),
    "step_input": (1, 2),
}
"""The leaves that a text may hold, and how many axes each may have."""

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
    Mapping[str, Dims],
    Mapping[str, Dims],
    bool,
]
"""Name, states, parameters, outputs, vectors, kernels, hyper-parameters, axes of states, inputs with a name,
and whether the first of the states is an output alone, in the order of the fields of `Step`."""


def write(parts: StepParts, nodes: Sequence[Node]) -> str:
    """Return the JSON text of a step; `nodes` are all of its nodes, each after its inputs."""
    name, states, parameters, outputs, vectors, kernels, hyperparameters, state_dims, inputs, output = parts
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
            **({"state_dims": {key: list(dims) for key, dims in state_dims.items()}} if state_dims else {}),
            **({"inputs": {key: list(dims) for key, dims in inputs.items()}} if inputs else {}),
            **({"output": True} if output else {}),
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
    declared = _declared(data)
    states, parameters, inputs = tuple(declared["state"]), declared["parameter"], declared["input"]
    nodes = _Nodes(declared)
    for entry in data["nodes"]:
        nodes.read(entry)
    outputs = _outputs(data["outputs"], list(declared["state"].values()), nodes)
    read = topological_order(outputs)
    used = {(n.op, str(n.attributes[0])) for n in read if n.op in ("parameter", "input") and n.attributes}
    rows = [row for op, name in used if op == "input" and (row := _row(name, inputs))]
    also = sorted(row.table for row in rows if ("parameter", row.table) in used)
    if also:
        raise ValueError(f"the parameter {_repr.repr(also[0])} is a table, and is used otherwise")
    used |= {("parameter", row.table) for row in rows} | {("input", row.integer) for row in rows}
    for role, names in (("parameter", parameters), ("input", inputs)):
        unused = {name for name in names if (role, name) not in used}
        if unused:
            raise ValueError(f"the {role} {_repr.repr(min(unused))} is never used")
    beside = [(str(i.attributes[0]), n.op in PRODUCTS) for n in read for i in n.inputs if i.op == "parameter"]
    products = {name for name, product in beside if product}
    both = [name for name, product in beside if not product and name in products]
    if both:
        raise ValueError(f"the parameter {_repr.repr(both[0])} stands before an @, and is used elementwise")
    output = data.get("output", False)
    if not isinstance(output, bool):
        raise ValueError("'output' is not true or false")
    if output and (len(states) < 2 or any(n.op == "state" and n.attributes[0] == states[0] for n in read)):
        raise ValueError("an output that is no state cannot be read, and stands before at least one state")
    vectors, kernels = (
        _vectors(data["vectors"], parameters.keys() - products),
        checked_kernels(data.get("kernels", {}), parameters),
    )
    hyperparameters = _hyperparameters(data.get("hyperparameters", {}), declared)
    own = {state: dims for state, dims in declared["state"].items() if dims != UNITS}
    initial = vectors, kernels, hyperparameters
    return data["name"], states, parameters, outputs, *initial, own, inputs, output


def _declared(data: dict[str, Any]) -> dict[str, dict[str, Dims]]:
    """The axes of the states, parameters and inputs by their names."""
    axes = {entry: data.get(entry, {}) for entry in ("parameters", "state_dims", "inputs")}
    for entry, found in axes.items():
        if not isinstance(found, dict) or len(found) > MAX_NODES:
            raise ValueError(f"{entry!r} is not an object of at most {MAX_NODES:,} entries")
    names = [*data["states"], *axes["parameters"], *axes["inputs"]]
    for name in names:
        row = isinstance(name, str) and name in axes["inputs"] and Lookup.read(name) is not None
        if not isinstance(name, str) or not (name.isidentifier() or row) or len(name) > MAX_NAME:
            raise ValueError(f"{_repr.repr(name)} cannot name a state or parameter; a Python name can")
    if len(set(names)) < len(names):
        raise ValueError("two states or parameters have the same name")
    unknown = axes["state_dims"].keys() - set(data["states"])
    if unknown:
        raise ValueError(f"'state_dims' names {_repr.repr(min(unknown))}, which is no state")

    def checked(kind: str, of: dict[str, Any]) -> dict[str, Dims]:
        return {name: _axes(f"{kind} {_repr.repr(name)}", kind, dims) for name, dims in of.items()}

    states = dict.fromkeys(data["states"], UNITS) | checked("state", axes["state_dims"])
    return {
        "state": states,
        "parameter": checked("parameter", axes["parameters"]),
        "input": {
            name: () if dims == [] else _axes(f"input {_repr.repr(name)}", "input", dims)
            for name, dims in axes["inputs"].items()
        },
    }


def _row(name: str, inputs: Mapping[str, Dims]) -> Lookup | None:
    """The row of a table that an input is, None for an input of its own."""
    return None if name in inputs else Lookup.read(name)


def _axes(what: str, kind: str, axes: Any) -> Dims:
    """Checked axes of a leaf of some kind."""
    fits = isinstance(axes, list) and len(axes) in _LEAF_AXES[kind]
    if not fits or not all(isinstance(a, str) and len(a) <= MAX_NAME and is_axis(a) for a in axes):
        raise ValueError(f"{what} cannot have the axes {_repr.repr(axes)}")
    return tuple(axes)


def _outputs(indices: list[Any], states: list[Dims], nodes: _Nodes) -> tuple[Node, ...]:
    if not len(indices) == len(states) > 0:
        raise ValueError("it needs as many outputs as states, and at least one")
    outputs = tuple(nodes.earlier(index) for index in indices)
    for output, dims in zip(outputs, states, strict=True):
        if output.dims != dims or output.boolean:
            raise ValueError(f"an output does not have the axes {axes_text(dims)}")
    return outputs


def _vectors(vectors: dict[str, Any], elementwise: Set[str]) -> dict[str, float]:
    found = {}
    for name, value in vectors.items():
        if name not in elementwise:
            raise ValueError(f"'vectors' names {_repr.repr(name)}, which is not a vector or scalar parameter")
        found[name] = initial_value(name, value)
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


def _noise(attributes: list[Any], dims: Dims) -> Node:
    if len(attributes) != 3 or attributes[0] not in ("dropout", "normal") or type(attributes[2]) is not int:
        raise ValueError(f"noise cannot have the attributes {_repr.repr(attributes)}")
    kind, value, number = attributes[0], number_of(attributes[1]), attributes[2]
    if not 0.0 <= value < (1.0 if kind == "dropout" else math.inf) or not 0 <= number < MAX_NODES:
        raise ValueError(f"noise cannot have the attributes {_repr.repr(attributes)}")
    return leaf("noise", kind, value, number, dims=dims)


class _Nodes:
    """The nodes read so far; `declared`: the axes of the states and parameters that leaves may name."""

    def __init__(self, declared: Mapping[str, Mapping[str, Dims]]) -> None:
        self.declared = declared
        self._nodes: list[Node] = []
        self._named: dict[tuple[str, str], Node] = {}

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
            if i.op == "input" and not i.attributes and op != "matmul":
                raise ValueError(f"{op} cannot take a value with the axes (features,)")
            is_matrix = i.op == "parameter" and len(i.dims) == 2
            if is_matrix != takes_parameter(op, position) and (not is_matrix or op in MATRIX_PRODUCTS):
                given = "a value" if is_matrix else "a parameter with two axes"
                raise ValueError(f"input {position} of {op} must be {given}")
            if (i.op == "offset") != takes_offset(op, position):
                raise ValueError(f"input {position} of {op} is {'' if i.op == 'offset' else 'not '}an offset")
            if i.boolean != takes_condition(op, position):
                raise ValueError(f"input {position} of {op} is {'' if i.boolean else 'not '}a comparison")
        return apply(op, *inputs)

    def _leaf(self, op: str, attributes: list[Any], axes: list[Any]) -> Node:
        if op not in _LEAF_AXES:
            raise ValueError(f"the leaf {_repr.repr(op)} is unknown")
        dims = _axes(op, op, axes)
        if op == "noise":
            found = _noise(attributes, dims)
            return self._one((op, f"{attributes[0]}.{attributes[2]}"), found)
        if len(attributes) != 1 and (op != "input" or attributes):
            raise ValueError(f"{op} cannot have the attributes {_repr.repr(attributes)}")
        if not attributes:
            if dims != FEATURES:
                raise ValueError(f"the input without a name cannot have the axes {_repr.repr(axes)}")
            return leaf(op, dims=dims)
        (value,) = attributes
        if op == "constant":
            return constant(number_of(value), dims)
        if not isinstance(value, str) or len(value) > MAX_NAME or not value.isprintable():
            raise ValueError(f"{op} cannot have the name {_repr.repr(value)}")
        if op == "offset":
            names = names_in([value])  # ValueError for what is no sum
            if (not dims and names) or not all(map(is_axis, names)):
                raise ValueError(f"an offset cannot be {_repr.repr(value)}")
            return leaf(op, value, dims=dims)
        if op == "size" and not (is_axis(value) and not value.isdecimal()):
            raise ValueError(f"the size of {value!r} is unknown; an axis has a size")
        row = _row(value, self.declared["input"]) if op == "input" else None
        if row is not None:
            table = self.declared["parameter"].get(row.table, ())
            if self.declared["input"].get(row.integer) != () or not table or dims != (table[1:] or ("1",)):
                raise ValueError(f"{_repr.repr(value)} is no row {axes} of a parameter, by an integer input")
        elif op in self.declared and self.declared[op].get(value) != dims:
            raise ValueError(f"{op} {_repr.repr(value)} is not declared with the axes {axes}")
        return self._one((op, value), leaf(op, value, dims=dims))

    def _one(self, name: tuple[str, str], found: Node) -> Node:
        """Return a leaf; ValueError if another one has its name: both would be read from one array."""
        if self._named.setdefault(name, found) is not found:
            told = f"{name[0]} {_repr.repr(name[1])}"
            raise ValueError(f"{told} has other axes, or another value, than before")
        return found
