"""The step as a Mermaid flowchart, with the connections from one timestep to the next."""

from __future__ import annotations

from .._step import Step
from ._maths import equations
from ._names import forward_names, within
from ._patterns import Matcher
from ._print import Printer

_ESCAPES = {"#": "#35;", "<": "#lt;", ">": "#gt;", '"': "#quot;"}


def flowchart(step: Step) -> str:
    """Return a Mermaid flowchart: boxes are equations, dotted arrows lead to the next timestep."""
    matcher = Matcher()
    names, named = forward_names(step, matcher)
    lines = ["flowchart LR"]
    used = matcher.topological_order(step.outputs)
    if any(n.op == "input" for n in used):
        lines.append('    x(["x, the input"])')
    lines += [f'    {_key(s)}(["{s}, from the timestep before"])' for s in step.states]
    lines += [
        f'    {_key(left)}["{_escaped(f"{left} = {right}")}"]'
        for left, right in equations(step, Printer(matcher, names), named).items()
    ]
    for name, node in named.items():
        for i in within(node, names, matcher):
            source = names.get(id(i)) or {"input": "x", "state": str(*i.attributes[:1])}.get(i.op)
            if source is not None:
                lines.append(f"    {_key(source)} --> {_key(name)}")
    for state, node in zip(step.states, step.outputs, strict=True):
        if names.get(id(node)) != f"{state}'":
            source = names.get(id(node)) or str(*node.attributes[:1])
            lines.append(f"    {_key(source)} --> {_key(state + chr(39))}")
    lines += [f"    {_key(state)}_new -. next timestep .-> {_key(state)}" for state in step.states]
    lines.append(f'    {_key(step.states[0])}_new --> output(["output of this timestep"])')
    return "\n".join(lines)


def _key(name: str) -> str:
    """A name that Mermaid accepts for a node: without symbols, none of its keywords."""
    plain = name.replace("'", "_new").replace("~", "_candidate")
    return (
        f"{plain}_"
        if plain in ("end", "graph", "subgraph", "style", "class", "click", "default", "output")
        else plain
    )


def _escaped(text: str) -> str:
    return "".join(_ESCAPES.get(letter, letter) for letter in text)
