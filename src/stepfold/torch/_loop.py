"""A step's graph as a loop of torch operations: where no kernel serves, and for second derivatives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from .._graph import Node
from .._interpret import interpret, stages
from .._moves import implementations
from .._numpy_ops import MATRIX_PRODUCTS
from .._runtime import Recipe

TORCH: dict[str, Callable[..., Tensor]] = {
    "add": torch.add,
    "subtract": torch.sub,
    "multiply": torch.mul,
    "divide": torch.div,
    "negate": torch.neg,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "exp": torch.exp,
    "log": torch.log,
    "sqrt": torch.sqrt,
    "abs": torch.abs,
    "erf": torch.erf,
    "softplus": lambda x: torch.logaddexp(x, torch.zeros_like(x)),
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "where": torch.where,
    "sin": torch.sin,
    "cos": torch.cos,
    "floor": torch.floor,
    "logical_and": torch.logical_and,
    "logical_or": torch.logical_or,
    "logical_not": torch.logical_not,
    "less": torch.lt,
    "less_equal": torch.le,
    "greater": torch.gt,
    "greater_equal": torch.ge,
    "equal": torch.eq,
    "not_equal": torch.ne,
    "sum": lambda x: x.sum(-1, keepdim=True),
    "max": lambda x: x.amax(-1, keepdim=True),
    "matmul": lambda m, v: v @ m.mT,
    "matmul_transposed": lambda m, v: v @ m,
    **MATRIX_PRODUCTS,
    **implementations(
        lambda arrays: torch.cat(arrays, -1),
        lambda x, before, after, behind: torch.nn.functional.pad(x, (*[0, 0] * behind, before, after)),
        lambda x: torch.cumsum(x, -1),
        lambda x: torch.flip(x, (-1,)),
        lambda x, many: torch.repeat_interleave(x, many, -1),
    ),
}
"""What each operation of the table is in torch; rows of values are along the last axis."""


def loop(
    recipe: Recipe,
    inputs: Tensor | None,
    params: Mapping[str, Tensor],
    initial: Sequence[Tensor],
    *,
    mask: Tensor | None = None,
    extra: Mapping[tuple[str, str], Tensor] | None = None,
    reverse: bool = False,
    named: Mapping[str, Tensor] | None = None,
) -> tuple[Tensor, list[Tensor]]:
    """Scan `inputs` (time, batch, features): outputs (time, batch, units) and the last states, in place of
    the units what they declare.

    `mask` (time, batch) of booleans: where it is false a row keeps its state. `initial` (batch, units) each,
    or as wide as the state is; `extra` the leaves that a transformed step asks for, and `named` the inputs
    with a name, time first.
    """
    step, states = recipe.step, list(initial)
    sizes = {"units": recipe.units, **dict(recipe.sizes)}
    like, named = states[0], named or {}
    fixed, early, late = stages(step)
    extra = extra or {}
    leaves: dict[tuple[str, str], Tensor] = {} if inputs is None else {("input", ""): inputs}
    leaves |= {("input", name): value for name, value in named.items()}
    leaves |= {("parameter", name): value for name, value in params.items()}
    leaves |= {name: value for name, value in extra.items() if name[0] == "row_input"}

    def evaluate(nodes: Sequence[Node], known: Mapping[int, Tensor] | None = None) -> dict[int, Tensor]:
        return interpret(nodes, leaves, TORCH, lambda v, shape: like.new_full(shape, v), sizes, known)

    ready = evaluate([*fixed, *early])
    time = (next(iter(named.values())) if inputs is None else inputs).shape[0]
    # what each timestep has of its own, taken apart at once: an index a timestep would derive to as many
    # sequences of zeros
    read = {id(n) for n in (*step.outputs, *(i for n in late for i in n.inputs))}
    each = {id(n): ready.pop(id(n)).unbind(0) for n in early if id(n) in read}
    steps = {name: value.unbind(0) for name, value in extra.items() if name[0] == "step_input"}
    outputs: list[Tensor] = [states[0]] * time
    for t in range(time - 1, -1, -1) if reverse else range(time):
        leaves |= {("state", name): value for name, value in zip(step.states, states, strict=True)}
        leaves |= {name: value[t] for name, value in steps.items()}
        values = evaluate(late, {**ready, **{key: values[t] for key, values in each.items()}})
        new = [values[id(n)].expand_as(s) for n, s in zip(step.outputs, states, strict=True)]
        if mask is not None:
            new = [torch.where(beside(mask[t], b), a, b) for a, b in zip(new, states, strict=True)]
        states = new
        outputs[t] = states[0]
    return torch.stack(outputs) if time else like.new_empty((0, *like.shape)), states


def beside(mask: Tensor, values: Tensor) -> Tensor:
    """Return a mask with as many axes as the values that it chooses of."""
    return mask.reshape(*mask.shape, *[1] * (values.dim() - mask.dim()))
