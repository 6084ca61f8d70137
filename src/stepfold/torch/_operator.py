"""The custom operators `stepfold::scan` and `stepfold::scan_backward` on the CPU.

They have fake implementations, so they are traced, compiled and exported as one operation whatever the number
of timesteps. Whoever calls them: what does not fit the recipe raises an error before native code sees it. A
kernel for another device is one more `torch.library.impl` here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._native import FRESH, acquire, openmp_of, thread_cap
from .._runtime import error_of
from ._arguments import Arguments
from ._prepare import Prepared, forward_shapes, prepared_backward, prepared_forward, spec_of, wishes_of
from ._states import state_addresses, states_shape

_SHARED = "Tensor? inputs, Tensor[] weights, Tensor[] initial, Tensor[] extra, Tensor? active, "
_SHARED += "Tensor? tokens, Tensor? side, Tensor[] named, str recipe"
_NAMES = {"darwin": "libtorch_cpu.dylib", "win32": "torch_cpu.dll"}
LIBRARY = str(Path(torch.__file__).parent / "lib" / _NAMES.get(sys.platform, "libtorch_cpu.so"))
"""PyTorch's library of CPU kernels: its OpenMP threads are awake when ours would have to be woken."""


class Untraced:
    """A function that torch.compile does not look into. Where it gives up on a caller and runs that as it is,
    it would compile pieces of this one, and hand native code what stands in the place of addresses."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._apart: Callable[..., Any] | None = None

    def __call__(self, *arguments: Any) -> Any:
        """Call the function."""
        if self._apart is None:
            # importing the compiler takes seconds: it is asked only if somebody else imported it
            disable = getattr(sys.modules.get("torch._dynamo"), "disable", None)
            if disable is None:
                return self._function(*arguments)
            self._apart = disable(self._function)
        return self._apart(*arguments)


torch.library.define(
    "stepfold::scan",
    f"({_SHARED}, bool sequences, bool training) -> (Tensor outputs, Tensor last, Tensor residuals)",
)
torch.library.define(
    "stepfold::scan_backward",
    f"({_SHARED}, Tensor residuals, Tensor? output_gradient, Tensor? last_gradient, bool[] wanted) -> "
    "(Tensor inputs_gradient, Tensor[] weights_gradients, Tensor initial_gradient, Tensor side_gradient, "
    "Tensor[] named_gradients)",
)


class Gradients(NamedTuple):
    """What `stepfold::scan_backward` returns; `wanted` says it of the inputs, of each of the weights, of
    side features, if there are any, and of each of the inputs with a name."""

    inputs: Tensor
    weights: list[Tensor]
    initial: Tensor
    side: Tensor
    named: list[Tensor]


def refuse_onnx(name: str) -> None:
    """RuntimeError where torch.onnx.export looks into a scan: ONNX has no such operator."""
    if torch.onnx.is_in_onnx_export():
        raise RuntimeError(
            f"torch.onnx.export knows no operator for the cell {name}; "
            'stepfold.export(model, "model.onnx") writes it'
        )


def _scan_results(*call: Any) -> tuple[Tensor, Tensor, Tensor]:
    given, sequences, training = Arguments.split(call)
    refuse_onnx(given.recipe.step.name)
    outputs, last, residuals = forward_shapes(given, sequences, training)
    new = given.like.new_empty
    return new(outputs), new(last), new(residuals, dtype=torch.uint8)


def _scan(*call: Any) -> tuple[Tensor, Tensor, Tensor]:
    given, sequences, training = Arguments.split(call)
    prepared = prepared_forward(given.each(spec_of), sequences, training)
    shapes, new = prepared.shapes, given.like.new_empty
    outputs, last, residuals = new(shapes.outputs), new(shapes.last), residual_memory(*shapes.residuals)
    if prepared.batch:
        results = [outputs.data_ptr(), *_states(given, last)] if sequences else [*_states(given, last)]
        results += [residuals.data_ptr()] if training else []
        _run(prepared, [tensor for tensor in given.flat if tensor is not None], results)
    return outputs, last, residuals


def _backward_results(*call: Any) -> Gradients:
    given, *_, wanted = Arguments.split(call)
    return _new_gradients(given, wanted)


def _new_gradients(given: Arguments, wanted: list[bool]) -> Gradients:
    """Memory for the gradients, without elements where they are not wanted or there is nothing that they are
    of."""
    inputs, side, initial, new = given.inputs, given.side, given.initial, given.like.new_empty
    first = 1 + len(given.weights)
    own, of_side = inputs is not None and wanted[0], side is not None and wanted[first]
    of_named = wanted[first + (side is not None) :]
    return Gradients(
        new(inputs.shape if inputs is not None and own else (0,)),
        [w.new_empty(w.shape if wish else (0,)) for w, wish in zip(given.weights, wanted[1:], strict=False)],
        new(states_shape(given.recipe, given.sizes[0]) if initial else (0,)),
        new(side.shape if side is not None and of_side else (0,)),
        [new(each.shape if wish else (0,)) for each, wish in zip(given.named, of_named, strict=False)],
    )


def _scan_backward(*call: Any) -> Gradients:
    given, residuals, output_gradient, last_gradient, wanted = Arguments.split(call)
    prepared = prepared_backward(
        given.each(spec_of),
        spec_of(residuals),
        None if output_gradient is None else spec_of(output_gradient),
        None if last_gradient is None else spec_of(last_gradient),
        tuple(wanted),
    )
    found = _new_gradients(given, wanted)
    to_inputs, to_weights, to_initial, to_side, to_named = found
    if not prepared.batch:
        for gradient in (to_inputs, *to_weights):  # of a table of vectors, too
            gradient.zero_()
        return found
    if residuals.data_ptr() % 64:  # a copy from elsewhere; the regions inside are aligned
        residuals = residuals.clone()
    tensors = [each for each in (given.inputs, given.side, *given.named) if each is not None]
    tensors += [*given.extra, *given.weights, residuals]
    tensors += [] if output_gradient is None else [output_gradient]
    stacked = None if last_gradient is None else last_gradient.contiguous()
    addresses = [] if stacked is None else [*_states(given, stacked)]
    wishes = wishes_of(given, False, (), tuple(wanted))
    addresses += [to_inputs.data_ptr()] if wishes.inputs else []
    addresses += [to_side.data_ptr()] if wishes.side else []
    addresses += [each.data_ptr() for each, wish in zip(to_named, wishes.named, strict=True) if wish]
    addresses += _states(given, to_initial) if given.initial else []
    addresses += [gradient.data_ptr() for gradient, wish in zip(to_weights, wanted[1:], strict=False) if wish]
    _run(prepared, tensors, addresses)
    return found


def residual_memory(size: int) -> Tensor:
    """Memory for residuals."""
    if size < FRESH or torch.are_deterministic_algorithms_enabled():
        return torch.empty(size, dtype=torch.uint8)
    return torch.from_numpy(acquire(size))


def _states(given: Arguments, together: Tensor) -> list[int]:
    """Where each state of a contiguous tensor of states lies."""
    if not together.data_ptr():
        check_memory([together])
    return state_addresses(given.recipe, together)


def _run(prepared: Prepared, tensors: list[Tensor], others: list[int]) -> None:
    """Run on tensors and on the addresses of the other operands and of the results, which follow them."""
    executor = openmp_of(LIBRARY)
    threads = thread_cap(None, torch.get_num_threads())
    tensors = [tensor.contiguous() for tensor in tensors]  # held until the program is done
    addresses = [tensor.data_ptr() for tensor in tensors]
    if 0 in addresses:
        check_memory(tensors)
    status = prepared.program(threads=threads).run(addresses + others, executor, threads)
    if status is not None:
        raise error_of(status)


def check_memory(tensors: Sequence[Tensor]) -> None:
    """RuntimeError if one of the tensors has elements but no memory."""
    for tensor in tensors:
        if tensor.numel() and not tensor.data_ptr():
            raise RuntimeError(f"a tensor of shape {tuple(tensor.shape)} has no memory: its storage is empty")


torch.library.register_fake("stepfold::scan", _scan_results)
torch.library.register_fake("stepfold::scan_backward", _backward_results)
torch.library.impl("stepfold::scan", "cpu", Untraced(_scan))
torch.library.impl("stepfold::scan_backward", "cpu", Untraced(_scan_backward))
