"""Randomness inside a step: dropout and noise, drawn by layers in training, off everywhere else."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, NamedTuple

from . import _ops
from ._dims import axes_text
from ._errors import error_here
from ._graph import Dims, Node, constant, leaf
from ._step import Step
from ._trace import Traced, as_node
from ._transform import rebuilt

_numbers: ContextVar[Iterator[int] | None] = ContextVar("noise_numbers", default=None)
"""Numbers for the noise of the step that is traced: each call draws its own."""


class Noise(NamedTuple):
    """One draw a timestep: a mask of "dropout" with a rate, or "normal" numbers of a standard deviation.

    `key` is that of the extra leaf (batch, time, …) that `noisy` asks for; `dims` its axes of one row."""

    kind: str
    value: float
    dims: Dims
    key: tuple[str, str]


@contextmanager
def numbered() -> Iterator[None]:
    """`with numbered():` a step is traced, and its noise is counted."""
    token = _numbers.set(itertools.count())
    try:
        yield
    finally:
        _numbers.reset(token)


def dropout(x: Any, rate: float) -> Any:
    """`x` with each element zero with the probability `rate`, else divided by 1 - `rate`.

    Drawn anew at every timestep, in training by a layer; `x` itself elsewhere (Srivastava et al. 2014).
    """
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0.0 <= rate < 1.0:
        raise error_here(f"dropout takes a rate from 0 to below 1, not {rate!r}")
    return _with_noise("multiply", x, "dropout", float(rate))


def noise(x: Any, std: float) -> Any:
    """`x` plus normal numbers of the standard deviation `std`, as `dropout` drawn in training alone."""
    if isinstance(std, bool) or not isinstance(std, (int, float)) or not 0.0 <= std < float("inf"):
        raise error_here(f"noise takes a standard deviation of at least 0, not {std!r}")
    return _with_noise("add", x, "normal", float(std))


def _with_noise(op: str, x: Any, kind: str, value: float) -> Any:
    if not isinstance(x, Traced):
        return x
    node, numbers = as_node(x), _numbers.get()
    if len(node.dims) != 1 or node.boolean or (node.op == "input" and not node.attributes):
        raise error_here(f"{kind} noise is for a vector of the step, not {axes_text(node.dims)}")
    number = next(numbers) if numbers is not None else 0
    return Traced(_ops.apply(op, node, leaf("noise", kind, value, number, dims=node.dims)))


def noise_of(step: Step) -> tuple[Noise, ...]:
    """Return what is drawn for each timestep of a step."""
    return tuple(_described(n) for n in step.nodes if n.op == "noise")


def quiet(step: Step) -> Step:
    """Return the step without its noise, as outside of training; the step itself if it has none."""
    return _replaced(step, lambda n: constant(1.0 if n.attributes[0] == "dropout" else 0.0, n.dims))


def noisy(step: Step) -> Step:
    """Return the step whose noise arrives as extra leaves, `Noise.key`; the step itself if it has none."""
    return _replaced(step, lambda n: leaf(*_described(n).key, dims=n.dims))


def _described(n: Node) -> Noise:
    kind, value, number = n.attributes
    return Noise(str(kind), float(value), n.dims, ("step_input", f"{kind}.{number}"))


def _replaced(step: Step, rule: Any) -> Step:
    leaves = {id(n): rule(n) for n in step.nodes if n.op == "noise"}
    if not leaves:
        return step
    new = rebuilt(step, leaves)
    return replace(step, outputs=tuple(new[id(output)] for output in step.outputs))
