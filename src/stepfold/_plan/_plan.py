"""The plan of a step: what leaves the time loop, the residuals, what is computed in which stage, which sums
remain."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .._gradient import Backward, backward, cotangent
from .._graph import SCALAR, Dims, Node, constant, topological_order
from .._noise import quiet
from .._ops import apply
from .._step import Step
from .._transform import scalars_as_vectors
from ._contractions import contracted, recomputable, unfolded
from ._hoisted import Hoisted, hoisted
from ._in_place import constants_last, in_place
from ._lower import Lowering, Place, Projection, at, is_projected
from ._residuals import residuals
from ._stages import Arrangement, Slots, arrange

MOST_INPUTS = 16
"""How many inputs with a name a step may have."""


@dataclass(frozen=True)
class Outer:
    """A matrix gradient that remains after the step: the sum of outer products delta ⊗ operand over rows and
    timesteps."""

    matrix: str
    delta: int
    operand: Place


@dataclass(frozen=True)
class Plan:
    """Everything that the compiler and `scan` must know of a step.

    Kinds of places, each with slots of their own axes for every row unless said: `state` the states before,
    `new` after; `projection` what left the loop; `residual` and `residual_scalar` (per-row scalars) for the
    backward pass; `scratch` and `scalar` (per-row scalars) between stages; `vector` parameters and `hoisted`
    what is made of them alone, the same for all rows; `named_input` the inputs with a name; `row_input`,
    `step_input` a layer's extras; in the backward pass `cotangent` of the new states, `passed` to the states
    before, `input_gradient` those of inputs with a name, `delta` what is multiplied with operands into matrix
    gradients, `operand` operands recomputed, `vector_gradient` sums over rows and timesteps. An arrangement's
    `slots` give the axes of all of them.

    The first `input_deltas` deltas belong to the input's kernels: `projection_deltas` gives each
    projection's. `hoisted`: the values made of parameters alone. Before the first timestep `hoisting`
    computes them, in the backward pass `backward_hoisting`; their gradients are the first of the
    `vector_gradient` slots, and at the end `hoisted_gradients` brings them to the parameters. None if there
    are none."""

    step: Step
    projections: tuple[Projection, ...]
    vectors: tuple[str, ...]
    residuals: tuple[Node, ...]
    inference: Arrangement
    training: Arrangement
    backward_vectors: tuple[str, ...]
    backward: Arrangement
    deltas: int
    input_deltas: int
    projection_deltas: tuple[int | None, ...]
    operands: int
    outers: tuple[Outer, ...]
    column_sums: tuple[tuple[str, int], ...]
    vector_gradients: tuple[str, ...]
    row_inputs: tuple[str, ...]
    step_inputs: tuple[str, ...]
    input_gradients: tuple[str, ...]
    hoisted: tuple[Node, ...]
    hoisting: Arrangement | None
    backward_hoisting: Arrangement | None
    hoisted_gradients: Arrangement | None

    @property
    def states(self) -> int:
        """How many states."""
        return len(self.step.states)

    @property
    def has_matrices(self) -> bool:
        """Whether one of the states is a matrix."""
        return any(len(dims) == 2 for dims in self.inference.slots["state"])

    @functools.cached_property
    def infers_in_place(self) -> bool:
        """Whether states of which a matrix is one may lie after a timestep where they lay before it."""
        return self.has_matrices and in_place(self.inference, "state", "new")

    @functools.cached_property
    def passes_in_place(self) -> bool:
        """Whether gradients of states of which a matrix is one may lie before a timestep where those after it
        lay."""
        return self.has_matrices and in_place(self.backward, "cotangent", "passed")


@functools.lru_cache(maxsize=256)
def plan(step: Step) -> Plan:
    """Make the plan of a step; the kernels read a scalar parameter as a vector of equal elements.

    NotImplementedError for what no kernel computes."""
    given = step = quiet(step.gathered)
    if any(len(n.dims) > 2 for n in step.nodes):
        raise NotImplementedError(f"{step.name}: kernels compute values of at most two axes")
    if len(step.inputs) > MOST_INPUTS:
        raise NotImplementedError(
            f"{step.name} has {len(step.inputs)} inputs with a name, at most {MOST_INPUTS}"
        )
    whole, vector_of = scalars_as_vectors(given)
    taken = hoisted(whole)
    step = taken.step
    derived = backward(step)
    saved = residuals(step, derived)
    lowering = Lowering(_leaves(taken), [*step.outputs, *saved], step.nodes)
    new = [(lowering.lower(n), Place("new", s)) for s, n in enumerate(step.outputs)]
    slots: dict[str, list[Dims]] = {"residual": [], "residual_scalar": []}
    places: dict[Node, Place] = {}
    for n in saved:
        kind = "residual_scalar" if n.dims == SCALAR else "residual"
        places[n] = Place(kind, len(slots[kind]))
        slots[kind].append(n.dims)
    saving = [(lowering.lower(n), places[n]) for n in saved]
    if any(len(dims) == 2 for dims in map(step.dims_of, step.states)):
        new, both = contracted(new), contracted([*new, *saving])
    else:
        both = [*new, *saving]
    made = _made(taken, lowering)
    held = _held(taken) | {kind: tuple(dims) for kind, dims in slots.items()}
    own = held | {
        "projection": tuple(p.dims for p in lowering.projections),
        "vector": tuple(whole.parameters[name] for name in lowering.vectors),
    }
    new_of = {key: taken.new_of.get(id(n)) for key, n in vector_of.items()}
    values = set(map(id, taken.values))
    return Plan(
        step=whole,
        projections=lowering.projections,
        vectors=lowering.vectors,
        residuals=tuple(n for n in given.nodes if new_of[id(n)] in places),
        inference=arrange(new, own),
        training=arrange(both, own),
        row_inputs=tuple(step.leaves("row_input")),
        step_inputs=tuple(step.leaves("step_input")),
        hoisted=tuple(n for n in given.nodes if id(vector_of[id(n)]) in values),
        hoisting=arrange(made, own) if made else None,
        **_backward_part(whole, taken, derived, places, lowering, held),
    )


def _made(taken: Hoisted, lowering: Lowering) -> list[tuple[Node, Place]]:
    """The values made of parameters alone, and where they go."""
    values = () if taken.made is None else taken.made.outputs
    return [(lowering.lower(n), Place("hoisted", k)) for k, n in enumerate(values)]


def _held(taken: Hoisted) -> dict[str, tuple[Dims, ...]]:
    """The axes of what both passes find in memory."""
    step = taken.step
    states = tuple(map(step.dims_of, step.states))
    extras = {kind: {str(n.attributes[0]): n.dims for n in step.nodes if n.op == kind} for kind in _EXTRAS}
    return {
        **dict.fromkeys(("state", "new"), states),
        "hoisted": tuple(n.dims for n in taken.leaves()),
        "named_input": tuple(step.inputs.values()),
        **{kind: tuple(dims.values()) for kind, dims in extras.items()},
    }


_EXTRAS = ("row_input", "step_input")
_READABLE = ("state", "residual", "named_input")
"""Operands of matrix gradients that are read where they lie."""


def _leaves(taken: Hoisted) -> dict[Node, Node]:
    """The step's leaves as places."""
    step = taken.step
    known = {n: at("hoisted", k, n.dims) for k, n in enumerate(taken.leaves())}
    names = {
        "row_input": step.leaves("row_input"),
        "step_input": step.leaves("step_input"),
        "state": list(step.states),
    }
    named = list(step.inputs)
    for n in step.nodes:
        if n.op in names:
            known[n] = at(n.op, names[n.op].index(str(n.attributes[0])), n.dims)
        elif n.op == "input" and n.attributes:
            known[n] = at("named_input", named.index(str(n.attributes[0])), n.dims)
    return known


