"""The derivative of `stepfold::scan`, which is `stepfold::scan_backward`; and the derivative of that.

`torch.library.register_autograd` would do, but it takes lists of tensors apart as pytrees: some 110 µs a
training step, nearly as long as all else around the kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .._warn import warn_once
from ._arguments import Arguments
from ._fold import each_example
from ._operator import Untraced
from ._states import split_states

scan_operator = torch.ops.stepfold.scan.default
backward_operator = torch.ops.stepfold.scan_backward.default
_autograd = torch.library.Library("stepfold", "FRAGMENT")


def _forward(*call: Any) -> Any:
    if torch.is_grad_enabled():
        given, sequences, training = Arguments.split(call)
        flat = given.flat
        if _any_requires_grad(flat):
            return _Scan.apply(given, sequences, training, *flat)
    with torch._C._AutoDispatchBelowAutograd():
        return scan_operator(*call)


def _backward(*call: Any) -> Any:
    if torch.is_grad_enabled():
        given, residuals, output_gradient, last_gradient, wanted = Arguments.split(call)
        flat = [output_gradient, last_gradient, *given.flat]
        if _any_requires_grad(flat):
            to_inputs, to_side, to_initial, *rest = _ScanBackward.apply(given, residuals, wanted, *flat)
            named, weights = rest[: len(given.named)], rest[len(given.named) :]
            return to_inputs, weights, to_initial, to_side, named
    with torch._C._AutoDispatchBelowAutograd():
        return backward_operator(*call)


def _any_requires_grad(tensors: Sequence[Tensor | None]) -> bool:
    return any(tensor is not None and tensor.requires_grad for tensor in tensors)


class _Scan(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(ctx: Any, given: Arguments, sequences: bool, training: bool, *flat: Tensor | None) -> Any:
        """Call the operator; autograd sees the tensors of `given` as `flat`."""
        with torch._C._AutoDispatchBelowAutograd():
            outputs, last, residuals = scan_operator(*given, sequences, training)
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(residuals)
        # a tensor that was made in inference mode may be read, but not saved
        saved = [t.clone() if t is not None and t.is_inference() else t for t in flat]
        ctx.save_for_backward(residuals, *saved)
        ctx.counts, ctx.text = given.counts, given.text
        return outputs, last, residuals

    @staticmethod
    def backward(
        ctx: Any, output_gradient: Tensor | None, last_gradient: Tensor | None, _residuals: None
    ) -> tuple[Any, ...]:
        """Gradients of the arguments of `scan`, by the backward kernel."""
        residuals, *flat = ctx.saved_tensors
        given = Arguments.of(flat, ctx.counts, ctx.text)
        need = Arguments.of(ctx.needs_input_grad[3:], ctx.counts, ctx.text)
        if any(need.extra):
            raise NotImplementedError("the masks of dropout and zoneout have no gradient; detach them")
        if output_gradient is None and last_gradient is None:
            return (None,) * (3 + len(flat))
        wanted = need.wishes

        def gradients(*arriving: Tensor | None) -> list[Tensor | None]:
            to_inputs, to_weights, to_initial, to_side, to_named = backward_operator(
                *given, residuals, *arriving, wanted
            )
            states = split_states(given.recipe, to_initial) if given.initial else ()
            return given.gradients(to_inputs, to_side, to_named, to_weights, states)

        # autograd drops those of tensors that need none
        return None, None, None, *each_example(gradients, [output_gradient, last_gradient])


def _alias(tensor: Tensor | None) -> Tensor | None:
    """The same values as a variable of its own, through which a third derivative still passes."""
    if tensor is None:
        return None
    return tensor.view_as(tensor) if tensor.requires_grad else tensor.detach().requires_grad_()


class _ScanBackward(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(
        ctx: Any,
        given: Arguments,
        residuals: Tensor,
        wanted: list[bool],
        output_gradient: Tensor | None,
        last_gradient: Tensor | None,
        *flat: Tensor | None,
    ) -> tuple[Tensor, ...]:
        """Call the operator; autograd sees the tensors of `given` as `flat`."""
        with torch._C._AutoDispatchBelowAutograd():
            to_inputs, to_weights, to_initial, to_side, to_named = backward_operator(
                *given, residuals, output_gradient, last_gradient, wanted
            )
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(output_gradient, last_gradient, *flat)
        ctx.wanted, ctx.counts, ctx.text = wanted, given.counts, given.text
        return to_inputs, to_side, to_initial, *to_named, *to_weights

    @staticmethod
    def backward(
        ctx: Any,
        d_inputs: Tensor | None,
        d_side: Tensor | None,
        d_initial: Tensor | None,
        *d_rest: Tensor | None,
    ) -> tuple[Any, ...]:
        """Gradients of the arguments of `scan_backward`: the scan as torch operations, derived twice."""
        warn_once(
            "stepfold has no fused kernel for second derivatives yet: a loop of torch operations computes "
            "them, timestep by timestep"
        )
        again = torch.is_grad_enabled()
        with torch.enable_grad():
            arriving = [_alias(tensor) for tensor in ctx.saved_tensors[:2]]
            given = Arguments.of(ctx.saved_tensors[2:], ctx.counts, ctx.text)
            one = len(given.named)
            two = one + len(given.weights)
            variables = [
                _alias(t) for t in (given.inputs, given.side, *given.named, *given.weights, *given.initial)
            ]
            inputs, side, *rest = variables
            named, weights, initial = rest[:one], rest[one:two], rest[two:]
            given = given._replace(inputs=inputs, side=side, named=named, weights=weights, initial=initial)
            outputs = given.by_loop()
            gradients = _gradients(outputs, arriving, variables, create_graph=True)
            count, last = len(weights), len(ctx.wanted) - one
            wishes = [ctx.wanted[0], any(ctx.wanted[1 + count : last])]
            wishes += [*ctx.wanted[last:], *ctx.wanted[1 : 1 + count]]
            given_back = zip((d_inputs, d_side, *d_rest), wishes, strict=True)
            cotangents = [cotangent if wish else None for cotangent, wish in given_back]
            if d_initial is None:
                cotangents += [None] * len(initial)
            else:
                cotangents += split_states(given.recipe, d_initial) if initial else []
            found = _gradients(gradients, cotangents, [*arriving, *variables], create_graph=again)
        to_output, to_last, to_inputs, to_side, *rest = found
        of = rest[:one], rest[one:two], rest[two:]
        return None, None, None, to_output, to_last, *given.gradients(to_inputs, to_side, *of)


def _gradients(
    values: Sequence[Tensor | None],
    cotangents: Sequence[Tensor | None],
    variables: Sequence[Tensor | None],
    *,
    create_graph: bool,
) -> list[Tensor | None]:
    """Carry the values' cotangents back to the variables; None where there is no influence."""
    pairs = [
        (value, cotangent)
        for value, cotangent in zip(values, cotangents, strict=True)
        if value is not None and cotangent is not None and value.requires_grad
    ]
    if not pairs:
        return [None] * len(variables)
    given = [v for v in variables if v is not None]
    reached, arriving = zip(*pairs, strict=True)
    found = iter(torch.autograd.grad(reached, given, arriving, create_graph=create_graph, allow_unused=True))
    return [None if v is None else next(found) for v in variables]


_autograd.impl("scan", Untraced(_forward), "Autograd")
_autograd.impl("scan_backward", Untraced(_backward), "Autograd")
