"""A cell's step as data: its states, its parameters and their axes, its graph."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from . import _step_json
from ._axes import learn, names_in
from ._dims import count_of, known_size, size_of
from ._graph import FEATURES, MAX_NODES, SCALAR, UNITS, Dims, Node, leaf, topological_order
from ._hyperparameters import Number
from ._lookups import Lookup
from ._moves import WINDOWS, check_windows
from ._ops import PRODUCTS
from ._projected import kernels_of, with_input

V = TypeVar("V")


@dataclass(frozen=True, eq=False)
class Step:
    """One timestep: `states` in order, `parameters` (name → axes), `outputs` (the new states).

    `vectors` gives the initial values of vector parameters (0 for those not named), `kernels` how kernels
    begin that are not named by default: ("identity", its multiple) or ("normal", the standard deviation).
    `hyperparameters` are the numbers that were fixed when the graph was made, in which they are constants.
    `state_dims` gives the axes of states that do not have (units,); `inputs` those of the inputs with a name:
    none for an integer, which chooses rows of parameters (`lookups`) and is no value of the step itself.
    `output`: the first of `states` is none that a step reads, but its output, where that is no state.
    ValueError for a graph of more than `MAX_NODES` nodes.
    """

    name: str
    states: tuple[str, ...]
    parameters: Mapping[str, Dims]
    outputs: tuple[Node, ...]
    vectors: Mapping[str, float] = field(default_factory=dict)
    kernels: Mapping[str, tuple[str, float]] = field(default_factory=dict)
    hyperparameters: Mapping[str, Number] = field(default_factory=dict)
    state_dims: Mapping[str, Dims] = field(default_factory=dict)
    inputs: Mapping[str, Dims] = field(default_factory=dict)
    output: bool = False

    def __post_init__(self) -> None:
        if len(self.nodes) > MAX_NODES:
            raise ValueError(
                f"{self.name} has {len(self.nodes):,} nodes, more than {MAX_NODES:,}; "
                "write the step with fewer operations"
            )

    @functools.cached_property
    def nodes(self) -> list[Node]:
        """Every node, each after its inputs."""
        return topological_order(self.outputs)

    def dims_of(self, state: str) -> Dims:
        """Return the axes of a state."""
        return self.state_dims.get(state, UNITS)

    @functools.cached_property
    def axes(self) -> tuple[str, ...]:
        """The axes whose sizes the kernels are compiled for, (units,) first; not the features of an input
        without a name, which only stands behind kernels."""
        found = {axis for n in self.nodes if self._is_computed(n) for axis in n.dims}
        found.update(axis for state in self.states for axis in self.dims_of(state))
        return tuple(sorted(found, key=lambda axis: (axis not in UNITS, axis)))

    @functools.cached_property
    def own_axes(self) -> tuple[str, ...]:
        """The axes whose sizes are given, from which those of all `axes` follow, units first."""
        offsets = [str(n.attributes[0]) for n in self.nodes if n.op == "offset"]
        tables = [axis for each in self.lookups for axis in self.parameters[each.table]]
        return tuple(names_in([*self.axes, *offsets, *tables]))

    @functools.cached_property
    def _windows(self) -> list[Node]:
        return [n for n in self.nodes if n.op in WINDOWS]

    def _is_computed(self, n: Node) -> bool:
        """Whether a node's axes are those of a value that kernels compute or read element by element."""
        if n.op == "parameter":
            return str(n.attributes[0]) not in self.matrices
        return n.op != "input" or bool(n.attributes)

    @functools.cached_property
    def matrices(self) -> frozenset[str]:
        """The parameters that stand before an @; all others, matrices too, are used element by element."""
        return frozenset(str(n.inputs[0].attributes[0]) for n in self.nodes if n.op in PRODUCTS)

    @property
    def uniform(self) -> bool:
        """Whether all values are vectors of units or scalars, and the only input is that without a name."""
        plain = not (self.state_dims or self.inputs or self.output)
        return plain and self.axes in ((), UNITS)

    @functools.cached_property
    def takes_features(self) -> bool:
        """Whether there is an input without a name, (features,), which only stands behind kernels."""
        return not self.inputs or any(n.op == "input" and not n.attributes for n in self.nodes)

    @functools.cached_property
    def integers(self) -> tuple[str, ...]:
        """The inputs that are integers."""
        return tuple(name for name, dims in self.inputs.items() if dims == SCALAR)

    @functools.cached_property
    def lookups(self) -> tuple[Lookup, ...]:
        """The rows of parameters that integers choose, `E[word]`, in the order of these inputs, and of the
        parameters."""
        if not self.integers:
            return ()
        leaves = (n for n in self.nodes if n.op == "input" and n.attributes)
        found = (Lookup.read(str(n.attributes[0])) for n in leaves)
        rows = [each for each in found if each is not None and each.name not in self.inputs]
        order = {name: k for k, name in enumerate((*self.inputs, *self.parameters))}
        return tuple(sorted(rows, key=lambda row: (order[row.integer], order[row.table])))

    @functools.cached_property
    def tables(self) -> frozenset[str]:
        """The parameters whose rows are chosen."""
        return frozenset(each.table for each in self.lookups)

    @functools.cached_property
    def gathered(self) -> Step:
        """The step whose inputs are the rows that integers choose, in the place of these, and which has no
        tables. The graph is the same; without integers it is the step itself."""
        if not self.integers:
            return self
        inputs: dict[str, Dims] = {}
        for name, dims in self.inputs.items():
            rows = {e.name: self.parameters[e.table][1:] or ("1",) for e in self.lookups if e.integer == name}
            inputs |= {name: dims} if name not in self.integers else rows
        return replace(
            self,
            parameters=self._without_tables(self.parameters),
            vectors=self._without_tables(self.vectors),
            kernels=self._without_tables(self.kernels),
            inputs=inputs,
        )

    def _without_tables(self, of: Mapping[str, V]) -> dict[str, V]:
        return {name: value for name, value in of.items() if name not in self.tables}

    @functools.cached_property
    def _behind_kernels(self) -> tuple[Lookup, list[str]] | None:
        """The row that is the input without a name of the step that is scanned, and its kernels."""
        gathered, tables = self.gathered, [row.table for row in self.lookups]
        if gathered.takes_features:
            return None
        for row in self.lookups:
            if tables.count(row.table) > 1 or len(self.parameters[row.table]) < 2:
                continue
            value = leaf("input", row.name, dims=gathered.inputs[row.name])
            kernels = kernels_of(value, self.nodes, self.outputs, self.state_dims.values())
            if kernels:
                return row, kernels
        return None

    @property
    def projected(self) -> Lookup | None:
        """The row that only stands behind kernels, so that it is the input without a name of `scanned`."""
        return self._behind_kernels[0] if self._behind_kernels else None

    @functools.cached_property
    def scanned(self) -> Step:
        """What kernels compute: the gathered step, in which a row that only stands behind kernels is the
        input without a name, since its products are computed for many timesteps at once."""
        gathered = self.gathered
        if self._behind_kernels is None:
            return gathered
        row, kernels = self._behind_kernels
        value = leaf("input", row.name, dims=gathered.inputs[row.name])
        own = {name: (gathered.parameters[name][0], *FEATURES) for name in kernels}
        return replace(
            gathered,
            parameters={name: own.get(name, dims) for name, dims in gathered.parameters.items()},
            inputs={name: dims for name, dims in gathered.inputs.items() if name != row.name},
            outputs=with_input(value, gathered.nodes, gathered.outputs, own),
        )

    def scanned_sizes(self, sizes: Mapping[str, int]) -> dict[str, int]:
        """Return the sizes of the axes of `scanned`, those of others left out that only tables have."""
        if not self.integers:
            return dict(sizes)
        own, row = set(self.scanned.own_axes), self.projected
        found = {axis: size for axis, size in sizes.items() if axis in own or axis not in self.own_axes}
        if row is not None:
            (axis,) = self.gathered.inputs[row.name]
            found["features"] = sizes[axis]
        return found

    @property
    def input_names(self) -> list[str]:
        """The names of the inputs; that without a name is called x."""
        return ["x"] * self.takes_features + list(self.inputs)

    def columns(self, width: int, sizes: Mapping[str, int]) -> dict[str, slice]:
        """Return where each input lies among `width` elements where all stand side by side, in the step's
        order, by their names: "" for that without one, which has what the others leave."""
        counts = {name: count_of(dims, sizes) for name, dims in self.inputs.items()}
        own = {"": width - sum(counts.values())} if self.takes_features else {}
        found, begin = {}, 0
        for name, count in (own | counts).items():
            found[name] = slice(begin, begin + count)
            begin += count
        return found

    def sizes(self, units: int, **others: int) -> dict[str, int]:
        """Return the size of every axis of `axes` and `own_axes`; ValueError if one is missing, unknown or no
        size, or a part of a vector does not lie in it."""
        needed = self.own_axes
        given = {"units": units, **others}
        missing = [axis for axis in needed if axis not in given]
        if missing:
            cure = ", ".join(f"{axis}=…" for axis in missing)
            raise ValueError(f"{self.name} needs the size of {', '.join(missing)}; give {cure}")
        unknown = [axis for axis in others if axis not in (*needed, "features")]
        if unknown:
            own = ", ".join(axis for axis in needed if axis != "units") or "no axes besides units"
            raise ValueError(f"{self.name} has no axis {', '.join(unknown)}; it has {own}")
        for axis, size in given.items():
            if not isinstance(size, (int, np.integer)) or isinstance(size, bool) or size < 1:
                raise ValueError(f"{axis} must be an integer of at least 1, not {size!r}")
        try:
            found = {axis: int(size_of(axis, given)) for axis in dict.fromkeys((*self.axes, *needed))}
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from None
        check_windows(self.name, self._windows, given)
        return found

    def learn(self, values: Iterable[tuple[Dims, tuple[int, ...]]], sizes: dict[str, int]) -> None:
        """Add to `sizes` what follows from the shapes of values, and from axes that are equal."""
        learn(values, sizes)
        for n in self._windows:
            if n.op == "rename":
                one, other = n.dims[:1], n.inputs[0].dims[:1]
                known = [(to, known_size(of[0], sizes)) for to, of in ((one, other), (other, one))]
                learn([(dims, (size,)) for dims, size in known if size > 0], sizes)

    def leaves(self, op: str) -> list[str]:
        """Return the names of the leaves of one kind, in the order of their first use."""
        return [str(n.attributes[0]) for n in self.nodes if n.op == op and n.attributes]

    def parameter_shapes(self, *, features: int, units: int, **others: int) -> dict[str, tuple[int, ...]]:
        """Return each parameter's name and shape; `others`: the sizes of further axes."""
        sizes = {
            **self.sizes(units, features=features, **others),
            "features": int(features),
            "units": int(units),
        }
        return {name: tuple(size_of(d, sizes) for d in dims) for name, dims in self.parameters.items()}

    def to_json(self) -> str:
        """Return the step as JSON text."""
        initial = self.vectors, self.kernels, self.hyperparameters
        values = self.state_dims, self.inputs, self.output
        parts = self.name, self.states, self.parameters, self.outputs, *initial, *values
        return _step_json.write(parts, self.nodes)

    @classmethod
    def from_json(cls, text: str) -> Step:
        """Return the step that `to_json` wrote; ValueError, naming what is wrong, for any other text."""
        return cls(*_step_json.read(text))

    @functools.cached_property
    def key(self) -> str:
        """A hash of the maths alone: two steps with the same key compute the same."""
        maths = json.loads(self.to_json())
        for other in ("name", "vectors", "kernels", "hyperparameters"):
            maths.pop(other, None)
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
