"""What is found once for a recipe and the shapes of its operands: that they fit, the results' shapes, the
program."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

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
from ._arguments import Arguments
from ._states import states_shape

FLOATS = {torch.float32: np.dtype(np.float32), torch.float64: np.dtype(np.float64)}
_DTYPES = {
    "token": (torch.int32, torch.int64),
    "int64": (torch.int64,),
    "bool": (torch.bool,),
    "bytes": (torch.uint8,),
}


Spec = tuple[tuple[int, ...], torch.dtype]
spec_of: Callable[[torch.Tensor], Spec] = operator.attrgetter("shape", "dtype")
"""Return a tensor's shape and dtype: a plain tuple, for every call makes some."""


class TensorSpec(NamedTuple):
    """A `Spec` with names."""

    shape: tuple[int, ...]
    dtype: torch.dtype


class ForwardShapes(NamedTuple):
    """The shapes of what `stepfold::scan` returns, without elements where it is not asked for: the outputs,
    the last states in one tensor (`_states`), the residuals in bytes."""

    outputs: tuple[int, ...]
    last: tuple[int, ...]
    residuals: tuple[int]


def forward_shapes(given: Arguments, sequences: bool, training: bool) -> ForwardShapes:
    """Return the shapes of what a forward pass returns; they may be symbolic."""
    recipe, (batch, time, places) = given.recipe, given.sizes
    size = residuals_size(_engine(given), recipe, batch, time, places) if training else 0
    outputs = (*given.batch_axes, *recipe.output_shape) if sequences else (0,)
    return ForwardShapes(outputs, states_shape(recipe, batch), (size,))


class Prepared(NamedTuple):
    """A checked call: its number of rows, what the forward pass returns, and what returns the program, given
    `threads`."""

    batch: int
    shapes: ForwardShapes
    program: Callable[..., Program]


@functools.lru_cache(maxsize=256)
def prepared_forward(specs: Arguments, sequences: bool, training: bool) -> Prepared:
    """Return what a forward pass on such tensors runs; ValueError or RuntimeError if one does not fit."""
    given = specs.each(TensorSpec._make)
    recipe, engine, shape = checked(given)
    tensors = [spec for spec in given.flat if spec is not None]
    _check(forward_operands(engine, recipe, shape, sequences, training), tensors, given)
    program = functools.partial(forward_program, engine, recipe, shape, outputs=sequences, training=training)
    return Prepared(shape.batch, forward_shapes(given, sequences, training), program)


@functools.lru_cache(maxsize=256)
def prepared_backward(
    specs: Arguments,
    residuals: Spec,
    output_gradient: Spec | None,
    last_gradient: Spec | None,
    wanted: tuple[bool, ...],
) -> Prepared:
    """Return what a backward pass on such tensors runs; ValueError or RuntimeError if one does not fit."""
    given = specs.each(TensorSpec._make)
    count, side = given.recipe.weights, int(given.recipe.side)
    if len(wanted) != 1 + count + side + len(given.recipe.step.inputs):
        more = " and 1 of the side features" if side else ""
        if given.recipe.step.inputs:
            more += f" and {len(given.recipe.step.inputs)} of the inputs with a name"
        raise ValueError(
            f"wanted has {len(wanted)} booleans, expected 1 of the inputs and {count} of the weights{more}"
        )
    recipe, engine, shape = checked(given)
    shapes = forward_shapes(given, False, True)
    if residuals[0] == (0,) and shapes.residuals != (0,):
        raise RuntimeError("stepfold::scan saved nothing for the backward pass; call it with training=True")
    states = (last_gradient is not None,) * len(recipe.step.states)
    wishes = wishes_of(given, output_gradient is not None, states, wanted)
    tensors = [each for each in (given.inputs, given.side, *given.named) if each is not None]
    tensors += [*given.extra, *given.weights, TensorSpec(*residuals)]
    tensors += [] if output_gradient is None else [TensorSpec(*output_gradient)]
    _check(backward_operands(engine, recipe, shape, wishes), tensors, given)
    if last_gradient is not None:
        stacked = Operand("the gradient of the last states", shapes.last, "float")
        _check([stacked], [TensorSpec(*last_gradient)], given)
    return Prepared(shape.batch, shapes, functools.partial(backward_program, engine, recipe, shape, wishes))


