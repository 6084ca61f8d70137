"""A cell's step as data: its states, its parameters and their axes, its graph."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from . import _step_json
from ._graph import MAX_NODES, Dims, Node, topological_order
from ._hyperparameters import Number


@dataclass(frozen=True, eq=False)
class Step:
    """One timestep: `states` in order, `parameters` (name → axes), `outputs` (the new states).

    `vectors` gives the initial values of vector parameters (0 for those not named), `kernels` how kernels
    begin that are not named by default: ("identity", its multiple) or ("normal", the standard deviation).
    `hyperparameters` are the numbers that were fixed when the graph was made, in which they are constants.
    ValueError for a graph of more than `MAX_NODES` nodes.
    """

    name: str
    states: tuple[str, ...]
    parameters: Mapping[str, Dims]
    outputs: tuple[Node, ...]
    vectors: Mapping[str, float] = field(default_factory=dict)
    kernels: Mapping[str, tuple[str, float]] = field(default_factory=dict)
    hyperparameters: Mapping[str, Number] = field(default_factory=dict)

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

    def leaves(self, op: str) -> list[str]:
        """Return the names of the leaves of one kind, in the order of their first use."""
        return [str(n.attributes[0]) for n in self.nodes if n.op == op]

    def parameter_shapes(self, *, features: int, units: int) -> dict[str, tuple[int, ...]]:
        """Return each parameter's name and shape."""
        for name, size in (("features", features), ("units", units)):
            if not isinstance(size, (int, np.integer)) or isinstance(size, bool) or size < 1:
                raise ValueError(f"{name} must be an integer of at least 1, not {size!r}")
        sizes = {"features": int(features), "units": int(units)}
        return {name: tuple(sizes[d] for d in dims) for name, dims in self.parameters.items()}

    def to_json(self) -> str:
        """Return the step as JSON text."""
        initial = self.vectors, self.kernels, self.hyperparameters
        return _step_json.write((self.name, self.states, self.parameters, self.outputs, *initial), self.nodes)

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
