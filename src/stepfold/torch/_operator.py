"""The custom operators: a recipe folded over a batch, and its way back; their kernels are those of the `scan`
room.

They have fake implementations, so they are traced, compiled and exported as one operation whatever the number
of timesteps. A kernel for another device is one more `torch.library.impl` here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .._scan import lend
from ._call import Call, array

_CALL = (
    "Tensor inputs, Tensor[] weights, Tensor[] initial, Tensor[] extra, Tensor? lengths, Tensor? mask, "
    "Tensor? batch_sizes, str recipe, bool time_major, bool reverse"
)
COMMON = 10
"""How many arguments both operators share: those of `Call`."""

_LENT = 1 << 20
"""Numbers from which on it pays to take memory that was used before; PyTorch's own is fresh every time."""

torch.library.define("stepfold::fold", f"({_CALL}, bool keep) -> (Tensor outputs, Tensor last, Tensor kept)")
torch.library.define(
    "stepfold::fold_backward",
    f"({_CALL}, Tensor kept, Tensor? output_gradient, Tensor? last_gradient, bool[] wanted) -> "
    "(Tensor inputs_gradient, Tensor[] weights_gradients, Tensor initial_gradient)",
)


@torch.library.register_fake("stepfold::fold")  # type: ignore[untyped-decorator]
def _fold_results(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    """What `fold` gives, not yet written: outputs, last states (states, batch, units), and what the way back
    needs."""
    call, keep = Call(*arguments[:COMMON]), arguments[COMMON]
    inputs, units = call.inputs, call.recipe.units
    batch, time = call.batch_and_time
    if call.batch_sizes is not None and batch:
        time = -(-time // batch)  # places, as if they were shared out evenly among the rows
    size = call.recurrence.kept_size(batch, time) if keep else 0
    return (
        inputs.new_empty((*inputs.shape[:-1], units)),
        inputs.new_empty((len(call.recipe.step.states), batch, units)),
        inputs.new_empty((size,)),
    )


@torch.library.impl("stepfold::fold", "cpu")  # type: ignore[untyped-decorator]
def _fold(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    call, keep = Call(*arguments[:COMMON]), arguments[COMMON]
    outputs, last, kept = _fold_results(*arguments)
    if kept.numel() >= _LENT and not torch.are_deterministic_algorithms_enabled():
        kept = torch.from_numpy(lend(kept.numel(), kept.numpy().dtype))
    if call.lengths is not None:
        # by NumPy: a parallel torch operation would leave its threads spinning where the kernel wants to run
        outputs.numpy().fill(0)
    call.recurrence.forward(
        call.schedule(),
        call.in_memory(call.inputs),
        call.parameters(),
        [array(state) for state in call.initial] or None,
        extra=call.leaves(),
        outputs=call.in_memory(outputs),
        last=list(last.numpy()),
        kept=kept.numpy() if keep else None,
        threads=torch.get_num_threads(),
    )
    return outputs, last, kept


@torch.library.register_fake("stepfold::fold_backward")  # type: ignore[untyped-decorator]
def _gradients(*arguments: Any) -> tuple[Tensor, list[Tensor], Tensor]:
    """The gradients, not yet written; of size 0 where they are not wanted."""
    call, wanted = Call(*arguments[:COMMON]), arguments[-1]
    shapes = [call.inputs.shape, (len(call.initial), call.batch_and_time[0], call.recipe.units)]
    inputs, initial = (
        call.inputs.new_empty(shape if wish else (0,))
        for shape, wish in zip(shapes, (wanted[0], wanted[2]), strict=True)
    )
    return inputs, [w.new_empty(w.shape if wanted[1] else (0,)) for w in call.weights], initial


@torch.library.impl("stepfold::fold_backward", "cpu")  # type: ignore[untyped-decorator]
def _fold_backward(*arguments: Any) -> tuple[Tensor, list[Tensor], Tensor]:
    call = Call(*arguments[:COMMON])
    kept, output_gradient, last_gradient, wanted = arguments[COMMON:]
    to_inputs, to_weights, to_initial = _gradients(*arguments)
    if call.lengths is not None:
        to_inputs.numpy().fill(0)
    pieces = _pieces(call, to_weights) if wanted[1] else {}
    call.recurrence.backward(
        call.schedule(),
        call.in_memory(call.inputs),
        call.parameters(),
        kept.numpy(),
        extra=call.leaves(),
        output_gradient=call.in_memory(output_gradient),
        last_gradient=None if last_gradient is None else list(array(last_gradient)),
        inputs_gradient=call.in_memory(to_inputs) if wanted[0] else None,
        params_gradient={name: parts[0] for name, parts in pieces.items()},
        initial_gradient=list(to_initial.numpy()) if wanted[2] else None,
        threads=torch.get_num_threads(),
    )
    for first, *others in pieces.values():
        for other in others:
            other[...] = first
    return to_inputs, to_weights, to_initial


def _pieces(call: Call, tensors: Sequence[Tensor]) -> dict[str, list[Any]]:
    """For each parameter the parts of the tensors where its gradient is written, the same into each."""
    arrays = [t.numpy() for t in tensors]
    names = (name for name, parts in call.recipe.layout.items() if parts)
    return {name: call.recipe.pieces(arrays, name) for name in names}
