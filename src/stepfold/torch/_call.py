"""What both operators are called with, and how it looks to the kernels (NumPy) and to the loop (torch)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .._scan import Recurrence, Schedule, recurrence
from ._loop import loop
from ._recipe import Recipe


class Call(NamedTuple):
    """The arguments that `stepfold::fold` and `stepfold::fold_backward` share, in the order of their schemas.

    `inputs` (batch, time, features), with `time_major` (time, batch, features), or with `batch_sizes` the
    data (places, features) of a packed batch; `initial` one (batch, units) a state, or none for zeros (a
    packed batch always has them); `extra` the leaves that a transformed step asks for, in the recipe's order;
    `mask` (batch, time) of bools: where it is false a row keeps its state, and its output is that state;
    behind the end that `lengths` (batch,) gives it, outputs are zero.
    """

    inputs: Tensor
    weights: list[Tensor]
    initial: list[Tensor]
    extra: list[Tensor]
    lengths: Tensor | None
    mask: Tensor | None
    batch_sizes: Tensor | None
    text: str
    time_major: bool
    reverse: bool

    @property
    def recipe(self) -> Recipe:
        """The recipe that the text says."""
        return Recipe.from_text(self.text)

    @property
    def recurrence(self) -> Recurrence:
        """The kernels of the recipe's step."""
        return recurrence(self.recipe.step, self.recipe.units, np.dtype(_name(self.inputs.dtype)))

    @property
    def batch_and_time(self) -> tuple[int, int]:
        """How many rows and timesteps; of a packed batch, rows and places."""
        if self.batch_sizes is not None:
            return self.initial[0].shape[0], self.inputs.shape[0]
        first, second = self.inputs.shape[:2]
        return (second, first) if self.time_major else (first, second)

    def schedule(self) -> Schedule:
        """Which row works at which timestep."""
        batch, time = (0, 0) if self.batch_sizes is not None else self.batch_and_time
        for kind in ("lengths", "mask", "batch_sizes"):
            given = getattr(self, kind)
            if given is not None:
                values = given.numpy()
                return _partial_schedule(
                    kind,
                    values.tobytes(),
                    values.dtype.str,
                    values.shape,
                    batch,
                    time,
                    self.reverse,
                    self.time_major,
                )
        return Schedule.of(batch, time, reverse=self.reverse, time_major=self.time_major)

    def in_memory(self, tensor: Tensor | None) -> Any:
        """Values as the schedule sees them, two axes and a width; a packed batch is one row of places."""
        if tensor is None:
            return None
        return array(tensor) if self.batch_sizes is None else array(tensor)[None]

    def parameters(self) -> dict[str, Any]:
        """Name → parameter: a view of the weights, unless parts have to be added up."""
        zeros = np.zeros(self.recipe.units, _name(self.inputs.dtype))
        return self.recipe.parameters([w.detach().numpy() for w in self.weights], lambda: zeros)

    def leaves(self) -> dict[tuple[str, str], Any]:
        """The values of the leaves that a transformed step asks for."""
        return {
            name: self.in_memory(value) if name[0] == "step_input" else array(value)
            for name, value in zip(self.recipe.extra, self.extra, strict=True)
        }

    def by_loop(self) -> tuple[Tensor, Tensor]:
        """Compute (outputs, last) as torch operations, which torch can derive as often as wanted."""
        inputs, recipe = self.inputs, self.recipe
        initial = self.initial
        if not initial:
            initial = [inputs.new_zeros((self.batch_and_time[0], recipe.units)) for _ in recipe.step.states]
        spread, gather, working = self._time_first()
        extra = {
            name: spread(value) if name[0] == "step_input" else value
            for name, value in zip(recipe.extra, self.extra, strict=True)
        }
        params = recipe.parameters(self.weights, lambda: inputs.new_zeros(recipe.units))
        outputs, last = loop(
            recipe.step, spread(inputs), params, initial, mask=working, extra=extra, reverse=self.reverse
        )
        if self.lengths is not None and working is not None:
            outputs = torch.where(working[..., None], outputs, outputs.new_zeros(()))
        return gather(outputs), torch.stack(last)

    def _time_first(self) -> tuple[Arrange, Arrange, Tensor | None]:
        """How values as given become (time, batch, width), how they become as given again, and who works
        when."""
        device = self.inputs.device
        if self.batch_sizes is not None:
            sizes = self.batch_sizes.to(device)
            rows = torch.arange(self.initial[0].shape[0], device=device)
            packed = rows < sizes[:, None]
            # a place behind a row's end reads any place, and is masked
            places = ((sizes.cumsum(0) - sizes)[:, None] + rows).clamp(max=self.inputs.shape[0] - 1)
            return (lambda flat: flat[places]), (lambda wide: wide[packed]), packed
        working = None if self.mask is None else self.mask.T.to(device)
        if self.lengths is not None:
            steps = torch.arange(self.batch_and_time[1], device=device)
            working = steps[:, None] < self.lengths.to(device)
        if self.time_major:
            return _as_it_is, _as_it_is, working
        return _swapped, _swapped, working


Arrange = Callable[[Tensor], Tensor]


def _as_it_is(tensor: Tensor) -> Tensor:
    return tensor


def _swapped(tensor: Tensor) -> Tensor:
    return tensor.transpose(0, 1)


def array(tensor: Tensor) -> Any:
    """The tensor's own memory as an array, or that of a contiguous copy."""
    return tensor.detach().contiguous().numpy()


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


@functools.lru_cache(maxsize=64)
def _partial_schedule(
    kind: str,
    data: bytes,
    dtype: str,
    shape: Sequence[int],
    batch: int,
    time: int,
    reverse: bool,
    time_major: bool,
) -> Schedule:
    """The schedule of lengths, a mask or batch sizes; the layers of a stack, and the way back, ask for it
    again."""
    values = np.frombuffer(data, dtype).reshape(shape)
    if kind == "batch_sizes":
        return Schedule.packed(values, reverse=reverse)
    made = Schedule.of(batch, time, reverse=reverse, time_major=time_major, **{kind: values})
    # behind a row's end there is nothing to repeat, nor a gradient to collect: as in a packed batch
    return replace(made, mask=None, ragged=True) if kind == "lengths" else made
