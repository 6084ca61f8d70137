"""Recurrent dropout and zoneout: the steps they make of a cell's step, and the random values those ask
for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from .._noise import noisy
from .._runtime import Recipe
from .._step import Step
from .._transform import expected_zoneout, recurrent_dropout, zoneout
from ._scan import Batch
from ._several import Several, like_of
from ._tokens import Tokens


class Noise(NamedTuple):
    """How much of what enters the recurrent kernels is dropped, and how much of the states stays as it
    was."""

    recurrent_dropout: float = 0.0
    zoneout: float = 0.0

    def checked(self) -> Noise:
        """Return it as it is; ValueError if one of them is no chance."""
        for name, value in zip(self._fields, self, strict=True):
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
                raise ValueError(f"{name} should be a number in range [0, 1], got {value!r}")
        return self

    def steps(self, step: Step) -> tuple[Step, Step]:
        """The step to train with, its own noise included, and the step to infer with."""
        train = recurrent_dropout(step) if self.recurrent_dropout else step
        if not self.zoneout:
            return noisy(train), step
        return noisy(zoneout(train)), expected_zoneout(step, float(self.zoneout))

    def draw(
        self,
        recipe: Recipe,
        batch: Batch,
        inputs: Tensor | Tokens | Several,
        own: Mapping[tuple[str, str], tuple[str, float]] | None = None,
    ) -> list[Tensor]:
        """The random values of one pass: a mask a sequence for recurrent dropout, one a timestep for zoneout,
        and `own`, what the step itself asks for at each timestep, by its key: the kind and the number."""
        drawn, like = [], like_of(inputs)
        for kind, name in recipe.extra:
            shape = _shape_of(recipe, kind, name)
            if kind == "row_input":
                ones = like.new_ones((batch.rows, *shape))
                drawn.append(functional.dropout(ones, self.recurrent_dropout))
            elif own and (kind, name) in own:
                which, value = own[kind, name]
                ones = like.new_ones((*inputs.shape[:-1], *shape))
                drawn.append(
                    functional.dropout(ones, value) if which == "dropout" else torch.randn_like(ones) * value
                )
            else:
                chance = like.new_full((*inputs.shape[:-1], *shape), self.zoneout)
                drawn.append(torch.bernoulli(chance))
        return drawn


def _shape_of(recipe: Recipe, kind: str, name: str) -> tuple[int, ...]:
    return recipe.extra_shape(kind, name)


# What torch.compiler.assume_constant_result does; that imports the compiler, which takes seconds.
_shape_of._dynamo_marked_constant = True  # type: ignore[attr-defined]
