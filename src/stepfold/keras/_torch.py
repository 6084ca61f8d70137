"""The fold in PyTorch, for Keras's torch backend."""

from __future__ import annotations

from typing import Any

import torch

from ._recipe import Backward, Forward, Recipe, kept_size


def fold(
    recipe: Recipe,
    sequences: bool,
    inputs: Any,
    tokens: Any,
    mask: Any,
    initial: tuple[Any, ...],
    extra: tuple[Any, ...],
    weights: tuple[Any, ...],
) -> tuple[Any, tuple[Any, ...]]:
    """Fold a step over a batch; returns (outputs or None, last states). What is not there is None."""
    rest = (*initial, *extra, *weights)
    keep = torch.is_grad_enabled() and any(value.requires_grad for value in (inputs, *rest))
    found = _Fold.apply(recipe, sequences, inputs, tokens, mask, len(initial), keep, *rest)
    return (found[0], found[1:]) if sequences else (None, found)


class _Fold(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(
        context: Any,
        recipe: Recipe,
        sequences: bool,
        inputs: Any,
        tokens: Any,
        mask: Any,
        states: int,
        keep: bool,
        *rest: Any,
    ) -> Any:
        given = [value.contiguous() for value in (inputs, tokens, mask) if value is not None]
        rest = tuple(value.contiguous() for value in rest)
        batch, time = (inputs if tokens is None else tokens).shape[:2]
        results = [inputs.new_empty(batch, recipe.units) for _ in recipe.step.states]
        if sequences:
            results.insert(0, inputs.new_empty(batch, time, recipe.units))
        size = kept_size(recipe, batch, time, _dtype(inputs)) if keep else 0
        kept = inputs.new_empty(size)
        if inputs.device.type != "meta":
            _run(Forward(recipe, sequences, keep), [*given, *rest], [*results, kept] if keep else results)
        context.recipe, context.sequences, context.states = recipe, sequences, states
        context.set_materialize_grads(False)
        context.save_for_backward(*given, *rest[states:], kept)
        return tuple(results)

    @staticmethod
    @torch.autograd.function.once_differentiable  # type: ignore[untyped-decorator]
    def backward(context: Any, *gradients: Any) -> Any:
        recipe, states, first = context.recipe, context.states, 7 + context.states
        *saved, kept = context.saved_tensors
        inputs, weights = saved[0], saved[len(saved) - recipe.weights :]
        if any(context.needs_input_grad[first : first + len(recipe.extra)]):
            raise NotImplementedError("the masks of dropout and zoneout have no gradient; detach them")
        to_inputs, to_weights = (
            context.needs_input_grad[2],
            context.needs_input_grad[first + len(recipe.extra) :],
        )
        arrived = [None if g is None else g.contiguous() for g in gradients]
        from_outputs = arrived.pop(0) if context.sequences else None
        job = Backward(
            recipe, from_outputs is not None, tuple(g is not None for g in arrived), to_inputs, to_weights
        )
        batch = saved[1 if recipe.tokens else 0].shape[0]
        results = [torch.empty_like(inputs)] if to_inputs else []
        results += [inputs.new_empty(batch, recipe.units) for _ in range(states)]
        results += [torch.empty_like(w) for w, want in zip(weights, to_weights, strict=True) if want]
        _run(job, [*saved, kept, *(g for g in (from_outputs, *arrived) if g is not None)], results)
        found = iter(results)
        inputs_gradient = next(found) if to_inputs else None
        initial_gradients = [next(found) for _ in range(states)]
        weights_gradients = [next(found) if want else None for want in to_weights]
        leading = [None, None, inputs_gradient, None, None, None, None, *initial_gradients]
        return (*leading, *(None for _ in recipe.extra), *weights_gradients)


def _run(job: Forward | Backward, arguments: list[Any], results: list[Any]) -> None:
    job.run([a.detach().numpy() for a in arguments], [r.numpy() for r in results])


def _dtype(tensor: Any) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def why_not(array: Any) -> str | None:
    """Return why the fold cannot run where a tensor lies, None if it can."""
    kind = array.device.type
    return None if kind in ("cpu", "meta") else f"the tensors lie on {kind}, and the kernels are for CPUs"
