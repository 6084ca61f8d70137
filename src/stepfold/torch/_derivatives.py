"""The derivative of `stepfold::fold`, which is `stepfold::fold_backward`; and the derivative of that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ._call import Call
from ._operator import COMMON
from ._warn import warn_once

_TENSORS = 7
"""How many of a call's arguments hold tensors: all before its text."""


def _save(ctx: Any, values: Sequence[Any]) -> None:
    """Save tensors, lists of them and None, every tensor where hooks and checkpoints find it."""
    lists = [list(v) if isinstance(v, (list, tuple)) else [] if v is None else [v] for v in values]
    ctx.form = [len(v) if isinstance(v, (list, tuple)) else -1 if v is None else -2 for v in values]
    ctx.save_for_backward(*(tensor for one in lists for tensor in one))


def _saved(ctx: Any) -> list[Any]:
    rest = iter(ctx.saved_tensors)
    return [
        None if form == -1 else next(rest) if form == -2 else [next(rest) for _ in range(form)]
        for form in ctx.form
    ]


def _remember_fold(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(output[2])
    _save(ctx, [*inputs[:_TENSORS], output[2]])
    ctx.how = inputs[_TENSORS:COMMON]


def _derivative(
    ctx: Any, output_gradient: Tensor | None, last_gradient: Tensor | None, _kept: None
) -> tuple[Any, ...]:
    """Gradients of `fold`'s arguments, by the kernel of the way back."""
    *given, kept = _saved(ctx)
    weights, initial, extra = given[1:4]
    need = ctx.needs_input_grad
    wanted = [bool(need[0]), any(need[1]), any(need[2])]
    if output_gradient is None and last_gradient is None:
        wanted = [False] * 3
    to_inputs: Any = None
    to_weights: Any = [None] * len(weights)
    to_initial: Any = None
    if any(wanted):
        to_inputs, to_weights, to_initial = torch.ops.stepfold.fold_backward(
            *given, *ctx.how, kept, output_gradient, last_gradient, wanted
        )
    return (
        to_inputs if wanted[0] else None,
        [g if wanted[1] and n else None for g, n in zip(to_weights, need[1], strict=True)],
        list(to_initial.unbind(0)) if wanted[2] else [None] * len(initial),
        [None] * len(extra),
        *[None] * (COMMON - 4),
        None,
    )


def _remember_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
    ctx.set_materialize_grads(False)
    _save(ctx, [*inputs[:_TENSORS], *inputs[COMMON + 1 : COMMON + 3]])
    ctx.how, ctx.wanted = inputs[_TENSORS:COMMON], inputs[-1]


def _alias(tensor: Tensor | None) -> Tensor | None:
    """The same values as a variable of its own, through which a third derivative still passes."""
    if tensor is None:
        return None
    return tensor.view_as(tensor) if tensor.requires_grad else tensor.detach().requires_grad_()


def _second_derivative(
    ctx: Any, d_inputs: Tensor | None, d_weights: list[Tensor | None], d_initial: Tensor | None
) -> tuple[Any, ...]:
    """Gradients of `fold_backward`'s arguments: the recurrence as torch operations, derived by torch
    twice."""
    warn_once(
        "stepfold has no fused kernel for second derivatives yet: a loop of torch operations computes them, "
        "timestep by timestep"
    )
    inputs, weights, initial, extra, *rest = _saved(ctx)
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        variables: list[Any] = [_alias(t) for t in (inputs, *weights, *initial)]
        arriving = [_alias(g) for g in rest[-2:]]
        count = 1 + len(weights)
        call = Call(variables[0], variables[1:count], variables[count:], extra, *rest[:-2], *ctx.how)
        pairs = [(y, d) for y, d in zip(call.by_loop(), arriving, strict=True) if d is not None]
        gradients = _gradients(pairs, variables, create_graph=True)
        to_initial = (
            list(d_initial.unbind(0)) if d_initial is not None and ctx.wanted[2] else [None] * len(initial)
        )
        cotangents = [d_inputs, *(d_weights or [None] * len(weights)), *to_initial]
        chosen = [
            (g, c) for g, c in zip(gradients, cotangents, strict=True) if g is not None and c is not None
        ]
        found = iter(_gradients(chosen, [*variables, *arriving], create_graph=again))
    result = [next(found) for _ in variables]
    return (
        result[0],
        result[1:count],
        result[count:],
        [None] * len(extra),
        *[None] * (COMMON - 4),
        None,
        *found,
        None,
    )


def _gradients(
    pairs: Sequence[tuple[Tensor, Tensor]], variables: Sequence[Tensor | None], *, create_graph: bool
) -> list[Tensor | None]:
    """Carry cotangents, given with their values, back to the variables; None where there is no influence."""
    pairs = [(value, cotangent) for value, cotangent in pairs if value.requires_grad]
    given = [v for v in variables if v is not None]
    if not pairs:
        return [None] * len(variables)
    values, cotangents = zip(*pairs, strict=True)
    found = iter(torch.autograd.grad(values, given, cotangents, create_graph=create_graph, allow_unused=True))
    return [None if v is None else next(found) for v in variables]


torch.library.register_autograd("stepfold::fold", _derivative, setup_context=_remember_fold)
torch.library.register_autograd(
    "stepfold::fold_backward", _second_derivative, setup_context=_remember_backward
)
