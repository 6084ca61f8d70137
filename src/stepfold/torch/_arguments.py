"""What both operators are called with, and the scan as a loop of torch operations over it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._runtime import Recipe
from ._loop import beside, loop
from ._states import joined_states

Arrange = Callable[[Tensor], Tensor]
Counts = tuple[int, int, int]


class Arguments(NamedTuple):
    """The arguments that `stepfold::scan` and `stepfold::scan_backward` share, in the order of their schemas.

    `inputs` (batch, time, features), for a time-major recipe (time, batch, features), for a packed one
    (places, features), None for a step without an input without a name; with `tokens`, int32 or int64 and of
    the same axes but the last, inputs are instead the table (vocabulary_size, features) whose rows they
    choose, and `side` (batch, time, features) is appended to these, if the recipe says so; `named` the step's
    inputs with a name, laid out as the inputs; `initial` one (batch, units) a state, or as wide as the state
    is, if the recipe says so, which it must for a packed batch: they tell its number of rows; `extra` the
    leaves that a transformed step asks for, in the recipe's order; `active` the lengths (batch,), mask
    (batch, time) or batch sizes (time,) that the recipe speaks of. `each` puts something else in the place of
    each tensor.
    """

    inputs: Tensor | None
    weights: Sequence[Tensor]
    initial: Sequence[Tensor]
    extra: Sequence[Tensor]
    active: Tensor | None
    tokens: Tensor | None
    side: Tensor | None
    named: Sequence[Tensor]
    text: str

    @classmethod
    def split(cls, call: Sequence[Any]) -> tuple[Any, ...]:
        """Return these arguments of a call of an operator, then those that only that operator has."""
        return cls._make(call[:9]), *call[9:]

    @property
    def flat(self) -> list[Any]:
        """All tensors, in the order of a forward program's operands; None for one that is not there."""
        return [
            self.inputs, self.tokens, self.side, *self.named, self.active, *self.initial, *self.extra,
            *self.weights,
        ]  # fmt: skip

    @property
    def counts(self) -> Counts:
        """How many named inputs, initial states and extra leaves there are."""
        return len(self.named), len(self.initial), len(self.extra)

    @classmethod
    def of(cls, flat: Sequence[Any], counts: Counts, text: str) -> Arguments:
        """Return the arguments again, or what came in their place, from what `flat` and `counts` return."""
        (inputs, tokens, side), rest = flat[:3], list(flat[3:])
        one, two, three = counts
        named, active, rest = rest[:one], rest[one], rest[one + 1 :]
        extra, weights = rest[two : two + three], rest[two + three :]
        return cls(inputs, weights, rest[:two], extra, active, tokens, side, named, text)

    def gradients(
        self, inputs: Any, side: Any, named: Sequence[Any], weights: Sequence[Any], initial: Sequence[Any]
    ) -> list[Any]:
        """Gradients of these five, in the order of `flat`: the other arguments have none."""
        inputs = None if self.inputs is None else inputs
        side = None if self.side is None else side
        return [inputs, None, side, *named, None, *initial, *[None for _ in self.extra], *weights]

    @property
    def wishes(self) -> list[bool]:
        """Of values that say of each argument whether its gradient is needed, those that
        `stepfold::scan_backward` takes: of the inputs, the weights, the side features, the named inputs."""
        side = [bool(self.side)] if self.recipe.side else []
        return [bool(self.inputs), *map(bool, self.weights), *side, *map(bool, self.named)]

    def each(self, function: Callable[[Any], Any]) -> Arguments:
        """The same with a function's value in the place of each tensor; hashable if the values are."""
        inputs, weights, initial, extra, active, tokens, side, named, text = self
        return Arguments(
            None if inputs is None else function(inputs),
            tuple(map(function, weights)),
            tuple(map(function, initial)),
            tuple(map(function, extra)),
            None if active is None else function(active),
            None if tokens is None else function(tokens),
            None if side is None else function(side),
            tuple(map(function, named)),
            text,
        )

    @property
    def recipe(self) -> Recipe:
        """The recipe that the text says."""
        return Recipe.from_text(self.text)

    @property
    def like(self) -> Any:
        """A tensor of the dtype and on the device of all."""
        return self.named[0] if self.inputs is None else self.inputs

    @property
    def batch_axes(self) -> tuple[int, ...]:
        """The leading axes of inputs, or of tokens, and of outputs."""
        return tuple(self.like.shape[:-1] if self.tokens is None else self.tokens.shape)

    @property
    def sizes(self) -> tuple[int, int, int | None]:
        """The rows, the timesteps and, of a packed batch, the places; they may be symbolic."""
        recipe = self.recipe
        if recipe.active == "packed":
            assert self.active is not None
            return self.initial[0].shape[0], self.active.shape[0], self.batch_axes[0]
        first, second = self.batch_axes[:2]
        return (second, first, None) if recipe.time_major else (first, second, None)

    def by_loop(self) -> tuple[Tensor, Tensor]:
        """Compute (outputs, last) as torch operations, which torch can derive as often as wanted."""
        inputs, recipe, initial = self.inputs, self.recipe, self.initial
        zeros = self.like.new_zeros
        if inputs is not None and self.tokens is not None:
            inputs = inputs[self.tokens]
        if inputs is not None and self.side is not None:
            inputs = torch.cat([inputs, self.side], -1)
        if not initial:
            initial = [zeros((self.sizes[0], *shape)) for shape in recipe.state_shapes]
        spread, gather, active = self._time_first()
        extra = {
            name: spread(value) if name[0] == "step_input" else value
            for name, value in zip(recipe.extra, self.extra, strict=True)
        }
        params = recipe.parameters(self.weights, lambda: zeros(recipe.units))
        named = {name: spread(each) for name, each in zip(recipe.step.inputs, self.named, strict=True)}
        outputs, last = loop(
            recipe,
            None if inputs is None else spread(inputs),
            params,
            initial,
            mask=active,
            extra=extra,
            reverse=recipe.reverse,
            named=named,
        )
        if recipe.padding == "zero" and active is not None:
            outputs = torch.where(beside(active, outputs), outputs, outputs.new_zeros(()))
        return gather(outputs), joined_states(recipe, last)

    def _time_first(self) -> tuple[Arrange, Arrange, Tensor | None]:
        """How values become (time, batch, width), and as they were again, and the mask (time, batch)."""
        device, recipe, given = self.like.device, self.recipe, self.active
        rows, time, _ = self.sizes
        active = None if given is None else given.to(device)
        if recipe.active == "packed":
            assert active is not None
            mask = torch.arange(rows, device=device) < active[:, None]
            # a place behind a row's end reads any place, and is masked
            places = (active.cumsum(0) - active)[:, None] + torch.arange(rows, device=device)
            places = places.clamp(max=self.batch_axes[0] - 1)
            return (lambda flat: flat[places]), (lambda wide: wide[mask]), mask
        if recipe.active == "lengths":
            active = torch.arange(time, device=device)[:, None] < active
        elif active is not None:
            active = active.T
        arrange = _unchanged if recipe.time_major else _swapped
        return arrange, arrange, active


def _unchanged(tensor: Tensor) -> Tensor:
    return tensor


def _swapped(tensor: Tensor) -> Tensor:
    return tensor.transpose(0, 1)
