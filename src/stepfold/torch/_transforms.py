"""The scan under `torch.func`'s transformations, and under forward-mode differentiation.

`grad`, `vjp`, `jacrev` and `vmap` run the kernels: a batch axis more is a larger batch. Forward mode (`jvp`,
`jacfwd`, `hessian`) and second derivatives run the scan as a loop of torch operations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch._C import _functorch
from torch.autograd import forward_ad

from .._warn import warn_once
from ._arguments import Arguments, Counts
from ._derivatives import backward_operator, scan_operator
from ._fold import Axes, Fold, example, stacked
from ._states import split_states


def is_transformed() -> bool:
    """Whether the call runs under a transformation of `torch.func` or in forward mode."""
    if torch.compiler.is_dynamo_compiling():
        return False
    return bool(torch._C._are_functorch_transforms_active()) or forward_ad._current_level >= 0


def transformed_scan(given: Arguments) -> tuple[Tensor, Tensor]:
    """Return (outputs, last states) of a scan under a transformation."""
    kinds = {interpreter.key() for interpreter in _functorch.get_interpreter_stack() or ()}
    if forward_ad._current_level >= 0 or _functorch.TransformType.Jvp in kinds:
        warn_once(
            "stepfold has no fused kernel for forward-mode derivatives: a loop of torch operations computes "
            "them, timestep by timestep"
        )
        return given.by_loop()
    requires_grad = any(tensor is not None and tensor.requires_grad for tensor in given.flat)
    training = torch.is_grad_enabled() and (_functorch.TransformType.Grad in kinds or requires_grad)
    outputs, last, _ = _Scan.apply(given.counts, given.text, training, *given.flat)
    return outputs, last


class _Scan(torch.autograd.Function):  # type: ignore[misc]
    """`stepfold::scan` as a function of its flat tensors: outputs, last states, residuals."""

    @staticmethod
    def forward(counts: Counts, text: str, training: bool, *flat: Tensor | None) -> tuple[Tensor, ...]:
        """Call the operator."""
        return tuple(scan_operator(*Arguments.of(flat, counts, text), True, training))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Save what the backward pass reads."""
        ctx.counts, ctx.text, _, *flat = inputs
        ctx.mark_non_differentiable(output[2])
        ctx.save_for_backward(output[2], *flat)

    @staticmethod
    def backward(ctx: Any, output_gradient: Tensor, last_gradient: Tensor, _: Any) -> tuple[Any, ...]:
        """Gradients of the flat tensors, by the backward kernel."""
        residuals, *flat = ctx.saved_tensors
        given = Arguments.of(flat, ctx.counts, ctx.text)
        need = Arguments.of(ctx.needs_input_grad[3:], ctx.counts, ctx.text)
        if any(need.extra):
            raise NotImplementedError("the masks of dropout and zoneout have no gradient; detach them")
        to_inputs, to_side, to_initial, *rest = _ScanBackward.apply(
            ctx.counts, ctx.text, need.wishes, residuals, output_gradient, last_gradient, *flat
        )
        states = split_states(given.recipe, to_initial) if given.initial else ()
        named, weights = rest[: len(given.named)], rest[len(given.named) :]
        return None, None, None, *given.gradients(to_inputs, to_side, named, weights, states)

    @staticmethod
    def vmap(
        info: Any, axes: Any, counts: Counts, text: str, training: bool, *flat: Tensor | None
    ) -> tuple[Any, Any]:
        """Run one larger batch; one example after the other where each has weights of its own."""
        of_flat: Axes = axes[3:]
        if Fold.serves(of_flat, counts, text):
            fold = Fold(info.batch_size, of_flat, flat, counts, text)
            return fold.results(*_Scan.apply(counts, text, training, *fold.flat))
        return stacked(
            [_Scan.apply(counts, text, training, *example(flat, of_flat, k)) for k in range(info.batch_size)]
        )


