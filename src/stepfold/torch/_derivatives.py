"""The derivative of `stepfold::scan`, which is `stepfold::scan_backward`; and the derivative of that.

`torch.library.register_autograd` would do, but it takes lists of tensors apart as pytrees: some 110 µs a
training step, nearly as long as all else around the kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from . import _operator  # noqa: F401  (registers the operators)
from ._arguments import Arguments
from ._warn import warn_once

_scan = torch.ops.stepfold.scan.default
_scan_backward = torch.ops.stepfold.scan_backward.default
_autograd = torch.library.Library("stepfold", "FRAGMENT")


def _tracked(*given: Tensor | None) -> bool:
    """Whether autograd follows one of these."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in given)


def _forward(
    inputs: Tensor,
    weights: list[Tensor],
    initial: list[Tensor],
    extra: list[Tensor],
    active: Tensor | None,
    tokens: Tensor | None,
    text: str,
    sequences: bool,
    training: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    found: tuple[Tensor, Tensor, Tensor]
    if _tracked(inputs, *weights, *initial, *extra):
        counts = len(weights), len(initial)
        how = text, sequences, training, counts
        found = _Scan.apply(*how, active, tokens, inputs, *weights, *initial, *extra)
        return found
    with torch._C._AutoDispatchBelowAutograd():
        found = _scan(inputs, weights, initial, extra, active, tokens, text, sequences, training)
    return found


def _backward(
    inputs: Tensor,
    weights: list[Tensor],
    initial: list[Tensor],
    extra: list[Tensor],
    active: Tensor | None,
    tokens: Tensor | None,
    text: str,
    residuals: Tensor,
    output_gradient: Tensor | None,
    last_gradient: Tensor | None,
    wanted: list[bool],
) -> tuple[Tensor, list[Tensor], Tensor]:
    if _tracked(inputs, *weights, *initial, output_gradient, last_gradient):
        counts = len(weights), len(initial)
        rest = residuals, output_gradient, last_gradient
        to_inputs, to_initial, *to_weights = _ScanBackward.apply(
            text, wanted, counts, active, tokens, *rest, inputs, *weights, *initial, *extra
        )
        return to_inputs, to_weights, to_initial
    with torch._C._AutoDispatchBelowAutograd():
        found: tuple[Tensor, list[Tensor], Tensor] = _scan_backward(
            inputs, weights, initial, extra, active, tokens, text, residuals, output_gradient, last_gradient,
            wanted,
        )  # fmt: skip
    return found


def _lists(
    counts: tuple[int, int], tensors: Sequence[Tensor]
) -> tuple[Tensor, list[Tensor], list[Tensor], list[Tensor]]:
    """Inputs, weights, initial states and extra leaves, of which there are so many."""
    inputs, *rest = tensors
    first, second = counts[0], sum(counts)
    return inputs, rest[:first], rest[first:second], rest[second:]


class _Scan(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(
        ctx: Any,
        text: str,
        sequences: bool,
        training: bool,
        counts: tuple[int, int],
        active: Tensor | None,
        tokens: Tensor | None,
        *tensors: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        with torch._C._AutoDispatchBelowAutograd():
            given = _lists(counts, tensors)
            outputs, last, residuals = _scan(*given, active, tokens, text, sequences, training)
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(residuals)
        ctx.save_for_backward(active, tokens, residuals, *tensors)
        ctx.text, ctx.counts = text, counts
        return outputs, last, residuals

    @staticmethod
    def backward(
        ctx: Any, output_gradient: Tensor | None, last_gradient: Tensor | None, _residuals: None
    ) -> tuple[Any, ...]:
        """Gradients of the arguments of `scan`, by the backward kernel."""
        active, tokens, residuals, *tensors = ctx.saved_tensors
        weights, initial = ctx.counts
        need = ctx.needs_input_grad[6:]
        if any(need[1 + weights + initial :]):
            raise NotImplementedError("the masks of dropout and zoneout have no gradient; detach them")
        none = [None] * len(tensors)
        if output_gradient is None and last_gradient is None:
            return *[None] * 6, *none
        wanted = list(need[: 1 + weights])
        to_inputs, to_weights, to_initial = _scan_backward(
            *_lists(ctx.counts, tensors),
            active,
            tokens,
            ctx.text,
            residuals,
            output_gradient,
            last_gradient,
            wanted,
        )
        found = [g if wish else None for g, wish in zip((to_inputs, *to_weights), wanted, strict=True)]
        found += to_initial.unbind(0) if any(need[1 + weights :]) else none[:initial]
        return *[None] * 6, *found, *none[len(found) :]


def _alias(tensor: Tensor | None) -> Tensor | None:
    """The same values as a variable of its own, through which a third derivative still passes."""
    if tensor is None:
        return None
    return tensor.view_as(tensor) if tensor.requires_grad else tensor.detach().requires_grad_()


class _ScanBackward(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(
        ctx: Any,
        text: str,
        wanted: list[bool],
        counts: tuple[int, int],
        active: Tensor | None,
        tokens: Tensor | None,
        residuals: Tensor,
        output_gradient: Tensor | None,
        last_gradient: Tensor | None,
        *tensors: Tensor,
    ) -> tuple[Tensor, ...]:
        with torch._C._AutoDispatchBelowAutograd():
            to_inputs, to_weights, to_initial = _scan_backward(
                *_lists(counts, tensors),
                active,
                tokens,
                text,
                residuals,
                output_gradient,
                last_gradient,
                wanted,
            )
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(active, tokens, output_gradient, last_gradient, *tensors)
        ctx.text, ctx.wanted, ctx.counts = text, wanted, counts
        return to_inputs, to_initial, *to_weights

    @staticmethod
    def backward(
        ctx: Any, d_inputs: Tensor | None, d_initial: Tensor | None, *d_weights: Tensor | None
    ) -> tuple[Any, ...]:
        """Gradients of the arguments of `scan_backward`: the scan as torch operations, derived twice."""
        warn_once(
            "stepfold has no fused kernel for second derivatives yet: a loop of torch operations computes "
            "them, timestep by timestep"
        )
        active, tokens, *arriving = ctx.saved_tensors[:4]
        inputs, weights, initial, extra = _lists(ctx.counts, ctx.saved_tensors[4:])
        again = torch.is_grad_enabled()
        with torch.enable_grad():
            variables: list[Any] = [_alias(t) for t in (inputs, *weights, *initial)]
            arriving = [_alias(g) for g in arriving]
            mine = _lists(ctx.counts, variables)
            outputs = Arguments(*mine[:3], extra, active, tokens, ctx.text).by_loop()
            pairs = [(y, d) for y, d in zip(outputs, arriving, strict=True) if d is not None]
            gradients = _gradients(pairs, variables, create_graph=True)
            given = zip((d_inputs, *d_weights), ctx.wanted, strict=True)
            cotangents = [cotangent if wish else None for cotangent, wish in given]
            cotangents += [None] * len(initial) if d_initial is None else d_initial.unbind(0)
            chosen = [
                (g, c) for g, c in zip(gradients, cotangents, strict=True) if g is not None and c is not None
            ]
            found = _gradients(chosen, [*variables, *arriving], create_graph=again)
        count = len(variables)
        return *[None] * 6, *found[count:], *found[:count], *[None] * len(extra)


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


_autograd.impl("scan", _forward, "Autograd")
_autograd.impl("scan_backward", _backward, "Autograd")
