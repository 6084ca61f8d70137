"""The custom operators `stepfold::scan` and `stepfold::scan_backward` on the CPU.

They have fake implementations, so they are traced, compiled and exported as one operation whatever the number
of timesteps. Whoever calls them: what does not fit the recipe raises an error before native code sees it. A
kernel for another device is one more `torch.library.impl` here.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .._native import FRESH, acquire, openmp_of, thread_cap
from .._runtime import engine_for, error_of, residuals_size
from ._arguments import Arguments
from ._prepare import Prepared, float_of, forms_of, prepared_backward, prepared_forward

COMMON = len(Arguments._fields)
"""How many arguments both operators share: those of `Arguments`."""
_SHARED = "Tensor inputs, Tensor[] weights, Tensor[] initial, Tensor[] extra, Tensor? active, "
_SHARED += "Tensor? tokens, str recipe"
_NAMES = {"darwin": "libtorch_cpu.dylib", "win32": "torch_cpu.dll"}
_LIBRARY = str(Path(torch.__file__).parent / "lib" / _NAMES.get(sys.platform, "libtorch_cpu.so"))
"""PyTorch's library of CPU kernels: its OpenMP threads are awake when ours would have to be woken."""

torch.library.define(
    "stepfold::scan",
    f"({_SHARED}, bool sequences, bool training) -> (Tensor outputs, Tensor last, Tensor residuals)",
)
torch.library.define(
    "stepfold::scan_backward",
    f"({_SHARED}, Tensor residuals, Tensor? output_gradient, Tensor? last_gradient, bool[] wanted) -> "
    "(Tensor inputs_gradient, Tensor[] weights_gradients, Tensor initial_gradient)",
)


def _scan_results(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    """The outputs (without elements if they are not asked for), the last states (states, batch, units), and
    the residuals, as bytes."""
    given, sequences, training = Arguments(*arguments[:COMMON]), *arguments[COMMON:]
    inputs, recipe = given.inputs, given.recipe
    batch, time, places = given.sizes
    engine = engine_for(recipe.step, recipe.units, float_of(inputs.dtype))
    size = residuals_size(engine, recipe, batch, time, places) if training else 0
    return (
        inputs.new_empty((*given.batch_axes, recipe.units) if sequences else (0,)),
        inputs.new_empty((len(recipe.step.states), batch, recipe.units)),
        inputs.new_empty((size,), dtype=torch.uint8),
    )


def _scan(
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
    forms = forms_of(inputs, weights, initial, extra, active, tokens)
    call = prepared_forward(text, forms, sequences, training)
    outputs, last, residuals = inputs.new_empty(call.outputs), inputs.new_empty(call.last), _bytes(call)
    if call.shape.batch:
        given = [tensor for tensor in (inputs, tokens, active) if tensor is not None]
        given = [tensor.contiguous() for tensor in (*given, *initial, *extra, *weights)]
        results = [outputs.data_ptr(), *call.states(last)] if sequences else [*call.states(last)]
        _run(call, given, [*results, residuals.data_ptr()] if training else results)
    return outputs, last, residuals


def _backward_results(*arguments: Any) -> tuple[Tensor, list[Tensor], Tensor]:
    """The gradients, without elements where they are not wanted or there is nothing that they are of."""
    given, wanted = Arguments(*arguments[:COMMON]), arguments[-1]
    inputs, initial = given.inputs, given.initial
    states = (len(initial), given.sizes[0], given.recipe.units) if initial else (0,)
    return (
        inputs.new_empty(inputs.shape if wanted[0] else (0,)),
        [w.new_empty(w.shape if wish else (0,)) for w, wish in zip(given.weights, wanted[1:], strict=True)],
        inputs.new_empty(states),
    )


def _scan_backward(
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
    call = prepared_backward(
        text,
        forms_of(inputs, weights, initial, extra, active, tokens),
        (residuals.shape, residuals.dtype),
        None if output_gradient is None else (output_gradient.shape, output_gradient.dtype),
        None if last_gradient is None else (last_gradient.shape, last_gradient.dtype),
        tuple(wanted),
    )
    to_inputs = inputs.new_empty(inputs.shape if wanted[0] else 0)
    to_weights = [
        weight.new_empty(weight.shape if wish else 0)
        for weight, wish in zip(weights, wanted[1:], strict=True)
    ]
    to_initial = inputs.new_empty(call.last if initial else 0)
    if not call.shape.batch:
        return to_inputs, [gradient.zero_() for gradient in to_weights], to_initial
    if residuals.data_ptr() % 64:  # from elsewhere: kernels read whole words of it
        residuals = residuals.clone()
    given = [tensor.contiguous() for tensor in (inputs, *extra, *weights, residuals)]
    given += [] if output_gradient is None else [output_gradient.contiguous()]
    arriving = None if last_gradient is None else last_gradient.contiguous()
    results = [] if arriving is None else [*call.states(arriving)]
    results += [to_inputs.data_ptr()] if wanted[0] else []
    results += call.states(to_initial) if initial else []
    results += [gradient.data_ptr() for gradient, wish in zip(to_weights, wanted[1:], strict=True) if wish]
    _run(call, given, results)
    return to_inputs, to_weights, to_initial


def _bytes(call: Prepared) -> Tensor:
    """Memory for residuals."""
    if call.residuals < FRESH or torch.are_deterministic_algorithms_enabled():
        return torch.empty(call.residuals, dtype=torch.uint8)
    return torch.from_numpy(acquire(call.residuals))


def _run(call: Prepared, given: list[Tensor], results: list[int]) -> None:
    """Run on what is given, contiguous tensors, and on the addresses of the results behind them."""
    executor = openmp_of(_LIBRARY)
    threads = thread_cap(None, torch.get_num_threads())
    addresses = [tensor.data_ptr() for tensor in given]
    if 0 in addresses:
        _check_memory(given)
    status = call.program(threads).run(addresses + results, executor, threads)
    if status is not None:
        raise error_of(status)


def _check_memory(given: list[Tensor]) -> None:
    for tensor in given:
        if tensor.numel() and not tensor.data_ptr():
            raise RuntimeError(f"a tensor of shape {tuple(tensor.shape)} has no memory: its storage is empty")


torch.library.register_fake("stepfold::scan", _scan_results)
torch.library.register_fake("stepfold::scan_backward", _backward_results)
torch.library.impl("stepfold::scan", "cpu", _scan)
torch.library.impl("stepfold::scan_backward", "cpu", _scan_backward)
