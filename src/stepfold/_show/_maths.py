"""The equations of a step as text and as LaTeX."""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from .._declared import kind_of
from .._dims import axes_text
from .._graph import UNITS, Dims, Node
from .._lookups import START
from .._plan import plan
from .._step import Step
from ._names import forward_names, name_shared, owners
from ._patterns import Matcher
from ._print import Printer, Style

_WIDTH = 100
_KINDS = ("kernel", "recurrent kernel", "matrix", "vector", "scalar")


def equations(step: Step, write: Printer, named: dict[str, Node]) -> dict[str, str]:
    """Return the step's equations, left side → right side, in the order to print them."""
    lines = {write.name(name): write.inside(node) for name, node in named.items()}
    for state, node in zip(step.states, step.outputs, strict=True):
        lines.setdefault(write.name(f"{state}'"), write(node))
    return lines


def maths(step: Step, *, units: int | None = None, features: int | None = None) -> str:
    """Return equations, parameters (counted if sizes are given), projections and residuals."""
    matcher, scanned = Matcher(), step.scanned
    names, named = forward_names(scanned, matcher)
    write = Printer(matcher, names, own=step.projected.name if step.projected else "x")
    meanings = explained(matcher, scanned.outputs, own=write.own)
    parts = [
        filled(f"One timestep: {_legend(step)}"),
        aligned(equations(scanned, write, named)),
        *(["where\n" + aligned(meanings)] if meanings else []),
        "Parameters\n" + _table(step, units, features),
        *_hyperparameters(step),
        *_hoisted(scanned, write),
        *_projections(scanned, write.own),
        _residuals(scanned, write),
    ]
    return "\n\n".join(parts)


def latex(step: Step) -> str:
    """Return the equations in an `aligned` environment."""
    matcher = Matcher()
    names, named = forward_names(step, matcher)
    lines = equations(step, Printer(matcher, names, "latex"), named) | explained(
        matcher, step.outputs, "latex"
    )
    body = " \\\\\n".join(f"{left} &= {right}" for left, right in lines.items())
    return f"\\begin{{aligned}}\n{body}\n\\end{{aligned}}"


def filled(text: str, indent: str = "") -> str:
    """Return a text broken into lines."""
    return textwrap.fill(text, _WIDTH, initial_indent=indent, subsequent_indent=indent)


def _legend(step: Step) -> str:
    own = step.states[step.output :]
    before, after = listed(own), listed([f"{s}'" for s in own])
    states = "state" if len(own) == 1 else "states"
    names = step.input_names
    given = f"{listed(names)} {'is the input' if len(names) == 1 else 'are the inputs'}"
    output = f"{step.states[0]}' is {'' if step.output else 'also '}the output."
    own_axes = [f"{name} is an integer" for name in step.integers]
    own_axes += [f"{name} has {axes_text(dims)}" for name, dims in _other_axes(step).items()]
    told = f" {listed(own_axes)}." if own_axes else ""
    return f"{given}, {before} the {states} before, {after} the {states} after; {output}{told}"


def _other_axes(step: Step) -> dict[str, Dims]:
    """The axes of the inputs with a name, and of states and an output that do not have (units,)."""
    return {
        **{name: dims for name, dims in step.inputs.items() if dims},
        **{
            f"{s}'" if s == step.states[0] and step.output else s: step.dims_of(s)
            for s in step.states
            if step.dims_of(s) != UNITS
        },
    }


def listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def aligned(equations: dict[str, str], sign: str = "=") -> str:
    """Equations below one another; one that is too long is broken between its terms."""
    width = max(map(len, equations), default=0)
    lines = []
    for name, text in equations.items():
        head = f"  {name:<{width}} {sign} "
        first, *rest = _broken(text, _WIDTH - len(head))
        lines += [head + first, *(" " * len(head) + line for line in rest)]
    return "\n".join(lines)


def _broken(text: str, width: int) -> list[str]:
    """Break before a + or - outside parentheses."""
    terms, depth, start = [], 0, 0
    for k, letter in enumerate(text):
        depth += (letter in "([") - (letter in ")]")
        if depth == 0 and text[k : k + 3] in (" + ", " - "):
            terms.append(text[start:k])
            start = k + 1
    terms.append(text[start:])
    lines = [terms[0]]
    for term in terms[1:]:
        if len(lines[-1]) + 1 + len(term) <= width:
            lines[-1] += f" {term}"
        else:
            lines.append(term)
    return lines


