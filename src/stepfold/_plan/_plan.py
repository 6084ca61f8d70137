"""The plan of a step: what leaves the time loop, the residuals, what is computed in which stage, which sums
remain."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from .._gradient import Backward, backward
from .._graph import SCALAR, UNITS, Node, constant, topological_order
from .._step import Step
from .._transform import scalars_as_vectors
from ._lower import Lowering, Place, Projection, at
from ._residuals import residuals
from ._stages import Arrangement, arrange


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

    Kinds of places, all (rows, slots, units) unless said: `state` the states before, `new` after;
    `projection` what left the loop; `residual` and `residual_scalar` (per-row scalars) for the backward pass;
    `scratch` and `scalar` (per-row scalars) between stages; `vector` parameters (slots, units); `row_input`,
    `step_input` a layer's extras; in the backward pass `cotangent` of the new states, `passed` to the states
    before, `delta` what is multiplied with operands into matrix gradients, `operand` operands recomputed,
    `vector_gradient` (slots, units) sums over rows and timesteps.

    The first `input_deltas` deltas belong to the input's kernels: `projection_deltas` gives each
    projection's."""

    step: Step
    projections: tuple[Projection, ...]
    vectors: tuple[str, ...]
    residuals: tuple[Node, ...]
    residual_units: int
    residual_scalars: int
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

    @property
    def states(self) -> int:
        """How many states."""
        return len(self.step.states)


@functools.lru_cache(maxsize=256)
def plan(step: Step) -> Plan:
    """Make the plan of a step; the kernels read a scalar parameter as a vector of equal elements."""
    given = step
    if step.axes != UNITS or step.inputs:
        raise NotImplementedError(f"{step.name}: kernels compute values with the axis units alone, as yet")
    step, new_of = scalars_as_vectors(given)
    derived = backward(step)
    saved = residuals(step, derived)
    lowering = Lowering(_leaves(step), [*step.outputs, *saved], step.nodes)
    new = [(lowering.lower(n), Place("new", s)) for s, n in enumerate(step.outputs)]
    places: dict[Node, Place] = {}
    units = scalars = 0
    for n in saved:
        if n.dims == SCALAR:
            places[n], scalars = Place("residual_scalar", scalars), scalars + 1
        else:
            places[n], units = Place("residual", units), units + 1
    saving = [(lowering.lower(n), places[n]) for n in saved]
    return Plan(
        step=step,
        projections=lowering.projections,
        vectors=lowering.vectors,
        residuals=tuple(n for n in given.nodes if new_of[id(n)] in places),
        residual_units=units,
        residual_scalars=scalars,
        inference=arrange(new),
        training=arrange([*new, *saving]),
        row_inputs=tuple(step.leaves("row_input")),
        step_inputs=tuple(step.leaves("step_input")),
        **_backward_part(step, derived, places, lowering),
    )


def _leaves(step: Step) -> dict[Node, Node]:
    """The step's leaves as places."""
    known: dict[Node, Node] = {}
    names = {
        "row_input": step.leaves("row_input"),
        "step_input": step.leaves("step_input"),
        "state": list(step.states),
    }
    for n in step.nodes:
        if n.op in names:
            known[n] = at(n.op, names[n.op].index(str(n.attributes[0])))
    return known


def _backward_part(
    step: Step, derived: Backward, places: dict[Node, Place], forward: Lowering
) -> dict[str, Any]:
    """What the plan says of the backward pass."""
    known = _leaves(step)
    for s, n in enumerate(step.outputs):
        if n.inputs:
            known[n] = at("new", s)
    for n in step.nodes:
        if n in places and n not in known:
            known[n] = at(places[n].kind, places[n].slot, n.dims)
    for n in derived.nodes:
        if n.op == "cotangent":
            known[n] = at("cotangent", step.states.index(str(n.attributes[0])))
    pairs = [(name, left, right) for name, terms in derived.matrices.items() for left, right in terms]
    ends = [*derived.states, *derived.vectors.values(), *(n for _, *both in pairs for n in both)]
    # a product with the input's cotangent happens after the loop, so it does not count as a use
    nodes = topological_order(n for n in ends if n is not None)
    lowering = Lowering(known, [n for n in ends if n is not None], nodes)

    deltas: dict[Node, int] = {}
    operands: dict[Node, int] = {}

    def slot(n: Node, slots: dict[Node, int]) -> int:
        return slots.setdefault(n, len(slots))

    ordered = sorted(pairs, key=lambda pair: pair[2].op != "input")
    outers = []
    for name, left, right in ordered:
        delta = slot(lowering.lower(left), deltas)
        if right.op == "input":
            place = Place("input", 0)
        else:
            operand = lowering.lower(right)
            readable = operand.op == "place" and operand.attributes[0] in ("state", "residual")
            place = (
                Place(str(operand.attributes[0]), int(operand.attributes[1]))
                if readable
                else Place("operand", slot(operand, operands))
            )
        outers.append(Outer(name, delta, place))
    by_kernel = {o.matrix: o.delta for o in outers if o.operand.kind == "input"}

    targets = [(n, Place("delta", k)) for n, k in deltas.items()]
    targets += [(n, Place("operand", k)) for n, k in operands.items()]
    column_sums: list[tuple[str, int]] = []
    accumulated: list[str] = []
    for name, n in derived.vectors.items():
        low = lowering.lower(n)
        if low in deltas:
            column_sums.append((name, deltas[low]))
        else:
            targets.append((low, Place("vector_gradient", len(accumulated))))
            accumulated.append(name)
    for s, passed in enumerate(derived.states):
        value = constant(0.0, UNITS) if passed is None else lowering.lower(passed)
        targets.append((value, Place("passed", s)))
    return {
        "backward_vectors": lowering.vectors,
        "backward": arrange(targets),
        "deltas": len(deltas),
        "input_deltas": len(set(by_kernel.values())),
        "projection_deltas": tuple(by_kernel.get(p.kernels[0]) for p in forward.projections),
        "operands": len(operands),
        "outers": tuple(outers),
        "column_sums": tuple(column_sums),
        "vector_gradients": tuple(accumulated),
    }
