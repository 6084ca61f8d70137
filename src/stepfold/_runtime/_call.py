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
    `weights`, of the `named` inputs (none: not asked for)."""

    inputs: Array | None
    side: Array | None
    initial: list[Array]
    weights: list[Array | None]
    named: list[Array] = field(default_factory=list)


@dataclass(frozen=True)
class Call:
    """An engine, a recipe, and the operands that both passes read, as `_recipe` describes them.

    `inputs`: None if the step takes no features; `named`: the inputs with a name. `active`: the lengths, mask
    or batch sizes that the recipe speaks of. Arrays of other layouts are copied.
    """

    engine: Engine
    recipe: Recipe
    inputs: Array | None
    weights: Sequence[Array]
    tokens: Array | None = None
    active: Array | None = None
    initial: Sequence[Array] = ()
    extra: Sequence[Array] = field(default_factory=list)
    side: Array | None = None
    threads: Threads = field(default_factory=Threads.own)
    named: Sequence[Array] = ()

    @property
    def shape(self) -> Shape:
        """The sizes of the batch."""
        recipe = self.recipe
        like = next(a for a in (self.tokens, self.inputs, *self.named) if a is not None)
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
            side if self.inputs is None else self.inputs.shape[-1] + side,
            tuple(weight.shape for weight in self.weights),
            places,
            0 if self.tokens is None or self.inputs is None else len(self.inputs),
            64 if self.tokens is None else self.tokens.itemsize * 8,
            side,
        )

    @property
    def sources(self) -> list[Array]:
        """What a forward pass reads first."""
        own = self.inputs, self.tokens, self.side, *self.named, self.active
        return [a for a in own if a is not None]

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
        and of inputs with a name with those of inputs."""
        engine, recipe, shape = self.engine, self.recipe, self.shape
        wishes = tuple(True for _ in self.weights) if weights is None else tuple(weights)
        given = tuple(gradient is not None for gradient in last_gradients)
        own = inputs and self.inputs is not None
        named = (inputs,) * len(self.named)
        wanted = Wanted(output_gradient is not None, given, own, wishes, own and recipe.side, named)
        results = [_new(operand, engine) for operand in backward_results(recipe, shape, wanted)]
        if shape.batch:
            program = backward_program(engine, recipe, shape, wanted, threads=self.threads.most)
            arrays = [a for a in (self.inputs, self.side, *self.named) if a is not None]
            arrays += [*self.extra, *self.weights, residuals]
            arrays += [g for g in (output_gradient, *last_gradients) if g is not None]
            arrays = [*(np.asarray(a, order="C") for a in arrays), *results]
            operands = backward_operands(engine, recipe, shape, wanted)
            run(program, operands, arrays, engine.dtype, self.threads)
        else:
            for result in results:
                result[...] = 0
        rest = iter(results)
        of_inputs = next(rest) if own else None
        of_side = next(rest) if wanted.side else None
        of_named = [next(rest) for wish in named if wish]
        of_states = [next(rest) for _ in recipe.step.states if recipe.initial]
        of_weights = [next(rest) if wish else None for wish in wishes]
        return Backward(of_inputs, of_side, of_states, of_weights, of_named)


def _new(operand: Operand, engine: Engine) -> Array:
    if operand.dtype == "bytes":
        (size,) = operand.shape
        return acquire(size)
    return np.empty(operand.shape, engine.dtype)
