"""The backward step as text."""

from __future__ import annotations

from .._gradient import Backward, backward
from .._graph import Node, topological_order
from .._step import Step
from ._maths import aligned, equations, explained, filled, listed
from ._names import Names, forward_names, name_shared, owners, suffixes
from ._patterns import Matcher
from ._print import Printer


def gradient(step: Step) -> str:
    """Return the equations of one timestep of the backward pass."""
    matcher = Matcher()
    back = backward(step.gathered)
    meanings = explained(matcher, step.outputs)
    names, named = forward_names(step, matcher)
    forward = set(map(id, topological_order(step.outputs)))
    inner = _backward_names(step, back, names, matcher)
    write = Printer(matcher, inner)
    results = _results(step, back)
    order = matcher.topological_order([n for n in results.values() if n is not None] + _pairs(back))
    new = {inner[id(n)]: write.inside(n) for n in order if id(n) in inner and id(n) not in names}
    again = {inner[id(n)] for n in order if id(n) in inner and id(n) not in names and id(n) in forward}
    lines = {name: text for name, text in new.items() if name in again}
    cotangents = {name: text for name, text in new.items() if name not in again}
    cotangents |= {
        f"d_{s}": "0" if n is None else write(n) for s, n in zip(step.states, back.states, strict=True)
    }
    if back.input is not None:
        cotangents["d_x"] = write(back.input)
    sums = {f"d_{name}": write(d) for name, d in back.vectors.items()}
    for name, pairs in back.matrices.items():
        sums[f"d_{name}"] = " + ".join(f"outer({write(left)}, {write(right)})" for left, right in pairs)
    sums = {f"d_{name}": sums[f"d_{name}"] for name in step.parameters if f"d_{name}" in sums}
    sums |= {f"d_{row.name}": write(back.inputs[row.name]) for row in step.lookups if row.name in back.inputs}
    arriving = [f"d_{s}'" for s in step.states]
    legend = (
        f"One timestep of the backward pass: d_h is the gradient of h. {listed(arriving)} "
        f"arrive{'s' * (len(arriving) == 1)} from the timestep after, "
        f"the gradient of this timestep's output is added to {arriving[0]}."
    )
    parts = [
        filled(legend),
        "From the forward pass\n" + aligned(equations(step, Printer(matcher, names), named) | lines),
        *(["where\n" + aligned(meanings)] if meanings else []),
        "Backward pass\n" + aligned(cotangents),
        *(["Summed over all rows and timesteps\n" + aligned(sums, "+=")] if sums else []),
    ]
    return "\n\n".join(parts)


def _results(step: Step, back: Backward) -> dict[str, Node | None]:
    results = dict(zip((f"d_{s}" for s in step.states), back.states, strict=True))
    rows = {f"d_{row.name}": back.inputs.get(row.name) for row in step.lookups}
    return results | {"d_x": back.input} | {f"d_{name}": d for name, d in back.vectors.items()} | rows


def _pairs(back: Backward) -> list[Node]:
    return [n for pairs in back.matrices.values() for pair in pairs for n in pair]


def _backward_names(step: Step, back: Backward, forward: Names, matcher: Matcher) -> Names:
    """The forward names, delta_i for the cotangent of the products of gate i, v1, v2 … for shared values."""
    names = dict(forward)
    gate_of = suffixes(step.parameters)
    taken = {"x", *names.values(), *step.states, *step.parameters}
    for matrix in step.parameters:
        for left, _ in back.matrices.get(matrix, ()):
            name = "_".join(["delta", gate_of.get(matrix) or ""]).rstrip("_")
            if left.inputs and id(left) not in names and name not in taken:
                names[id(left)] = name
                taken.add(name)
    results = [n for n in _results(step, back).values() if n is not None]
    name_shared([*results, *_pairs(back)], names, taken, matcher, owners(step, forward, matcher))
    return names
