"""The equations of a step as text: for people at a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from .._cell import Cell
from .._graph import KERNEL, RECURRENT_KERNEL, UNITS, Dims, Node
from .._plan import plan
from .._step import Step
from ._names import Names, forward_names, name_shared, owners
from ._phrases import Reader
from ._print import Printer, Style

_WIDTH = 100
_KINDS = {KERNEL: "kernel", RECURRENT_KERNEL: "recurrent kernel", UNITS: "vector"}
_STARTS = {KERNEL: "Glorot-uniform", RECURRENT_KERNEL: "orthogonal"}


def equations(step: Step, say: Printer, named: dict[str, Node]) -> dict[str, str]:
    """Return the step's equations, left side → right side, in the order to read them."""
    lines = {say.name(name): say.inside(node) for name, node in named.items()}
    for state, node in zip(step.states, step.outputs, strict=True):
        lines.setdefault(say.name(f"{state}'"), say(node))
    return lines


def maths(cell: Cell, *, units: int | None = None, features: int | None = None) -> str:
    """Return equations, parameters (counted where sizes are given), what leaves the loop and what is kept."""
    step, reader = cell.step, Reader()
    names, named = forward_names(step, reader)
    meanings = explained(reader, step.outputs)
    parts = [
        title(cell),
        filled(f"One timestep: {_legend(step)}"),
        aligned(equations(step, Printer(reader, names), named)),
        *(["where\n" + aligned(meanings)] if meanings else []),
        "Parameters\n" + _table(cell, units, features),
        *_leaving(step),
        _kept(step, reader, names),
    ]
    return "\n\n".join(parts)


def latex(cell: Cell) -> str:
    """Return the equations in an `aligned` environment."""
    step, reader = cell.step, Reader()
    names, named = forward_names(step, reader)
    lines = equations(step, Printer(reader, names, "latex"), named) | explained(reader, step.outputs, "latex")
    body = " \\\\\n".join(f"{left} &= {right}" for left, right in lines.items())
    return f"\\begin{{aligned}}\n{body}\n\\end{{aligned}}"


def title(cell: Cell) -> str:
    """The first line: the name, and the first line of the docstring, which names the paper."""
    about = (cell.__doc__ or "").strip().partition("\n")[0]
    return filled(f"{cell.name}: {about}" if about else cell.name)


def filled(text: str, indent: str = "") -> str:
    """Return a text in lines."""
    return textwrap.fill(text, _WIDTH, initial_indent=indent, subsequent_indent=indent)


def _legend(step: Step) -> str:
    before = listed(step.states)
    after = listed([f"{s}'" for s in step.states])
    states = "state" if len(step.states) == 1 else "states"
    return (
        f"x is the input, {before} the {states} before, {after} the {states} after; "
        f"{step.states[0]}' is also the output."
    )


def listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def aligned(equations: dict[str, str], sign: str = "=") -> str:
    """Equations under one another; one that is too long goes on below, at a sign between its terms."""
    width = max(map(len, equations), default=0)
    lines = []
    for name, text in equations.items():
        head = f"  {name:<{width}} {sign} "
        first, *rest = _broken(text, _WIDTH - len(head))
        lines += [head + first, *(" " * len(head) + line for line in rest)]
    return "\n".join(lines)


def _broken(text: str, width: int) -> list[str]:
    """Break before a + or - that stands in no parentheses."""
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


def explained(reader: Reader, outputs: Sequence[Node], style: Style = "text") -> dict[str, str]:
    """What the longer words mean, those that are used."""
    lines = {}
    for n in reader.in_order(outputs):
        phrase = reader.read(n).phrase if n.inputs else None
        if phrase is not None and phrase.explain:
            others = Reader(tuple(p for p in reader.phrases if p.word != phrase.word))
            say = Printer(others, {}, style, timed=False)
            template = phrase.text if style == "text" else phrase.latex
            lines[template.format(*map(say, phrase.places))] = say(phrase.pattern)
    return lines


def _table(cell: Cell, units: int | None, features: int | None) -> str:
    """A line for the parameters of one kind that start alike."""
    if (units is None) != (features is None):
        raise ValueError("parameters are counted for units and features; give both, or neither")
    if not cell.step.parameters:
        return "  none"
    counts: dict[str, int] = {}
    if units is not None and features is not None:
        shapes = cell.parameter_shapes(features=features, units=units)
        counts = {name: shape[0] * (shape[1] if len(shape) > 1 else 1) for name, shape in shapes.items()}
    groups: dict[tuple[Dims, str], list[str]] = {}
    for name, dims in cell.step.parameters.items():
        start = _STARTS.get(dims) or f"{cell.step.vectors.get(name, 0.0):g}"
        groups.setdefault((dims, start), []).append(name)
    order = list(_KINDS)
    rows = [["", "kind", "shape", "starts as", *(["numbers"] if counts else [])]]
    for (dims, start), names in sorted(groups.items(), key=lambda group: order.index(group[0][0])):
        shape = f"({', '.join(dims)}{',' * (len(dims) == 1)})"
        each = [f"{len(names)} × {counts[names[0]]:,}".removeprefix("1 × ")] if counts else []
        rows.append([", ".join(names), _KINDS[dims], shape, start, *each])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  " + "   ".join(f"{c:<{w}}" for c, w in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    return "\n".join([*lines, "  " + _total(cell.step, counts, units, features)])


def _total(step: Step, counts: dict[str, int], units: int | None, features: int | None) -> str:
    number = {kind: sum(dims == kind for dims in step.parameters.values()) for kind in _KINDS}
    symbols = {KERNEL: "units * features", RECURRENT_KERNEL: "units**2", UNITS: "units"}
    terms = [f"{n} * {symbols[kind]}" if n > 1 else symbols[kind] for kind, n in number.items() if n]
    total = f" = {sum(counts.values()):,} with {units} units and {features} features" if counts else ""
    return f"in all {' + '.join(terms)}{total}"


def _leaving(step: Step) -> list[str]:
    projections = plan(step).projections
    if not projections:
        return []
    sums = [" + ".join([*(f"{kernel} @ x" for kernel in p.kernels), *p.vectors]) for p in projections]
    return [
        "Leaves the time loop (computed for all timesteps at once, before the first)\n  " + "\n  ".join(sums)
    ]


def _kept(step: Step, reader: Reader, names: Names) -> str:
    kept = plan(step).residuals
    inner = dict(names)
    # twice, so that what is kept counts as used more than once and gets a name where it is long
    name_shared(
        [*kept, *kept],
        inner,
        {*inner.values(), *step.states, *step.parameters},
        reader,
        owners(step, names, reader),
    )
    say = Printer(reader, inner)
    words = [f"{state}'" for state, node in zip(step.states, step.outputs, strict=True) if node.inputs]
    text = filled(", ".join([*words, *map(say, kept)]) or "nothing", "  ")
    new = {
        inner[id(n)]: say.inside(n) for n in reader.in_order(kept) if id(n) in inner and id(n) not in names
    }
    return "Kept of every timestep for the way back\n" + text + (f"\n  with\n{aligned(new)}" if new else "")
