"""A batch with everything that it is run with: checked once, then run forward and backward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from .._native import FRESH, Array, acquire, release_unused
from ._backward import Wanted
from ._engine import Engine
from ._recipe import Recipe
from ._run import (
    Operand,
    Threads,
    backward_operands,
    backward_program,
    backward_results,
    forward_operands,
    forward_program,
    forward_results,
    run,
)
from ._shape import Shape


@dataclass(frozen=True)
class Forward:
    """What a forward pass gave: `outputs` (None: not asked for), the `last` states, the `residuals`."""

    outputs: Array | None
    last: list[Array]
    residuals: Array | None


@dataclass(frozen=True)
class Backward:
    """Gradients of the `inputs` and `side` features (None: not asked for), of the `initial` states, of the
    `weights`."""

    inputs: Array | None
    side: Array | None
    initial: list[Array]
    weights: list[Array | None]


@dataclass(frozen=True)
class Call:
    """An engine, a recipe, and the operands that both passes read, as `_recipe` describes them.

    `active`: the lengths, mask or batch sizes that the recipe speaks of. Arrays of other layouts are copied.
    """

    engine: Engine
    recipe: Recipe
    inputs: Array
    weights: Sequence[Array]
    tokens: Array | None = None
    active: Array | None = None
    initial: Sequence[Array] = ()
    extra: Sequence[Array] = field(default_factory=list)
    side: Array | None = None
    threads: Threads = field(default_factory=Threads.own)

    @property
    def shape(self) -> Shape:
        """The sizes of the batch."""
        recipe, like = self.recipe, self.inputs if self.tokens is None else self.tokens
        places = None
        if recipe.active == "packed":
            assert self.active is not None
            time, places = len(self.active), like.shape[0]
            # whatever the sizes say, there is a row for the program to find them wrong, and a place for each
            batch = max(1, min(int(self.active[0]), places)) if time else 0
        else:
            batch, time = like.shape[:2]
            batch, time = (time, batch) if recipe.time_major else (batch, time)
        side = 0 if self.side is None else self.side.shape[-1]
        return Shape(
            batch,
            time,
            self.inputs.shape[-1] + side,
            tuple(weight.shape for weight in self.weights),
            places,
            0 if self.tokens is None else len(self.inputs),
            64 if self.tokens is None else self.tokens.itemsize * 8,
            side,
        )

    @property
    def sources(self) -> list[Array]:
        """What a forward pass reads first."""
        return [a for a in (self.inputs, self.tokens, self.side, self.active) if a is not None]

    def forward(self, *, outputs: bool, training: bool) -> Forward:
        """Run the forward pass."""
        engine, recipe, shape = self.engine, self.recipe, self.shape
        wanted = forward_results(engine, recipe, shape, outputs, training)
        results = [_new(operand, engine) for operand in wanted]
        if shape.batch:
            program = forward_program(
                engine, recipe, shape, outputs=outputs, training=training, threads=self.threads.most
            )
            given = [*self.sources, *self.initial, *self.extra, *self.weights]
            arrays = [*(np.asarray(a, order="C") for a in given), *results]
            operands = forward_operands(engine, recipe, shape, outputs, training)
            run(program, operands, arrays, engine.dtype, self.threads)
        residuals = results.pop() if training else None
        if residuals is None or residuals.nbytes < FRESH:
            release_unused()
        return Forward(results.pop(0) if outputs else None, results, residuals)

    def backward(
        self,
        residuals: Array,
        *,
        output_gradient: Array | None,
        last_gradients: Sequence[Array | None],
        inputs: bool = True,
        weights: Sequence[bool] | None = None,
    ) -> Backward:
        """Run the backward pass: from the gradients that arrive to those asked for, those of side features
        with those of inputs."""
        engine, recipe, shape = self.engine, self.recipe, self.shape
        wishes = tuple(True for _ in self.weights) if weights is None else tuple(weights)
        given = tuple(gradient is not None for gradient in last_gradients)
        wanted = Wanted(output_gradient is not None, given, inputs, wishes, inputs and recipe.side)
        results = [_new(operand, engine) for operand in backward_results(recipe, shape, wanted)]
        if shape.batch:
            program = backward_program(engine, recipe, shape, wanted, threads=self.threads.most)
            arrays = [self.inputs, *([] if self.side is None else [self.side])]
            arrays += [*self.extra, *self.weights, residuals]
            arrays += [g for g in (output_gradient, *last_gradients) if g is not None]
            arrays = [*(np.asarray(a, order="C") for a in arrays), *results]
            operands = backward_operands(engine, recipe, shape, wanted)
            run(program, operands, arrays, engine.dtype, self.threads)
        else:
            for result in results:
                result[...] = 0
        rest = iter(results)
        return Backward(
            next(rest) if inputs else None,
            next(rest) if wanted.side else None,
            [next(rest) for _ in recipe.step.states if recipe.initial],
            [next(rest) if wish else None for wish in wishes],
        )


def _new(operand: Operand, engine: Engine) -> Array:
    if operand.dtype == "bytes":
        (size,) = operand.shape
        return acquire(size)
    return np.empty(operand.shape, engine.dtype)