def wishes_of(given: Arguments, outputs: bool, states: tuple[bool, ...], wanted: tuple[bool, ...]) -> Wanted:
    """What a backward pass gives: `wanted` as `stepfold::scan_backward` takes it."""
    count, side = given.recipe.weights, int(given.recipe.side)
    own = wanted[0] and given.inputs is not None
    of_weights, of_side = wanted[1 : 1 + count], any(wanted[1 + count : 1 + count + side])
    return Wanted(outputs, states, own, of_weights, of_side, wanted[1 + count + side :])


def _engine(given: Arguments) -> Engine:
    dtype, recipe = given.like.dtype, given.recipe
    if dtype not in FLOATS:
        raise RuntimeError(f"inputs are {dtype}, but stepfold::scan runs in float32 and float64")
    return engine_for(recipe.step, recipe.units, FLOATS[dtype], recipe.sizes)


def checked(given: Arguments) -> tuple[Recipe, Engine, Shape]:
    """Return the sizes of a call; ValueError if a tensor is missing or has too few or too many axes."""
    inputs, weights, initial, extra, active, tokens, side, named, _ = given
    recipe = given.recipe
    _count("inputs", int(inputs is not None), int(recipe.step.takes_features))
    _count("named", len(named), len(recipe.step.inputs))
    engine = _engine(given)
    packed = recipe.active == "packed"
    if packed and not recipe.initial:
        raise ValueError("a packed batch needs initial states, which tell how many rows it has")
    for name, count, expected in (
        ("weights", len(weights), recipe.weights),
        ("initial", len(initial), len(recipe.step.states) if recipe.initial else 0),
        ("extra", len(extra), len(recipe.extra)),
        ("active", int(active is not None), int(recipe.active != "all")),
        ("tokens", int(tokens is not None), int(recipe.tokens)),
        ("side", int(side is not None), int(recipe.side)),
    ):
        _count(name, count, expected)
    axes = "(time, batch, features)" if recipe.time_major else "(batch, time, features)"
    if packed or recipe.tokens:
        axes = "(vocabulary_size, features)" if recipe.tokens else "(places, features)"
    if inputs is not None and len(inputs.shape) != len(axes.split()):
        raise ValueError(f"inputs has shape {tuple(inputs.shape)}, expected {axes}")
    for name, each in zip(recipe.step.inputs, named, strict=True):
        if len(each.shape) != 3 - packed:
            raise ValueError(
                f"input {name} has shape {tuple(each.shape)}, expected the axes of inputs, {axes}"
            )
    if tokens is not None and len(tokens.shape) != 2 - packed:
        ids = "(places,)" if packed else "(time, batch)" if recipe.time_major else "(batch, time)"
        raise ValueError(f"tokens has shape {tuple(tokens.shape)}, expected {ids}")
    if packed:
        assert active is not None  # it was counted
        if len(active.shape) != 1 or len(initial[0].shape) < 2:
            raise ValueError(
                f"batch_sizes has shape {tuple(active.shape)} and initial state {tuple(initial[0].shape)}, "
                "expected (time,) and (batch, units)"
            )
    batch, time, places = given.sizes
    bits = 32 if tokens is not None and tokens.dtype == torch.int32 else 64
    vocabulary_size = inputs.shape[0] if inputs is not None and recipe.tokens else 0
    if side is not None and not side.shape:
        raise ValueError("side has no axes, expected those of tokens and features")
    beside = 0 if side is None else side.shape[-1]
    shapes = tuple(tuple(weight.shape) for weight in weights)
    sizes = batch, time, beside if inputs is None else inputs.shape[-1] + beside, shapes, places
    return recipe, engine, Shape(*sizes, vocabulary_size, bits, beside)


def _count(name: str, count: int, expected: int) -> None:
    if count != expected:
        raise ValueError(f"{name} has {count} tensors, expected {expected}")


def _check(operands: Sequence[Operand], tensors: Sequence[Any], given: Arguments) -> None:
    """Compare tensors with the first operands: a program's results, which come last, are allocated here."""
    for operand, tensor in zip(operands[: len(tensors)], tensors, strict=True):
        if tuple(tensor.shape) != operand.shape:
            raise ValueError(f"{operand.name} has shape {tuple(tensor.shape)}, expected {operand.shape}")
        expected = _DTYPES.get(operand.dtype, (given.like.dtype,))
        if tensor.dtype not in expected:
            raise RuntimeError(
                f"{operand.name} is {tensor.dtype}, expected {' or '.join(map(str, expected))}"
            )
