"""The scan in PyTorch, for Keras's torch backend: the operator that `stepfold.torch` registers."""

from __future__ import annotations

from typing import Any

import torch

from .. import torch as _adapter  # noqa: F401  (registers the operator)
from .._runtime import Recipe
from ..torch._states import split_states
from ._tokens import Operands


def scan(recipe: Recipe, sequences: bool, given: Operands) -> tuple[Any, tuple[Any, ...]]:
    """Run a recipe over a batch; returns (outputs or None, last states)."""
    inputs, tokens, side, named, mask, initial, extra, weights = given
    floats = (inputs, side, *named, *initial, *extra, *weights)
    training = torch.is_grad_enabled() and any(v is not None and v.requires_grad for v in floats)
    lists = [list(values) for values in (weights, initial, extra)]
    outputs, last, _ = torch.ops.stepfold.scan(
        inputs, *lists, mask, tokens, side, list(named), recipe.text, sequences, training
    )  # fmt: skip
    return outputs if sequences else None, tuple(split_states(recipe, last))


def unsupported_reason(array: Any) -> str | None:
    """Return why the kernels cannot run where a tensor lies, None if they can."""
    kind = array.device.type
    return None if kind in ("cpu", "meta") else f"the tensors lie on {kind}, and the kernels are for CPUs"
