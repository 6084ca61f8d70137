"""Random small cells whose values have several axes, for hypothesis: products between them, scalars, vectors,
reductions; numerically tame."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

import stepfold
from stepfold import Cell, cell

AXES = ("units", "rank", "wide", "1")
MATRICES = ("rank wide", "units units", "wide 1", "wide units")
_ONE: tuple[Callable[[Any], Any], ...] = (
    stepfold.tanh,
    stepfold.sigmoid,
    stepfold.softmax,
    lambda v: v - stepfold.mean(v),
    lambda v: v / (1.0 + abs(stepfold.sum(v))),
    lambda v: v * stepfold.tanh(stepfold.max(v)),
    lambda v: stepfold.exp(stepfold.tanh(v)),
    lambda v: stepfold.where(stepfold.sum(v) > 0.0, v, 0.5 * v),
    lambda v: stepfold.cumsum(stepfold.softmax(v)),
    lambda v: stepfold.cumsum(v * 0.1, reverse=True),
    lambda v: v + stepfold.roll(v, 3),
    lambda v: v[::-1] * stepfold.shift(v, -2),
    lambda v: sum(stepfold.split(stepfold.concatenate([v, stepfold.tanh(v)]), 2)) + v[0] - v[-1:][0],
)
_TWO: tuple[Callable[[Any, Any], Any], ...] = (
    lambda a, b: a + b,
    lambda a, b: a * stepfold.tanh(b),
    stepfold.maximum,
    lambda a, b: stepfold.where(a > b, a, 0.5 * b),
    lambda a, b: a - b,
)
_ACROSS: tuple[Callable[[Any, Any], Any], ...] = (
    lambda a, b: a + 0.1 * stepfold.sum(b),
    lambda a, b: a * stepfold.tanh(stepfold.mean(b) - stepfold.max(a)),
    lambda a, b: stepfold.where(stepfold.sum(b) > stepfold.sum(a), a, stepfold.tanh(a)),
)
_EACH: tuple[Callable[[Any, Any], Any], ...] = (
    lambda m, v: stepfold.tanh(m),
    lambda m, v: m * stepfold.sigmoid(stepfold.sum(v)),
    lambda m, v: stepfold.where(m > stepfold.mean(v), m, 0.5 * m),
    lambda m, v: m * m - 0.5 * m,
    lambda m, v: stepfold.exp(-abs(m)) + m / (1.0 + abs(stepfold.mean(m))),
    lambda m, v: sum(stepfold.split(stepfold.concatenate([m, stepfold.tanh(m)]), 2)) * stepfold.mean(m[0]),
)
_VECTORS = ("kernel", "product", "transposed", "vector", "scalar", "one", "two")
_KINDS = (*_VECTORS, "outer", "apply", "apply_transposed", "each", "spread", "matrix")
Line = tuple[str, int, int, int]


@st.composite
def axes_cells(draw: Any) -> Cell:
    """Return cells of one to three states of axes of their own, some of them matrices, perhaps with inputs
    with a name, and with an output that is no state."""
    first, axes = draw(st.sampled_from(AXES)), st.sampled_from((*AXES, *MATRICES))
    states = [first, *draw(st.lists(axes, max_size=2))]
    number = st.integers(0, 25)
    lines = draw(st.lists(st.tuples(st.sampled_from(_KINDS), number, number, number), min_size=2, max_size=8))
    named = draw(st.lists(st.sampled_from(AXES), max_size=2))
    return made_of(states, named, lines, draw(st.sampled_from((None, *AXES))))


def made_of(states: list[str], named: list[str], lines: list[Line], output: str | None) -> Cell:
    """Return the cell of states and of inputs with these axes, of lines, each making one more value of
    earlier ones."""
    axes = [*states, *named]
    declared: dict[str, str] = {}
    steps: list[Callable[[dict[str, Any], list[Any]], Any]] = []

    def add(axis: str, step: Callable[[dict[str, Any], list[Any]], Any]) -> None:
        axes.append(axis)
        steps.append(step)

    def product(axis: str, i: int, transposed: bool) -> int:
        name = f"U{len(axes)}"
        declared[name] = f"{axes[i]} {axis}" if transposed else f"{axis} {axes[i]}"
        add(axis, lambda p, v: (p[name].T if transposed else p[name]) @ v[i])
        return len(axes) - 1

    def vectors() -> list[int]:
        return [k for k, axis in enumerate(axes) if " " not in axis]

    def of_axis(axis: str) -> int:
        """A vector of an axis, the latest that there is, or a new one."""
        found = [k for k in vectors() if axes[k] == axis]
        return found[-1] if found else product(axis, vectors()[-1], False)

    for kind, a, b, c in lines:
        own, name = vectors(), f"{kind[0]}{len(axes)}"
        i, j = own[len(own) - 1 - a % min(len(own), 4)], own[b % len(own)]
        matrices = [k for k, axis in enumerate(axes) if " " in axis]
        m = matrices[b % len(matrices)] if matrices else None
        if kind == "kernel":
            declared[name] = f"{AXES[a % 4]} features"
            add(AXES[a % 4], lambda p, v, name=name: p[name] @ v[-1])
        elif kind in ("product", "transposed"):
            product(AXES[c % 4], i, kind == "transposed")
        elif kind == "vector":
            declared[name] = axes[i]
            add(axes[i], lambda p, v, i=i, name=name: v[i] * p[name] + p[name])
        elif kind == "scalar":
            declared[name] = ""
            add(axes[i], lambda p, v, i=i, name=name: v[i] * stepfold.sigmoid(p[name]) + p[name])
        elif kind == "one":
            one = _ONE[c % len(_ONE)]
            add(axes[i], lambda p, v, i=i, one=one: one(v[i]))
        elif kind == "two":
            table = _TWO if axes[i] == axes[j] else _ACROSS
            two = table[c % len(table)]
            add(axes[i], lambda p, v, i=i, j=j, two=two: two(v[i], v[j]))
        elif kind == "outer":
            add(f"{axes[i]} {axes[j]}", lambda p, v, i=i, j=j: stepfold.outer(v[i], stepfold.tanh(v[j])))
        elif m is None:
            continue
        elif kind in ("apply", "apply_transposed"):
            ends = axes[m].split()
            result, operand = ends if kind == "apply" else ends[::-1]
            k = of_axis(operand)
            if kind == "apply":
                add(result, lambda p, v, m=m, k=k: v[m] @ v[k])
            else:
                add(result, lambda p, v, m=m, k=k: v[m].T @ v[k])
        elif kind == "matrix":
            declared[name] = axes[m]
            add(axes[m], lambda p, v, m=m, name=name: v[m] * p[name] + stepfold.sigmoid(p[name]))
        elif kind == "each":
            each = _EACH[c % len(_EACH)]
            add(axes[m], lambda p, v, m=m, i=i, each=each: each(v[m], v[i]))
        else:
            add(axes[i], lambda p, v, m=m, i=i: v[i] * stepfold.tanh(stepfold.mean(v[m])))
    last, middle = vectors()[-1], len(axes)
    ends = [*([output] if output else []), *states]
    found = []
    for axis in ends:  # the latest vector goes into every end, so that all are used
        if " " in axis:
            left, right = (product(end, last, False) for end in axis.split())
            add(axis, lambda p, v, left=left, right=right: stepfold.outer(v[left], v[right]))
        else:
            product(axis, last, False)
        found.append(len(axes) - 1)
    rest = list(range(len(states), middle))
    given_axes = dict(zip([f"s{k}" for k in range(len(states))], states, strict=True))
    input_axes = dict(zip([f"n{k}" for k in range(len(named))], named, strict=True))

    def body(x: Any, given: list[Any], parameters: dict[str, Any]) -> Any:
        values: list[Any] = list(given)
        for step in steps:
            values.append(step(parameters, [*values, x]))
        scalar = sum((stepfold.mean(values[k]) for k in rest), 0.0) * 0.1
        new = [stepfold.tanh(values[k] + scalar) for k in found]
        return tuple(new) if len(new) > 1 else new[0]

    def arguments(of: dict[str, str]) -> str:
        return "".join(f", {name}: {axis!r}" for name, axis in of.items())

    own = not named or any(kind == "kernel" for kind, *_ in lines)
    slash = ", /" if named else ""
    head = f"{arguments(input_axes)}{slash}{arguments(given_axes)}, *{arguments(declared)}"
    head = f"x{head}" if own else head.removeprefix(", ")
    values = ", ".join([*given_axes, *input_axes])
    given = ", ".join(f"{name!r}: {name}" for name in declared)
    space: dict[str, Any] = {"body": body}
    exec(f"def axes_cell({head}):\n    return body({'x' if own else None}, [{values}], {{{given}}})", space)
    return cell(space["axes_cell"])
