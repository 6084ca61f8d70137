"""The operators that tests call directly: the one place that knows their names and arguments."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

import stepfold.torch  # noqa: F401  (registers the operators)
from stepfold import Cell
from stepfold._runtime import Recipe

Call = dict[str, Any]
"""What both operators are called with: inputs, weights, initial, extra, the recipe's text, and what says
which steps are active: lengths, mask or batch_sizes."""


def operator_call(
    cell: Cell, inputs: Tensor, weights: Sequence[Tensor], initial: Sequence[Tensor] = (), **changes: Any
) -> Call:
    """The arguments for a cell whose parameters are the weights, in its own order."""
    call: Call = {
        "inputs": inputs,
        "weights": list(weights),
        "initial": list(initial),
        "extra": [],
        "lengths": None,
        "mask": None,
        "batch_sizes": None,
        "text": Recipe.of(cell.step, int(weights[0].shape[0])).text,
    }
    return call | changes


def _arguments(call: Call) -> tuple[Any, ...]:
    kinds = {"lengths": "lengths", "mask": "mask", "batch_sizes": "packed"}
    given = [name for name in kinds if call[name] is not None]
    flags = {"initial": bool(call["initial"]), "active": kinds[given[0]] if given else "all"}
    text = call["text"]
    if text.startswith("{"):
        told = json.loads(text)
        text = json.dumps(told | {"flags": told["flags"] | flags})
    active = call[given[0]] if given else None
    return call["inputs"], call["weights"], call["initial"], call["extra"], active, None, None, [], text


def operator_scan(call: Call, keep: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """Run the operator of the forward pass: outputs, last states, residuals."""
    result: tuple[Tensor, Tensor, Tensor] = torch.ops.stepfold.scan(*_arguments(call), True, keep)
    return result


def operator_backward(
    call: Call,
    residuals: Tensor,
    output_gradient: Tensor | None,
    last_gradient: Tensor | None,
    wanted: Sequence[bool] | None = None,
) -> tuple[Tensor, list[Tensor], Tensor]:
    """Run the operator of the backward pass: gradients of inputs, weights, initial states; `wanted` of the
    inputs and of each weight."""
    wishes = [True] * (1 + len(call["weights"])) if wanted is None else list(wanted)
    inputs, of_weights, initial, *_ = torch.ops.stepfold.scan_backward(
        *_arguments(call), residuals, output_gradient, last_gradient, wishes
    )
    return inputs, of_weights, initial
