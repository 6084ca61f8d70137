"""The derived backward step as text."""

from __future__ import annotations

from .._cell import Cell
from .._gradient import Backward, backward
from .._graph import Node, in_order
from .._step import Step
from ._maths import aligned, equations, explained, filled, listed, title
from ._names import Names, forward_names, name_shared, owners, suffixes
from ._phrases import Reader
from ._print import Printer


def gradient(cell: Cell) -> str:
    """Return the equations of one timestep of the way back."""
    step, reader = cell.step, Reader()
    back = backward(step)
    meanings = explained(reader, step.outputs)
    names, named = forward_names(step, reader)
    forward = set(map(id, in_order(step.outputs)))
    inner = _backward_names(step, back, names, reader)
    say = Printer(reader, inner)
    ends = _ends(step, back)
    order = reader.in_order([n for n in ends.values() if n is not None] + _pairs(back))
    new = {inner[id(n)]: say.inside(n) for n in order if id(n) in inner and id(n) not in names}
    again = {inner[id(n)] for n in order if id(n) in inner and id(n) not in names and id(n) in forward}
    lines = {name: text for name, text in new.items() if name in again}
    cotangents = {name: text for name, text in new.items() if name not in again}
    cotangents |= {
        f"d_{s}": "0" if n is None else say(n) for s, n in zip(step.states, back.states, strict=True)
    }
    if back.input is not None:
        cotangents["d_x"] = say(back.input)
    sums = {f"d_{name}": say(d) for name, d in back.vectors.items()}
    for name, pairs in back.matrices.items():
        sums[f"d_{name}"] = " + ".join(f"outer({say(left)}, {say(right)})" for left, right in pairs)
    sums = {f"d_{name}": sums[f"d_{name}"] for name in step.parameters if f"d_{name}" in sums}
    arriving = [f"d_{s}'" for s in step.states]
    legend = (
        f"One timestep of the way back: d_h is the gradient of h. {listed(arriving)} "
        f"arrive{'s' * (len(arriving) == 1)} from the timestep after, "
        f"the gradient of this timestep's output added to {arriving[0]}."
    )
    parts = [
        title(cell),
        filled(legend),
        "From the way forward\n" + aligned(equations(step, Printer(reader, names), named) | lines),
        *(["where\n" + aligned(meanings)] if meanings else []),
        "Backwards\n" + aligned(cotangents),
        *(["Summed over all rows and timesteps\n" + aligned(sums, "+=")] if sums else []),
    ]
    return "\n\n".join(parts)


def _ends(step: Step, back: Backward) -> dict[str, Node | None]:
    ends = dict(zip((f"d_{s}" for s in step.states), back.states, strict=True))
    return ends | {"d_x": back.input} | {f"d_{name}": d for name, d in back.vectors.items()}


def _pairs(back: Backward) -> list[Node]:
    return [n for pairs in back.matrices.values() for pair in pairs for n in pair]


def _backward_names(step: Step, back: Backward, forward: Names, reader: Reader) -> Names:
    """The forward names, delta_i for what arrives at the products of gate i, v1, v2 … for what is shared."""
    names = dict(forward)
    gate_of = suffixes(step.parameters)
    taken = {"x", *names.values(), *step.states, *step.parameters}
    for matrix in step.parameters:
        for left, _ in back.matrices.get(matrix, ()):
            name = "_".join(["delta", gate_of.get(matrix) or ""]).rstrip("_")
            if left.inputs and id(left) not in names and name not in taken:
                names[id(left)] = name
                taken.add(name)
    ends = [n for n in _ends(step, back).values() if n is not None]
    name_shared([*ends, *_pairs(back)], names, taken, reader, owners(step, forward, reader))
    return names
