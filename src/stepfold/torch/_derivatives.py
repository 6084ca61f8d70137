"""The derivative of `stepfold::scan`, which is `stepfold::scan_backward`; and the derivative of that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ._arguments import Arguments
from ._operator import COMMON
from ._warn import warn_once

_TENSORS = COMMON - 1
"""How many of the common arguments hold tensors: all before the recipe's text."""


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


def _save_scan(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(output[2])
    _save(ctx, [*inputs[:_TENSORS], output[2]])
    ctx.text = inputs[_TENSORS]


def _derivative(
    ctx: Any, output_gradient: Tensor | None, last_gradient: Tensor | None, _residuals: None
) -> tuple[Any, ...]:
    """Gradients of the arguments of `scan`, by the backward kernel."""
    *given, residuals = _saved(ctx)
    weights, initial, extra = given[1:4]
    need = ctx.needs_input_grad
    if any(need[3]):
        raise NotImplementedError("the masks of dropout and zoneout have no gradient; detach them")
    to_inputs: Any = None
    to_weights: Any = [None] * len(weights)
    to_initial: Any = [None] * len(initial)
    if output_gradient is not None or last_gradient is not None:
        wanted = [bool(need[0]), *map(bool, need[1])]
        to_inputs, to_weights, stacked = torch.ops.stepfold.scan_backward(
            *given, ctx.text, residuals, output_gradient, last_gradient, wanted
        )
        if any(need[2]):
            to_initial = list(stacked.unbind(0))
    return (
        to_inputs if need[0] else None,
        [gradient if wish else None for gradient, wish in zip(to_weights, need[1], strict=True)],
        to_initial,
        [None] * len(extra),
        *[None] * (COMMON - 4),
        None,
        None,
    )


def _save_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
    ctx.set_materialize_grads(False)
    _save(ctx, [*inputs[:_TENSORS], *inputs[COMMON + 1 : COMMON + 3]])
    ctx.text, ctx.wanted = inputs[_TENSORS], inputs[-1]


def _alias(tensor: Tensor | None) -> Tensor | None:
    """The same values as a variable of its own, through which a third derivative still passes."""
    if tensor is None:
        return None
    return tensor.view_as(tensor) if tensor.requires_grad else tensor.detach().requires_grad_()


def _second_derivative(
    ctx: Any, d_inputs: Tensor | None, d_weights: list[Tensor | None], d_initial: Tensor | None
) -> tuple[Any, ...]:
    """Gradients of the arguments of `scan_backward`: the scan as torch operations, derived by torch twice."""
    warn_once(
        "stepfold has no fused kernel for second derivatives yet: a loop of torch operations computes them, "
        "timestep by timestep"
    )
    inputs, weights, initial, extra, active, tokens, *arriving = _saved(ctx)
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        variables: list[Any] = [_alias(t) for t in (inputs, *weights, *initial)]
        arriving = [_alias(g) for g in arriving]
        count = 1 + len(weights)
        states = variables[count:]
        arguments = Arguments(variables[0], variables[1:count], states, extra, active, tokens, ctx.text)
        pairs = [(y, d) for y, d in zip(arguments.by_loop(), arriving, strict=True) if d is not None]
        gradients = _gradients(pairs, variables, create_graph=True)
        given = [d_inputs, *(d_weights or [None] * len(weights))]
        cotangents = [c if wish else None for c, wish in zip(given, ctx.wanted, strict=True)]
        cotangents += [None] * len(initial) if d_initial is None else d_initial.unbind(0)
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


torch.library.register_autograd("stepfold::scan", _derivative, setup_context=_save_scan)
torch.library.register_autograd("stepfold::scan_backward", _second_derivative, setup_context=_save_backward)