def explained(
    matcher: Matcher, outputs: Sequence[Node], style: Style = "text", own: str = "x"
) -> dict[str, str]:
    """Return the definitions of the functions in the equations, those that are no operations."""
    lines = {}
    for n in matcher.topological_order(outputs):
        pattern = matcher.form(n).pattern if n.inputs else None
        if pattern is not None and pattern.explain:
            others = Matcher(tuple(p for p in matcher.patterns if p.name != pattern.name))
            write = Printer(others, {}, style, timed=False, own=own)
            template = pattern.text if style == "text" else pattern.latex
            lines[template.format(*map(write, pattern.arguments))] = write(pattern.graph)
    return lines


def _table(step: Step, units: int | None, features: int | None) -> str:
    """One line for all parameters of the same kind and initial value."""
    if (units is None) != (features is None):
        raise ValueError("parameters are counted for units and features; give both, or neither")
    if not step.parameters:
        return "  none"
    counts: dict[str, int] = {}
    if units is not None and features is not None:
        shapes = step.parameter_shapes(features=features, units=units)
        counts = {name: math.prod(shape) for name, shape in shapes.items()}
    groups: dict[tuple[Dims, str], list[str]] = {}
    for name, dims in step.parameters.items():
        start = _start(step, name, dims)
        groups.setdefault((dims, start), []).append(name)
    rows = [["", "kind", "shape", "initial value", *(["elements"] if counts else [])]]
    for (dims, start), names in sorted(groups.items(), key=lambda group: _KINDS.index(_kind(group[0][0]))):
        shape = f"({', '.join(dims)}{',' * (len(dims) == 1)})"
        each = [f"{len(names)} × {counts[names[0]]:,}".removeprefix("1 × ")] if counts else []
        rows.append([", ".join(names), _kind(dims), shape, start, *each])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  " + "   ".join(f"{c:<{w}}" for c, w in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    return "\n".join([*lines, "  " + _total(step, counts, units, features)])


def _kind(dims: Dims) -> str:
    return kind_of(dims).split(" ", 1)[1].partition(" (")[0]


def _hyperparameters(step: Step) -> list[str]:
    values = {name: str(value) for name, value in step.hyperparameters.items()}
    return [f"Hyper-parameters, fixed in the equations\n{aligned(values)}"] if values else []


def _start(step: Step, name: str, dims: Dims) -> str:
    if name not in step.kernels:
        if len(dims) == 2 and name in step.tables:
            return f"uniform, within {START:g}"
        if len(dims) == 2:
            return "orthogonal" if dims[0] == dims[1] else "Glorot-uniform"
        return f"{step.vectors.get(name, 0.0):g}"
    kind, number = step.kernels[name]
    if kind == "identity":
        return "identity" if number == 1.0 else f"{number:g} * identity"
    return f"Legendre delay of {number:g}" if kind == "legendre" else f"normal, deviation {number:g}"


def _total(step: Step, counts: dict[str, int], units: int | None, features: int | None) -> str:
    number = Counter(sorted(step.parameters.values(), key=lambda dims: _KINDS.index(_kind(dims))))
    symbols = {
        dims: f"{dims[0]}**2" if dims and dims[1:] == dims[:1] else " * ".join(dims) for dims in number
    }
    terms = [f"{n} * {symbols[dims]}" if n > 1 else symbols[dims] for dims, n in number.items() if dims]
    terms += [str(number[()])] if number[()] else []
    total = f" = {sum(counts.values()):,} with {units} units and {features} features" if counts else ""
    return f"in total {' + '.join(terms)}{total}"


def _hoisted(step: Step, write: Printer) -> list[str]:
    """What is made of parameters alone."""
    found = [write(n) for n in plan(step).hoisted]
    return ["Computed once, from parameters alone\n  " + "\n  ".join(found)] if found else []


def _projections(step: Step, own: str) -> list[str]:
    projections = plan(step).projections
    if not projections:
        return []
    sums = [" + ".join([*(f"{kernel} @ {own}" for kernel in p.kernels), *p.vectors]) for p in projections]
    return ["Computed outside the time loop, for many timesteps at once\n  " + "\n  ".join(sums)]


def _residuals(step: Step, write: Printer) -> str:
    saved, matcher, names = plan(step).residuals, write.matcher, write.names
    inner = dict(names)
    # twice, so that long residuals count as shared and get names
    name_shared(
        [*saved, *saved],
        inner,
        {*inner.values(), *step.states, *step.parameters},
        matcher,
        owners(step, names, matcher),
    )
    write = replace(write, names=inner)
    states = [f"{state}'" for state, node in zip(step.states, step.outputs, strict=True) if node.inputs]
    text = filled(", ".join([*states, *map(write, saved)]) or "nothing", "  ")
    new = {
        inner[id(n)]: write.inside(n)
        for n in matcher.topological_order(saved)
        if id(n) in inner and id(n) not in names
    }
    return (
        "Residuals, saved at every timestep for the backward pass\n"
        + text
        + (f"\n  with\n{aligned(new)}" if new else "")
    )
