"""The gradients of weights that the steps of a loop share, summed as one vector, which autograd sees once."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch._C import _current_graph_task_id as graph_task

version = operator.attrgetter("_version")
is_compiling = torch.compiler.is_dynamo_compiling


def _backward_pass() -> int:
    """The number of the backward pass that runs."""
    return -1 if is_compiling() else graph_task()


class WeightGradients:
    """The gradients of the weights, summed while a backward pass runs: one vector, or, where they are
    variables themselves, one tensor a weight."""

    def __init__(self, wanted: tuple[bool, ...], weights: tuple[Tensor, ...]) -> None:
        self.weights, self._wanted = weights, wanted
        self._versions = [*map(version, weights)]
        self._sizes = [w.numel() if wish else 0 for w, wish in zip(weights, wanted, strict=True)]
        self._size = sum(self._sizes)
        self._sums: dict[int, list[Tensor]] = {}  # by backward pass: the sum, and memory for the next step's
        self._variables: dict[int, list[Tensor | None]] = {}

    def check(self) -> None:
        """RuntimeError if a weight was changed since the forward pass."""
        if [*map(version, self.weights)] != self._versions:
            changed = next(k for k, w in enumerate(self.weights) if w._version != self._versions[k])
            raise RuntimeError(
                "one of the variables needed for gradient computation has been modified by an inplace "
                f"operation: weight {changed}, of shape {tuple(self.weights[changed].shape)}, is at version "
                f"{self.weights[changed]._version}; expected version {self._versions[changed]} instead"
            )

    def memory(self) -> Tensor:
        """Memory for one step's gradients, which `add` takes."""
        found = self._sums.get(_backward_pass())
        if found is not None and len(found) == 2:
            return found.pop()
        return self.weights[0].new_empty(self._size) if self._size else torch.empty(0)

    def add(self, gradients: Tensor) -> None:
        """Add one step's gradients."""
        found = self._sums.get(_backward_pass())
        if found is None:
            self._begin(self._sums, [gradients])
        else:
            found[0].add_(gradients)
            found.append(gradients)

    def add_variables(self, gradients: Sequence[Tensor | None]) -> None:
        """Add one step's gradients, through which derivatives pass."""
        found = self._variables.get(_backward_pass())
        if found is None:
            self._begin(self._variables, list(gradients))
        else:
            found[:] = [
                a if b is None else b if a is None else a + b for a, b in zip(found, gradients, strict=True)
            ]

    def _begin(self, sums: dict[int, Any], first: list[Any]) -> None:
        task = _backward_pass()
        sums[task] = first
        if is_compiling():
            return
        # a pass that wants no gradients of the weights never takes them
        torch.autograd.Variable._execution_engine.queue_callback(lambda: sums.pop(task, None))

    def take(self) -> list[Tensor | None]:
        """Return the sum of a backward pass, a gradient a weight."""
        task = _backward_pass()
        found = self._sums.pop(task, None)
        if found is not None and self._size:
            pieces = zip(self.weights, found[0].split(self._sizes), self._wanted, strict=True)
            self.add_variables([piece.view_as(w) if wish else None for w, piece, wish in pieces])
        return self._variables.pop(task, [None] * len(self.weights))


class Loop:
    """What the steps of a loop share as long as the weights stay as they are."""

    def __init__(self, fingerprint: list[Any], wanted: tuple[bool, ...], weights: tuple[Tensor, ...]) -> None:
        self.fingerprint = fingerprint
        self.gradients = WeightGradients(wanted, weights)
        self.handle = _Weights.apply(self.gradients, *weights) if any(wanted) else None


class _Weights(torch.autograd.Function):  # type: ignore[misc]
    """Stands for the weights of a loop: a tensor without meaning, whose gradient is what the steps summed."""

    @staticmethod
    def forward(ctx: Any, gradients: WeightGradients, *weights: Tensor) -> Tensor:
        """Return what the steps take in place of the weights."""
        ctx.set_materialize_grads(False)
        ctx.gradients = gradients
        return weights[0].new_empty(())

    @staticmethod
    def backward(ctx: Any, _: None) -> tuple[Any, ...]:
        """Hand the sum to the weights."""
        return None, *ctx.gradients.take()
