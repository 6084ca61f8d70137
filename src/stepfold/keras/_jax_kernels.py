"""The kernels as functions of flat lists of JAX arrays: forward and backward, as XLA's custom calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._runtime import Recipe, Wanted, engine_for, residuals_size
from . import _xla
from ._tokens import Operands
from ._xla import Attributes


@dataclass(frozen=True)
class Scan:
    """A scan but for its arrays: a recipe, whether it gives `sequences` of outputs, and how the flat list of
    arrays becomes `Operands` (`structure`, of `jax.tree`)."""

    recipe: Recipe
    sequences: bool
    structure: Any

    def operands(self, flat: Any) -> Operands:
        """Return the operands that a flat list holds."""
        found: Operands = jax.tree.unflatten(self.structure, flat)
        return found

    @property
    def count(self) -> int:
        """The number of flat arrays."""
        return int(self.structure.num_leaves)

    @property
    def by_row(self) -> tuple[bool, ...]:
        """For each flat array whether its first axis is the batch: weights, and a table, have none."""
        numbers = self.operands(range(self.count))
        shared = {*numbers.weights, *([numbers.inputs] if self.recipe.tokens else [])}
        return tuple(number not in shared for number in range(self.count))

    def results(self, flat: Any, training: bool) -> list[jax.ShapeDtypeStruct]:
        """Return what the forward pass gives: [outputs], last states, [residuals]."""
        given, recipe = self.operands(flat), self.recipe
        batch, time = given.by_step.shape[:2]
        found = [jax.ShapeDtypeStruct((batch, *shape), given.dtype) for shape in recipe.state_shapes]
        if self.sequences:
            found.insert(0, jax.ShapeDtypeStruct((batch, time, *recipe.output_shape), given.dtype))
        if training:
            engine = engine_for(recipe.step, recipe.units, np.dtype(given.dtype), recipe.sizes)
            row = residuals_size(engine, recipe, 1, time)  # by rows, so that a batch can be cut by rows
            found.append(jax.ShapeDtypeStruct((batch, row), np.uint8))
        return found

    def wanted(self, perturbed: tuple[bool, ...], arrived: tuple[bool, ...]) -> Wanted:
        """Return what the backward pass must compute: `perturbed` says which flat arrays need a gradient,
        `arrived` which results have one."""
        of = self.operands(perturbed)
        last = arrived[1:] if self.sequences else arrived
        side = of.side is True
        own = self.sequences and arrived[0], last, bool(of.inputs), tuple(of.weights), side
        return Wanted(*own, tuple(of.named) if any(of.named) else ())

    def gradients(self, flat: Any, perturbed: tuple[bool, ...]) -> list[jax.ShapeDtypeStruct]:
        """Return what the backward pass gives, one for each perturbed array."""
        return [_like(a, *a.shape) for a, wish in zip(flat, perturbed, strict=True) if wish]


def _like(array: Any, *shape: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, array.dtype)


def forward(*flat: Any, scan: Scan, training: bool) -> list[Any]:
    """Run the forward kernel; returns [outputs], last states, [residuals]."""
    given = scan.operands(flat)
    own = given.inputs, given.tokens, given.side, *given.named, given.mask
    arrays = [value for value in own if value is not None]
    arrays += [*given.initial, *given.extra, *given.weights]
    results = scan.results(flat, training)
    return _run(Attributes(scan.recipe.text, scan.sequences, training), results[-1].shape[0], results, arrays)


def backward(*flat: Any, scan: Scan, perturbed: tuple[bool, ...], arrived: tuple[bool, ...]) -> list[Any]:
    """Run the backward kernel: the flat arrays, residuals, and the gradients of the results that have one;
    returns the gradients of the perturbed arrays."""
    own, (residuals, *cotangents) = flat[: scan.count], flat[scan.count :]
    given, wish, wanted = scan.operands(own), scan.operands(perturbed), scan.wanted(perturbed, arrived)
    batch = residuals.shape[0]
    results = [_like(given.inputs, *given.inputs.shape)] if wanted.inputs else []
    results += [_like(given.side, *given.side.shape)] if wanted.side else []
    results += [_like(n, *n.shape) for n, each in zip(given.named, wish.named, strict=True) if each]
    results += [_like(state, batch, *state.shape[1:]) for state in given.initial]
    results += [_like(w, *w.shape) for w, each in zip(given.weights, wish.weights, strict=True) if each]
    arrays = [value for value in (given.inputs, given.side, *given.named) if value is not None]
    arrays += [*given.extra, *given.weights]
    attributes = Attributes(scan.recipe.text, wanted=wanted)
    found = iter(_run(attributes, batch, results, [*arrays, residuals, *cotangents]))
    # the kernel's order: inputs, side, named inputs, initial states (always all of them), weights
    to_inputs = [next(found)] if wanted.inputs else []
    to_side = [next(found)] if wanted.side else []
    to_named = [next(found) for each in wish.named if each]
    to_initial = [next(found) for _ in given.initial]
    asked = [value for value, each in zip(to_initial, wish.initial, strict=True) if each]
    return [*to_inputs, *to_side, *to_named, *asked, *found]


def _run(attributes: Attributes, batch: Any, results: list[Any], arguments: list[Any]) -> list[Any]:
    if batch == 0:  # no kernel runs: there is no row to run, and no memory for residuals
        return [jnp.zeros(result.shape, result.dtype) for result in results]
    return _xla.call(attributes, list(map(jnp.asarray, arguments)), results) if results else []
