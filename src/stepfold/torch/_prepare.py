"""What is found once for a recipe and the shapes of its operands: that they fit, the results' shapes, the
program."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .._native import Program
from .._runtime import (
    Engine,
    Operand,
    Recipe,
    Shape,
    Wanted,
    backward_operands,
    backward_program,
    engine_for,
    forward_operands,
    forward_program,
    residuals_size,
)

Form = tuple[tuple[int, ...], torch.dtype]
"""A tensor's shape and dtype."""
Forms = tuple[Form, tuple[Form, ...], tuple[Form, ...], tuple[Form, ...], Form | None]
"""Those of inputs, weights, initial states, extra leaves, and what says which steps are active."""

_FLOATS: dict[torch.dtype, np.dtype[Any]] = {
    torch.float32: np.dtype(np.float32),
    torch.float64: np.dtype(np.float64),
}
_DTYPES = {"int64": torch.int64, "bool": torch.bool, "bytes": torch.uint8}


class Prepared(NamedTuple):
    """A checked call: `wanted` of the backward pass, None of the forward pass, where `training` counts."""

    engine: Engine
    recipe: Recipe
    shape: Shape
    wanted: Wanted | None
    training: bool
    outputs: tuple[int, ...]
    last: tuple[int, ...]
    residuals: int

    def program(self, threads: int) -> Program:
        """The program, recorded if it is not known."""
        if self.wanted is not None:
            return backward_program(self.engine, self.recipe, self.shape, self.wanted, threads=threads)
        return forward_program(
            self.engine, self.recipe, self.shape, outputs=True, training=self.training, threads=threads
        )

    def states(self, stacked: Tensor) -> range:
        """Where each state of a tensor (states, batch, units) lies."""
        first, size = stacked.data_ptr(), self.shape.batch * self.engine.units * self.engine.itemsize
        return range(first, first + self.last[0] * size, size)


def forms_of(
    inputs: Tensor,
    weights: Sequence[Tensor],
    initial: Sequence[Tensor],
    extra: Sequence[Tensor],
    active: Tensor | None,
) -> Forms:
    """The shapes and dtypes of the operands that both passes are given."""
    return (
        (inputs.shape, inputs.dtype),
        tuple([(tensor.shape, tensor.dtype) for tensor in weights]),
        tuple([(tensor.shape, tensor.dtype) for tensor in initial]),
        tuple([(tensor.shape, tensor.dtype) for tensor in extra]),
        None if active is None else (active.shape, active.dtype),
    )


@functools.lru_cache(maxsize=256)
def prepared_forward(text: str, forms: Forms, training: bool) -> Prepared:
    """Return what a forward pass runs; ValueError or RuntimeError if an operand does not fit."""
    found = _prepared(text, forms, None, training)
    inputs, weights, initial, extra, active = forms
    given = [inputs, *([] if active is None else [active]), *initial, *extra, *weights]
    operands = forward_operands(found.engine, found.recipe, found.shape, True, training)
    _check(operands[: len(given)], given, inputs[1])
    return found


@functools.lru_cache(maxsize=256)
def prepared_backward(
    text: str,
    forms: Forms,
    residuals: Form,
    output_gradient: Form | None,
    last_gradient: Form | None,
    wanted: tuple[bool, ...],
) -> Prepared:
    """Return what a backward pass runs; ValueError or RuntimeError if an operand does not fit."""
    recipe = Recipe.from_text(text)
    if len(wanted) != 1 + recipe.weights:
        raise ValueError(
            f"wanted has {len(wanted)} booleans, expected 1 of the inputs and {recipe.weights} of the weights"
        )
    states = (last_gradient is not None,) * len(recipe.step.states)
    wishes = Wanted(output_gradient is not None, states, wanted[0], wanted[1:])
    found = _prepared(text, forms, wishes, True)
    if residuals[0] == (0,) and found.residuals:
        raise RuntimeError("stepfold::scan saved nothing for the backward pass; call it with training=True")
    inputs, weights, _, extra, _ = forms
    given = [inputs, *extra, *weights, residuals]
    given += [] if output_gradient is None else [output_gradient]
    operands = backward_operands(found.engine, recipe, found.shape, wishes)[: len(given)]
    if last_gradient is not None:
        given.append(last_gradient)
        operands.append(Operand("the gradient of the last states", found.last, "float"))
    _check(operands, given, inputs[1])
    return found


def float_of(dtype: torch.dtype) -> np.dtype[Any]:
    """NumPy's dtype of the same name; RuntimeError if no kernel has it."""
    if dtype not in _FLOATS:
        raise RuntimeError(f"inputs are {dtype}, but stepfold::scan runs in float32 and float64")
    return _FLOATS[dtype]


def _prepared(text: str, forms: Forms, wanted: Wanted | None, training: bool) -> Prepared:
    recipe = Recipe.from_text(text)
    (inputs, dtype), weights, initial, extra, active = forms
    if recipe.tokens:
        raise ValueError("the recipe is one of tokens, but stepfold::scan takes vectors")
    engine = engine_for(recipe.step, recipe.units, float_of(dtype))
    packed, states = recipe.active == "packed", len(recipe.step.states)
    if packed and not recipe.initial:
        raise ValueError("a packed batch needs initial states, which tell how many rows it has")
    for name, count, expected in (
        ("weights", len(weights), recipe.weights),
        ("initial", len(initial), states if recipe.initial else 0),
        ("extra", len(extra), len(recipe.extra)),
        ("active", int(active is not None), int(recipe.active != "all")),
    ):
        if count != expected:
            raise ValueError(f"{name} has {count} tensors, expected {expected}")
    axes = "(places, features)" if packed else "(time, batch, features)" if recipe.time_major else (
        "(batch, time, features)"
    )  # fmt: skip
    if len(inputs) != (2 if packed else 3):
        raise ValueError(f"inputs has shape {tuple(inputs)}, expected {axes}")
    places = None
    if packed:
        assert active is not None
        if len(active[0]) != 1 or len(initial[0][0]) != 2:
            raise ValueError(
                f"batch_sizes has shape {tuple(active[0])} and initial state {tuple(initial[0][0])}, "
                "expected (time,) and (batch, units)"
            )
        batch, time, places = initial[0][0][0], active[0][0], inputs[0]
    else:
        batch, time = reversed(inputs[:2]) if recipe.time_major else inputs[:2]
    shapes = tuple(tuple(form[0]) for form in weights)
    shape = Shape(batch, time, inputs[-1], shapes, places)
    return Prepared(
        engine,
        recipe,
        shape,
        wanted,
        training,
        (*inputs[:-1], recipe.units),
        (states, batch, recipe.units),
        residuals_size(engine, recipe, batch, time, places) if training else 0,
    )


def _check(operands: Sequence[Operand], given: Sequence[Form], dtype: torch.dtype) -> None:
    for operand, (shape, found) in zip(operands, given, strict=True):
        if tuple(shape) != operand.shape:
            raise ValueError(f"{operand.name} has shape {tuple(shape)}, expected {operand.shape}")
        expected = _DTYPES.get(operand.dtype, dtype)
        if found != expected:
            raise RuntimeError(f"{operand.name} is {found}, expected {expected}")
