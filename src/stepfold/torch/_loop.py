"""A step's graph as a loop of torch operations: where no kernel serves, and for second derivatives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from .._graph import Node
from .._interpret import interpret, stages
from .._numpy_ops import MATRIX_PRODUCTS
from .._step import Step

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
}
"""What each operation of the table is in torch; rows of values are along the last axis."""


def loop(
    step: Step,
    inputs: Tensor,
    params: Mapping[str, Tensor],
    initial: Sequence[Tensor],
    *,
    mask: Tensor | None = None,
    extra: Mapping[tuple[str, str], Tensor] | None = None,
    reverse: bool = False,
) -> tuple[Tensor, list[Tensor]]:
    """Scan `inputs` (time, batch, features): outputs (time, batch, units) and the last states.

    `mask` (time, batch) of booleans: where it is false a row keeps its state. `initial` (batch, units) each;
    `extra` the leaves that a transformed step asks for, time first.
    """
    states, units = list(initial), initial[0].shape[-1]
    fixed, early, late = stages(step)
    extra = extra or {}
    leaves: dict[tuple[str, str], Tensor] = {("input", ""): inputs}
    leaves |= {("parameter", name): value for name, value in params.items()}
    leaves |= {name: value for name, value in extra.items() if name[0] == "row_input"}

    def evaluate(nodes: Sequence[Node], known: Mapping[int, Tensor] | None = None) -> dict[int, Tensor]:
        sizes = {"units": units}
        return interpret(nodes, leaves, TORCH, lambda v, shape: inputs.new_full(shape, v), sizes, known)

    ready = evaluate([*fixed, *early])
    time = inputs.shape[0]
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
            new = [torch.where(mask[t, :, None], a, b) for a, b in zip(new, states, strict=True)]
        states = new
        outputs[t] = states[0]
    return torch.stack(outputs) if time else inputs.new_empty((0, *states[0].shape)), states
