"""A batch axis more, as `torch.vmap` adds it, as a larger batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import is_legacy_batchedtensor

from ._arguments import Arguments, Counts
from ._states import joined_states, split_states

Axes = Sequence[int | None]
"""For each tensor the axis that `vmap` maps over; None for a tensor that is the same for all examples."""


class Fold:
    """The flat tensors of a scan (`Arguments.flat`) for many examples as those of one scan of all rows.

    `size`: how many examples; `axes`: which axis of each tensor they lie on."""

    def __init__(
        self, size: int, axes: Axes, flat: Sequence[Tensor | None], counts: Counts, text: str
    ) -> None:
        given = Arguments.of(flat, counts, text)
        self.size, self._recipe = size, given.recipe
        self._rows = 1 if given.recipe.time_major else 0  # the axis of the rows in inputs and outputs
        at = Arguments.of([self._rows] * len(flat), counts, text)
        extra = [self._rows if kind == "step_input" else 0 for kind, _ in given.recipe.extra]
        rows = at._replace(
            active=0, initial=[0] * counts[1], extra=extra, weights=[None] * len(given.weights)
        )
        if given.recipe.tokens:
            rows = rows._replace(inputs=None)
        self.flat = [
            tensor if tensor is None or row is None else self._folded(tensor, axis, row)
            for tensor, axis, row in zip(flat, axes, rows.flat, strict=True)
        ]

    @staticmethod
    def serves(axes: Axes, counts: Counts, text: str) -> bool:
        """Whether the examples can be rows of one batch: not packed, with the same weights and table."""
        over = Arguments.of(axes, counts, text)
        shared = [*over.weights, *([over.inputs] if over.recipe.tokens else [])]
        return over.recipe.active != "packed" and all(axis is None for axis in shared)

    def _folded(self, tensor: Tensor, axis: int | None, row: int) -> Tensor:
        return leading(tensor, axis, self.size).movedim(0, row).flatten(row, row + 1)

    def _unfolded(self, tensor: Tensor, row: int) -> Tensor:
        return tensor.unflatten(row, (self.size, tensor.shape[row] // self.size))

    def results(self, outputs: Tensor, last: Tensor, residuals: Tensor) -> tuple[Any, Any]:
        """Return what `vmap` wants of a forward pass: (outputs, last, residuals) and the axis of each.

        The residuals belong to the whole batch."""
        found = self._unfolded(outputs, self._rows), self._unfolded_states(last), residuals
        return found, (self._rows, 0, None)

    def arriving(
        self, output_gradient: Tensor, last_gradient: Tensor, axes: Sequence[int | None]
    ) -> tuple[Tensor, Tensor]:
        """Return the gradients of outputs and last states for the larger batch."""
        of_output, of_last = axes
        examples = leading(last_gradient, of_last, self.size)
        each = [split_states(self._recipe, examples[k]) for k in range(self.size)]
        last = joined_states(self._recipe, [torch.cat(states) for states in zip(*each, strict=True)])
        return self._folded(output_gradient, of_output, self._rows), last

    def _unfolded_states(self, together: Tensor) -> Tensor:
        """The states of each example, the examples' axis first."""
        states = [self._unfolded(state, 0) for state in split_states(self._recipe, together)]
        return torch.stack(
            [joined_states(self._recipe, [state[k] for state in states]) for k in range(self.size)]
        )

    def gradients(self, found: Sequence[Tensor], wanted: Sequence[bool]) -> tuple[Any, Any]:
        """Return what `vmap` wants of a backward pass: the gradients of inputs, side, initial states, named
        inputs and of the weights, which are without elements."""
        count = len(self._recipe.step.inputs)
        to_inputs, to_side, to_initial, *rest = found
        to_named, to_weights = rest[:count], rest[count:]
        own = self._recipe.step.takes_features and wanted[0]
        side = self._recipe.side and wanted[1 + self._recipe.weights]
        named = wanted[len(wanted) - count :]
        values = [
            self._unfolded(to_inputs, self._rows) if own else to_inputs,
            self._unfolded(to_side, self._rows) if side else to_side,
            self._unfolded_states(to_initial) if self._recipe.initial else to_initial,
            *[self._unfolded(v, self._rows) if wish else v for v, wish in zip(to_named, named, strict=True)],
            *to_weights,
        ]
        axes = [
            self._rows if own else None,
            self._rows if side else None,
            0 if self._recipe.initial else None,
            *[self._rows if wish else None for wish in named],
        ]
        return tuple(values), (*axes, *[None for _ in to_weights])


def leading(tensor: Tensor, axis: int | None, size: int) -> Tensor:
    """Return a tensor with the examples' axis first."""
    if axis is None:
        return tensor.expand(size, *tensor.shape)
    return tensor.movedim(axis, 0)


def example(tensors: Sequence[Tensor | None], axes: Axes, number: int) -> list[Tensor | None]:
    """Return the tensors of one example."""
    return [
        tensor if tensor is None or axis is None else tensor.select(axis, number)
        for tensor, axis in zip(tensors, axes, strict=True)
    ]


def stacked(results: Sequence[Sequence[Tensor]]) -> tuple[Any, Any]:
    """Return the results of every example as `vmap` wants them, the examples' axis first."""
    found = tuple(torch.stack(each) for each in zip(*results, strict=True))
    return found, (0,) * len(found)


def each_example(
    function: Callable[..., Sequence[Tensor | None]], tensors: Sequence[Tensor | None]
) -> Sequence[Tensor | None]:
    """Call a function of tensors; where `torch.autograd.grad(is_grads_batched=True)` runs it over many
    gradients at once, call it for one after the other."""
    batched = [tensor is not None and is_legacy_batchedtensor(tensor) for tensor in tensors]
    if not any(batched):
        return function(*tensors)
    level = torch._C._vmapmode_increment_nesting() - 1
    torch._C._vmapmode_decrement_nesting()
    own = [
        torch._remove_batch_dim(tensor, level, 1, 0) if over else tensor
        for tensor, over in zip(tensors, batched, strict=True)
    ]
    axes = [0 if over else None for over in batched]
    size = next(len(tensor) for tensor, over in zip(own, batched, strict=True) if over and tensor is not None)
    results = [function(*example(own, axes, k)) for k in range(size)]
    return [
        None if each[0] is None else torch._add_batch_dim(torch.stack(each), 0, level)
        for each in zip(*results, strict=True)
    ]
