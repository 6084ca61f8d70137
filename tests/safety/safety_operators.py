"""The operators that tests call directly: the one place that knows their names and arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

import stepfold.torch  # noqa: F401  (registers the operators)
from stepfold import Cell
from stepfold.torch._recipe import Recipe

Call = dict[str, Any]
"""What both operators are called with: inputs, weights, initial, extra, lengths, mask, batch_sizes, text,
time_major, reverse."""


def operator_call(
    cell: Cell, inputs: Tensor, weights: Sequence[Tensor], initial: Sequence[Tensor] = (), **changes: Any
) -> Call:
    """The arguments for a cell whose parameters are the weights, in its own order."""
    units = int(weights[0].shape[0])
    call: Call = {
        "inputs": inputs,
        "weights": list(weights),
        "initial": list(initial),
        "extra": [],
        "lengths": None,
        "mask": None,
        "batch_sizes": None,
        "text": Recipe.of(cell.step, units).text,
        "time_major": False,
        "reverse": False,
    }
    return call | changes


def operator_scan(call: Call, keep: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """Run the operator of the forward pass: outputs, last states, residuals."""
    result: tuple[Tensor, Tensor, Tensor] = torch.ops.stepfold.fold(*call.values(), keep)
    return result


def operator_backward(
    call: Call,
    residuals: Tensor,
    output_gradient: Tensor | None,
    last_gradient: Tensor | None,
    wanted: Sequence[bool] = (True, True, True),
) -> tuple[Tensor, list[Tensor], Tensor]:
    """Run the operator of the backward pass: gradients of inputs, weights, initial states."""
    result: tuple[Tensor, list[Tensor], Tensor] = torch.ops.stepfold.fold_backward(
        *call.values(), residuals, output_gradient, last_gradient, list(wanted)
    )
    return result