class _ScanBackward(torch.autograd.Function):  # type: ignore[misc]
    """`stepfold::scan_backward` as a function of tensors: gradients of inputs, side, initial states, named
    inputs and weights."""

    @staticmethod
    def forward(
        counts: Counts,
        text: str,
        wanted: list[bool],
        residuals: Tensor,
        output_gradient: Tensor,
        last_gradient: Tensor,
        *flat: Tensor | None,
    ) -> tuple[Tensor, ...]:
        """Call the operator."""
        to_inputs, to_weights, to_initial, to_side, to_named = backward_operator(
            *Arguments.of(flat, counts, text), residuals, output_gradient, last_gradient, wanted
        )
        return to_inputs, to_side, to_initial, *to_named, *to_weights

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Save what the derivative of the backward pass reads."""
        ctx.counts, ctx.text, ctx.wanted, _, *tensors = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Any, ...]:
        """Second derivatives, by the scan as torch operations."""
        warn_once(
            "stepfold has no fused kernel for second derivatives yet: a loop of torch operations computes "
            "them, timestep by timestep"
        )
        output_gradient, last_gradient, *flat = ctx.saved_tensors
        given = Arguments.of(flat, ctx.counts, ctx.text)
        found = _second_derivatives(given, ctx.wanted, (output_gradient, last_gradient), cotangents)
        return None, None, None, None, *found

    @staticmethod
    def vmap(
        info: Any,
        axes: Any,
        counts: Counts,
        text: str,
        wanted: list[bool],
        residuals: Tensor,
        output_gradient: Tensor,
        last_gradient: Tensor,
        *flat: Tensor | None,
    ) -> tuple[Any, Any]:
        """Run one larger batch where the forward pass did; one example after the other where each has
        residuals of its own, or gradients of weights of its own."""
        of_residuals, of_arriving, of_flat = axes[3], axes[4:6], axes[6:]
        given = Arguments.of(flat, counts, text)
        folded = of_residuals is None and any(axis is not None for axis in of_flat)
        summed = any(wanted[1 : 1 + len(given.weights)]) or (wanted[0] and given.tokens is not None)
        if folded and not summed:
            fold = Fold(info.batch_size, of_flat, flat, counts, text)
            arriving = fold.arriving(output_gradient, last_gradient, of_arriving)
            found = _ScanBackward.apply(counts, text, wanted, residuals, *arriving, *fold.flat)
            return fold.gradients(found, wanted)
        results = []
        for k in range(info.batch_size):
            mine = example(flat, of_flat, k)
            own = example([output_gradient, last_gradient], of_arriving, k)
            if folded:  # the residuals of one larger batch are of no use to one example
                saved = _Scan.apply(counts, text, True, *mine)[2]
            else:
                (saved,) = example([residuals], [of_residuals], k)
            results.append(_ScanBackward.apply(counts, text, wanted, saved, *own, *mine))
        return stacked(results)


def _second_derivatives(
    given: Arguments,
    wanted: Sequence[bool],
    arriving: tuple[Tensor, Tensor],
    cotangents: Sequence[Tensor],
) -> tuple[Any, ...]:
    """Return the cotangents of `arriving`, the gradients of the outputs and last states, and of the flat
    tensors, from those of what the backward pass returned."""
    variables: dict[str, Any] = {"weights": list(given.weights), "initial": list(given.initial)}
    variables["named"] = list(given.named)
    own = {"inputs": given.inputs, "side": given.side}
    variables |= {name: tensor for name, tensor in own.items() if tensor is not None}

    def backward(arriving: tuple[Tensor, Tensor], variables: dict[str, Any]) -> dict[str, Any]:
        _, pull = torch.func.vjp(lambda changed: given._replace(**changed).by_loop(), variables)
        (found,) = pull(arriving)
        return dict(found)

    gradients, pull = torch.func.vjp(backward, arriving, variables)
    to_inputs, to_side, to_initial, *rest = cotangents
    count, many = len(given.weights), len(given.named)
    to_named, to_weights = rest[:many], rest[many:]

    def or_zeros(cotangent: Tensor, wish: bool, gradient: Tensor) -> Tensor:
        return cotangent if wish else torch.zeros_like(gradient)

    named = wanted[len(wanted) - many :]
    given_back: dict[str, Any] = {
        "weights": [*map(or_zeros, to_weights, wanted[1 : 1 + count], gradients["weights"])],
        "initial": list(split_states(given.recipe, to_initial)) if given.initial else [],
        "named": [*map(or_zeros, to_named, named, gradients["named"])],
    }
    if given.inputs is not None:
        given_back["inputs"] = or_zeros(to_inputs, wanted[0], gradients["inputs"])
    if given.side is not None:
        given_back["side"] = or_zeros(to_side, wanted[1 + count], gradients["side"])
    found, of = pull(given_back)
    of_named, of_weights, of_initial = of["named"], of["weights"], of["initial"]
    return *found, *given.gradients(of.get("inputs"), of.get("side"), of_named, of_weights, of_initial)
