"""Values made of parameters alone: they are the same at every timestep, so they are computed once.

Those that cost something (functions, quotients, sums, elements that change places) are taken out of the step,
which reads them as if they were parameters. Their gradients are summed over rows and timesteps as those of
parameters are, and go through the operations that made them once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from .._graph import SCALAR, Node, constant, leaf, topological_order
from .._moves import MOVES
from .._ops import TABLE, spread, sum_over_units
from .._step import Step
from .._transform import rebuilt
from ._lower import ONE, is_one_element


@dataclass(frozen=True)
class Hoisted:
    """A step whose values of parameters alone were taken out.

    `step` reads them as parameters of these `names`; `made` is a step whose new states they are, in that
    order, None if there are none. `values` are they as nodes of the step that was given, `new_of` the new
    node of every node of that step that is still there, by its id.
    """

    step: Step
    names: tuple[str, ...]
    made: Step | None
    values: tuple[Node, ...]
    new_of: Mapping[int, Node]

    def leaves(self) -> list[Node]:
        """The leaves that stand for the values, in their order."""
        return [leaf("parameter", name, dims=self.step.parameters[name]) for name in self.names]


def hoisted(step: Step) -> Hoisted:
    """Take what is made of parameters alone out of a step."""
    values = _values(step)
    if not values:
        return Hoisted(step, (), None, (), {id(n): n for n in step.nodes})
    names = tuple(f"hoisted {k}" for k in range(len(values)))
    dims = {name: n.dims or ONE for name, n in zip(names, values, strict=True)}
    known: dict[int, Node] = {}
    for name, n in zip(names, values, strict=True):
        found = leaf("parameter", name, dims=dims[name])
        known[id(n)] = found if n.dims != SCALAR else sum_over_units(found)
    new = rebuilt(step, known)
    outputs = tuple(new[id(output)] for output in step.outputs)
    made = tuple(n if n.dims != SCALAR else spread(n, constant(1.0, ONE)) for n in values)
    read = _parameters(outputs)
    kept = {name: axes for name, axes in step.parameters.items() if name in read}
    used = _parameters(made)
    prelude = Step(
        f"what {step.name} makes of its parameters",
        names,
        {name: axes for name, axes in step.parameters.items() if name in used},
        made,
        state_dims=dims,
    )
    return Hoisted(replace(step, parameters=kept | dims, outputs=outputs), names, prelude, values, new)


def _parameters(outputs: tuple[Node, ...]) -> set[str]:
    return {str(n.attributes[0]) for n in topological_order(outputs) if n.op == "parameter"}


def _values(step: Step) -> tuple[Node, ...]:
    """The largest values that are made of parameters alone and cost something, in the step's order."""
    costs: dict[int, bool] = {}  # of every value made of parameters, constants and sizes alone
    parameters: set[int] = set()  # of these, the ones that need a parameter
    for n in step.nodes:
        if n.op == "parameter" and str(n.attributes[0]) not in step.matrices:
            costs[id(n)] = False
            parameters.add(id(n))
        elif n.op in ("constant", "size", "offset"):
            costs[id(n)] = False
        elif n.inputs and all(id(i) in costs for i in n.inputs):
            own = TABLE[n.op].save or n.op == "divide" or n.op in MOVES
            costs[id(n)] = (own and not is_one_element(n)) or any(costs[id(i)] for i in n.inputs)
            if any(id(i) in parameters for i in n.inputs):
                parameters.add(id(n))
    found: set[int] = set()
    waiting, seen = list(step.outputs), set()
    while waiting:
        n = waiting.pop()
        if id(n) in seen:
            continue
        seen.add(id(n))
        if costs.get(id(n)) and id(n) in parameters and not n.boolean:
            found.add(id(n))
        else:
            waiting.extend(n.inputs)
    return tuple(n for n in step.nodes if id(n) in found)
