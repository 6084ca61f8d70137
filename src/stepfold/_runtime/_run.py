"""Running a recipe on arrays: operands checked, a program found or recorded, its status turned into
errors."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .._native import Array, Executor, Program, Status, address, own_threads, thread_cap
from ._backward import BackwardKey, Wanted, record_backward
from ._engine import Engine
from ._forward import ForwardKey, record_forward
from ._programs import programs
from ._recipe import Recipe
from ._residuals import total_size
from ._shape import Shape

INDEX = np.dtype(np.int64)
TOKENS = (np.dtype(np.int32), np.dtype(np.int64))
BYTES = np.dtype(np.uint8)


class Operand(NamedTuple):
    """What an operand or result must be: `dtype` "float" (the recipe's), "token" (int32 or int64), "int64",
    "bool" or "bytes"."""

    name: str
    shape: tuple[int, ...]
    dtype: str


def batch_axes(recipe: Recipe, shape: Shape) -> tuple[int, ...]:
    """The leading axes of inputs and outputs."""
    if recipe.active == "packed":
        return (shape.steps,)
    return (shape.time, shape.batch) if recipe.time_major else (shape.batch, shape.time)


def _inputs(recipe: Recipe, shape: Shape) -> list[Operand]:
    if not recipe.step.takes_features:
        return []
    if recipe.tokens:
        return [Operand("the table of vectors", (shape.vocabulary_size, shape.width), "float")]
    return [Operand("inputs", (*batch_axes(recipe, shape), shape.features), "float")]


def _side(recipe: Recipe, shape: Shape) -> list[Operand]:
    axes = (*batch_axes(recipe, shape), shape.side)
    return [Operand("side features", axes, "float")] if recipe.side else []


def _named(recipe: Recipe, shape: Shape) -> list[Operand]:
    axes = batch_axes(recipe, shape)
    return [Operand(f"input {name}", (*axes, *of), "float") for name, of in recipe.named_shapes.items()]


def _extra(recipe: Recipe, shape: Shape) -> list[Operand]:
    axes = {"row_input": (shape.batch,), "step_input": batch_axes(recipe, shape)}
    return [
        Operand(name, (*axes[kind], *recipe.extra_shape(kind, name)), "float") for kind, name in recipe.extra
    ]


def _weights(shape: Shape) -> list[Operand]:
    return [Operand(f"weight {k}", of, "float") for k, of in enumerate(shape.weights)]


def _states(recipe: Recipe, shape: Shape, what: str) -> list[Operand]:
    shapes = zip(recipe.step.states, recipe.state_shapes, strict=True)
    return [Operand(f"{what} {name}", (shape.batch, *of), "float") for name, of in shapes]


@functools.lru_cache(maxsize=512)
def forward_operands(
    engine: Engine, recipe: Recipe, shape: Shape, outputs: bool, training: bool
) -> list[Operand]:
    """The operands of a forward program, then its results."""
    found = _inputs(recipe, shape)
    if recipe.tokens:
        found.append(Operand("tokens", batch_axes(recipe, shape), "token"))
    found += _side(recipe, shape) + _named(recipe, shape)
    if recipe.active != "all":
        found.append(
            {
                "lengths": Operand("lengths", (shape.batch,), "int64"),
                "mask": Operand("mask", (shape.batch, shape.time), "bool"),
                "packed": Operand("batch_sizes", (shape.time,), "int64"),
            }[recipe.active]
        )
    if recipe.initial:
        found += _states(recipe, shape, "initial state")
    found += _extra(recipe, shape) + _weights(shape)
    return found + forward_results(engine, recipe, shape, outputs, training)


def forward_results(
    engine: Engine, recipe: Recipe, shape: Shape, outputs: bool, training: bool
) -> list[Operand]:
    """The results of a forward program."""
    found = []
    if outputs:
        found.append(Operand("outputs", (*batch_axes(recipe, shape), *recipe.output_shape), "float"))
    found += _states(recipe, shape, "last state")
    if training:
        found.append(Operand("residuals", (total_size(engine, recipe, shape),), "bytes"))
    return found


@functools.lru_cache(maxsize=512)
def backward_operands(engine: Engine, recipe: Recipe, shape: Shape, wanted: Wanted) -> list[Operand]:
    """The operands of a backward program, then its results."""
    found = _inputs(recipe, shape) + _side(recipe, shape) + _named(recipe, shape)
    found += _extra(recipe, shape) + _weights(shape)
    found.append(Operand("residuals", (total_size(engine, recipe, shape),), "bytes"))
    if wanted.outputs:
        axes = (*batch_axes(recipe, shape), *recipe.output_shape)
        found.append(Operand("the gradient of outputs", axes, "float"))
    states = _states(recipe, shape, "the gradient of last state")
    found += [state for state, given in zip(states, wanted.last, strict=True) if given]
    return found + backward_results(recipe, shape, wanted)


def backward_results(recipe: Recipe, shape: Shape, wanted: Wanted) -> list[Operand]:
    """The results of a backward program."""
    found = _inputs(recipe, shape) if wanted.inputs else []
    found += _side(recipe, shape) if wanted.side else []
    if wanted.named:
        found += [o for o, wish in zip(_named(recipe, shape), wanted.named, strict=True) if wish]
    if recipe.initial:
        found += _states(recipe, shape, "initial state")
    found += [weight for weight, wish in zip(_weights(shape), wanted.weights, strict=True) if wish]
    return [operand._replace(name=f"the gradient of {operand.name}") for operand in found]


_DTYPES = {"token": TOKENS, "int64": (INDEX,), "bool": (np.dtype(np.bool_),), "bytes": (BYTES,)}


def addresses(operands: Sequence[Operand], arrays: Sequence[Array], dtype: np.dtype[Any]) -> list[int]:
    """Return where arrays lie; ValueError or TypeError if one is not what the operand must be."""
    if len(operands) != len(arrays):
        names = ", ".join(operand.name for operand in operands)
        raise ValueError(f"{len(arrays)} arrays were given, expected {len(operands)}: {names}")
    found = []
    for operand, array in zip(operands, arrays, strict=True):
        if array.shape != operand.shape:
            raise ValueError(f"{operand.name} has shape {array.shape}, expected {operand.shape}")
        if array.dtype not in _DTYPES.get(operand.dtype, (dtype,)):
            raise TypeError(f"{operand.name} is {array.dtype}, expected {operand.dtype}")
        if not array.flags.c_contiguous:
            raise ValueError(f"{operand.name} must be C-contiguous")
        found.append(address(array))
    return found


def forward_program(
    engine: Engine,
    recipe: Recipe,
    shape: Shape,
    *,
    outputs: bool,
    training: bool,
    threads: int,
    windowed: int = 0,
) -> Program:
    """Return the forward program, recorded once for a shape."""
    key = ForwardKey(engine, recipe, shape, outputs, training, threads, windowed)
    return programs.get(key, lambda: record_forward(key))


def backward_program(
    engine: Engine, recipe: Recipe, shape: Shape, wanted: Wanted, *, threads: int, windowed: int = 0
) -> Program:
    """Return the backward program, recorded once for a shape."""
    key = BackwardKey(engine, recipe, shape, wanted, threads, windowed)
    return programs.get(key, lambda: record_backward(key))


class Threads(NamedTuple):
    """Where a program may run, and on how many threads."""

    executor: Executor
    most: int

    @classmethod
    def own(cls, wanted: int | None = None) -> Threads:
        """Our own threads: as many as the processors that this process may use, or as wanted, if fewer."""
        return cls(own_threads(), thread_cap(wanted))


def run(
    program: Program,
    operands: Sequence[Operand],
    arrays: Sequence[Array],
    dtype: np.dtype[Any],
    threads: Threads,
    begin: int | None = None,
) -> None:
    """Run a program on arrays, which are held until it is done."""
    found = addresses(operands, arrays, dtype)
    if begin is not None:
        found.insert(0, begin)
    status = program.run(found, threads.executor, threads.most)
    if status is not None:
        raise error_of(status)


def error_of(status: Status) -> Exception:
    """The error that a program's status tells."""
    if status.error == "token":
        return IndexError(
            f"token ids must lie in 0…{status.limit - 1}, for the embedding has {status.limit} rows; found "
            f"{status.value}; make it larger or replace rarer tokens by the id for unknown ones"
        )
    if status.error == "length":
        return ValueError(
            f"lengths must lie in 0…{status.limit}, the timesteps of the input; that of row {status.row} is "
            f"{status.value}"
        )
    if status.error == "batch_sizes":
        return ValueError(
            "batch_sizes must be positive, never rise, and add up to the places of the packed data; at "
            f"timestep {status.step} there are {status.value}, at most {status.limit} can be"
        )
    if status.error == "places":
        return ValueError(
            f"batch_sizes add up to {status.value}, but the packed data has {status.limit} places"
        )
    if status.error == "index":
        return ValueError("the residuals are damaged: their index arrays point outside the batch")
    if status.error == "residuals":
        return ValueError(
            "the residuals are not those of this recipe and batch: they come from another call, another "
            "version of stepfold, or a machine with vectors of another width (header word "
            f"{status.row} is {status.value}, expected {status.limit})"
        )
    return MemoryError("there is no memory for the workspace of a recurrent layer")