def _backward_part(
    whole: Step,
    taken: Hoisted,
    derived: Backward,
    places: dict[Node, Place],
    forward: Lowering,
    held: Slots,
) -> dict[str, Any]:
    """What the plan says of the backward pass."""
    step, known = taken.step, _leaves(taken)
    for s, n in enumerate(step.outputs):
        if n.inputs:
            known[n] = at("new", s, n.dims)
    for n in step.nodes:
        if n in places and n not in known:
            known[n] = at(places[n].kind, places[n].slot, n.dims)
    for k, name in enumerate(taken.names):
        dims = step.parameters[name]
        known[cotangent(name, dims)] = at("vector_gradient", k, dims)
    for n in derived.nodes:
        if n.op == "cotangent":
            known[n] = at("cotangent", step.states.index(str(n.attributes[0])), n.dims)
    pairs = [(name, left, right) for name, terms in derived.matrices.items() for left, right in terms]
    named = derived.inputs
    ends = [*derived.states, *derived.vectors.values(), *(n for _, *both in pairs for n in both)]
    ends += named.values()
    # a product with the input's cotangent happens after the loop, so it does not count as a use
    nodes = topological_order(n for n in ends if n is not None)
    lowering = Lowering(known, [n for n in ends if n is not None], nodes)

    deltas: dict[Node, int] = {}
    operands: dict[Node, int] = {}

    def slot(n: Node, slots: dict[Node, int]) -> int:
        return slots.setdefault(n, len(slots))

    ordered = sorted(pairs, key=lambda pair: not is_projected(pair[2]))
    outers = []
    for name, left, right in ordered:
        delta = slot(lowering.lower(left), deltas)
        if is_projected(right):
            place = Place("input", 0)
        else:
            operand = lowering.lower(right)
            readable = operand.op == "place" and operand.attributes[0] in _READABLE
            place = (
                Place(str(operand.attributes[0]), int(operand.attributes[1]))
                if readable
                else Place("operand", slot(operand, operands))
            )
        outers.append(Outer(name, delta, place))
    by_kernel = {o.matrix: o.delta for o in outers if o.operand.kind == "input"}

    by_name = {name: lowering.lower(n) for name, n in named.items()}
    targets = [(n, Place("delta", k)) for n, k in deltas.items()]
    targets += [(n, Place("operand", k)) for n, k in operands.items()]
    column_sums: list[tuple[str, int]] = []
    accumulated = list(taken.names)
    for name, n in derived.vectors.items():
        low = lowering.lower(n)
        if name in taken.names:
            targets.append((low, Place("vector_gradient", accumulated.index(name))))
        elif low in deltas:
            column_sums.append((name, deltas[low]))
        else:
            targets.append((low, Place("vector_gradient", len(accumulated))))
            accumulated.append(name)
    targets += [(n, Place("input_gradient", k)) for k, n in enumerate(by_name.values())]
    for s, passed in enumerate(derived.states):
        value = constant(0.0, held["state"][s]) if passed is None else lowering.lower(passed)
        targets.append((value, Place("passed", s)))
    made = _made(taken, lowering)
    passed_on = [(lowering.lower(n), name) for name, n in _to_parameters(taken).items()]
    accumulated += [name for _, name in passed_on if name not in accumulated]
    last = [(n, Place("vector_gradient", accumulated.index(name))) for n, name in passed_on]
    slots: Slots = {
        **held,
        **dict.fromkeys(("cotangent", "passed"), held["state"]),
        "vector": tuple(whole.parameters[name] for name in lowering.vectors),
        "input_gradient": tuple(step.inputs[name] for name in named),
        "delta": tuple(n.dims for n in deltas),
        "operand": tuple(n.dims for n in operands),
        "vector_gradient": tuple({**whole.parameters, **step.parameters}[name] for name in accumulated),
    }
    if any(len(dims) == 2 for dims in held["state"]):
        made_of = unfolded(targets, _made_of(step, known, lowering))
        arrangement = constants_last(arrange(contracted(targets, made_of), slots), "passed")
    else:
        arrangement = arrange(targets, slots)
    return {
        "backward_vectors": lowering.vectors,
        "backward": arrangement,
        "deltas": len(deltas),
        "input_deltas": len(set(by_kernel.values())),
        "projection_deltas": tuple(by_kernel.get(p.kernels[0]) for p in forward.projections),
        "operands": len(operands),
        "outers": tuple(outers),
        "column_sums": tuple(column_sums),
        "vector_gradients": tuple(accumulated),
        "input_gradients": tuple(named),
        "backward_hoisting": arrange(made, slots) if made else None,
        "hoisted_gradients": arrange(last, slots) if made else None,
    }


def _made_of(step: Step, known: Mapping[Node, Node], lowering: Lowering) -> dict[Node, Node]:
    """The matrices after a timestep, and what each is made of, where that can be computed again."""
    return {
        known[n]: apply(n.op, *map(lowering.lower, n.inputs))
        for n in step.outputs
        if len(n.dims) == 2 and n.inputs and all(recomputable(i, known.__contains__) for i in n.inputs)
    }


def _to_parameters(taken: Hoisted) -> Mapping[str, Node]:
    """The gradient of each parameter that a hoisted value is made of, from those of the values."""
    return {} if taken.made is None else backward(taken.made).vectors
