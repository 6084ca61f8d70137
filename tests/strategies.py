"""Random small cells and masks for hypothesis: everything in the cell language, numerically tame."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

import stepfold
from stepfold import Cell, cell

_BOUNDED: tuple[Callable[[Any], Any], ...] = (
    stepfold.tanh,
    stepfold.sigmoid,
    stepfold.hard_sigmoid,
    stepfold.softsign,
    stepfold.sin,
    stepfold.cos,
)
"""Functions with values between -1 and 1: new states must not grow from timestep to timestep."""
_ANY: tuple[Callable[[Any], Any], ...] = (
    *_BOUNDED,
    stepfold.relu,
    stepfold.abs,
    stepfold.softplus,
    stepfold.silu,
    stepfold.gelu,
    stepfold.elu,
    stepfold.erf,
    stepfold.softmax,
    lambda v: stepfold.exp(stepfold.tanh(v)),
    lambda v: stepfold.log(1.5 + stepfold.tanh(v)),
    lambda v: stepfold.sqrt(stepfold.abs(v) + 0.25),
    lambda v: stepfold.layer_norm(v, 1.0, epsilon=0.1),
    lambda v: v - stepfold.mean(v),
    lambda v: v / (1.0 + stepfold.abs(stepfold.logsumexp(v))),
    lambda v: v * stepfold.max(v),
    lambda v: 1.0 / (1.5 + v * v),
    lambda v: stepfold.tanh(v) ** 3,
    lambda v: stepfold.clip(v, -0.7, 0.6),
    lambda v: -v,
)
_PAIRS: tuple[Callable[[Any, Any], Any], ...] = (
    lambda a, b: a + b,
    lambda a, b: a - b,
    lambda a, b: a * stepfold.tanh(b),
    lambda a, b: a / (1.25 + stepfold.abs(b)),
    stepfold.maximum,
    stepfold.minimum,
    lambda a, b: stepfold.where(a > b, a, 0.5 * b),
    lambda a, b: stepfold.where(a <= 0.1, b, a * b),
    lambda a, b: stepfold.where((a > b) & ~(a < 0.2), a, b),
    lambda a, b: stepfold.where((stepfold.sum(a) > 0.0) | (b > a), stepfold.tanh(a), b),
    lambda a, b: a + stepfold.sum(b) * 0.1,
)


@st.composite
def cells(draw: Callable[..., Any], most_states: int = 3) -> Cell:
    """Return cells with one to three states, several products, functions, reductions and comparisons."""
    states = [f"s{k}" for k in range(draw(st.integers(1, most_states)))]
    recipe = draw(_recipes(len(states)))
    return from_recipe(states, recipe)


# A recipe is a list of lines, each making one more value from earlier ones: ("kernel",), ("recurrent", i,
# whether less half its transpose), ("vector", i), ("scalar", i), ("one", function, i), ("two", function, i,
# j). Values 0… are the states.
_LINES = ("kernel", "recurrent", "vector", "scalar", "one", "two")


@st.composite
def _recipes(draw: Callable[..., Any], states: int) -> list[tuple[Any, ...]]:
    lines: list[tuple[Any, ...]] = []
    count = states
    for _ in range(draw(st.integers(1, 9))):
        kind = draw(st.sampled_from(_LINES))
        any_value = st.integers(0, count - 1)
        late_value = st.integers(max(0, count - 3), count - 1)
        if kind == "kernel":
            lines.append(("kernel",))
        elif kind == "recurrent":
            lines.append((kind, draw(any_value), draw(st.booleans())))
        elif kind in ("vector", "scalar"):
            lines.append((kind, draw(any_value)))
        elif kind == "one":
            lines.append(("one", draw(st.integers(0, len(_ANY) - 1)), draw(late_value)))
        else:
            lines.append(("two", draw(st.integers(0, len(_PAIRS) - 1)), draw(any_value), draw(late_value)))
        count += 1
    last = st.integers(max(0, count - 4), count - 1)
    ends = [(draw(st.integers(0, len(_BOUNDED) - 1)), draw(last)) for _ in range(states)]
    return [*lines, ("end", ends)]


def from_recipe(states: list[str], recipe: list[tuple[Any, ...]]) -> Cell:
    """Return the cell that a recipe describes."""
    *lines, (_, ends) = recipe
    letters = {"kernel": "W", "recurrent": "U", "vector": "b", "scalar": "a"}
    names = [f"{letters[kind]}{k}" for k, (kind, *_) in enumerate(lines) if kind in letters]

    def body(x: Any, values: list[Any], parameters: dict[str, Any]) -> tuple[Any, ...]:
        values = list(values)
        for k, (kind, *rest) in enumerate(lines):
            if kind == "kernel":
                values.append(parameters[f"W{k}"] @ x)
            elif kind == "recurrent":
                values.append(parameters[f"U{k}"] @ values[rest[0]])
                if rest[1]:
                    values[-1] = values[-1] - 0.5 * (parameters[f"U{k}"].T @ values[rest[0]])
            elif kind == "vector":
                values.append(values[rest[0]] + parameters[f"b{k}"])
            elif kind == "scalar":
                values.append(stepfold.tanh(parameters[f"a{k}"]) * values[rest[0]])
            elif kind == "one":
                values.append(_ANY[rest[0]](values[rest[1]]))
            else:
                values.append(_PAIRS[rest[0]](values[rest[1]], values[rest[2]]))
        # all values contribute, so that every parameter is used
        rest = sum(values[len(states) :], 0.0) * 0.1
        return tuple(_BOUNDED[function](values[which] + rest) for function, which in ends)

    space: dict[str, Any] = {"body": body}
    declared = [f"{name}: ''" if name[0] == "a" else name for name in names]
    star = f", *, {', '.join(declared)}" if names else ""
    given = ", ".join(f"{name!r}: {name}" for name in names)
    arguments = ", ".join(states)
    exec(f"def random_cell(x, {arguments}{star}):\n    return body(x, [{arguments}], {{{given}}})", space)
    return cell(space["random_cell"])


def parameters(cell: Cell, features: int, units: int, seed: int, dtype: Any = np.float64) -> dict[str, Any]:
    """Return random parameters, the vectors too."""
    random = np.random.default_rng(seed)
    shapes = cell.parameter_shapes(features=features, units=units)
    return {
        name: np.asarray(random.standard_normal(shape) / np.sqrt(shape[-1] if len(shape) > 1 else 2), dtype)
        for name, shape in shapes.items()
    }


@st.composite
def masks(draw: Callable[..., Any], batch: int, time: int) -> Any:
    """Return no mask, lengths as a mask (padded on either side), or a mask with holes."""
    kind = draw(st.sampled_from(("none", "right", "left", "holes")))
    if kind == "none":
        return None
    if kind == "holes":
        bits = draw(st.lists(st.booleans(), min_size=batch * time, max_size=batch * time))
        return np.array(bits, bool).reshape(batch, time)
    lengths = np.array(draw(st.lists(st.integers(0, time), min_size=batch, max_size=batch)), np.int64)
    mask = np.arange(time) < lengths[:, None]
    return mask[:, ::-1].copy() if kind == "left" else mask
