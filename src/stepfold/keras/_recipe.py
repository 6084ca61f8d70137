"""What every backend shares: a fold over a batch as jobs on NumPy views, and where parameters lie.

A job gets its operands in one fixed order and writes all of its results:

    forward:   inputs, [tokens], [mask], [initial states], extra leaves, weights
               → [outputs], last states, [kept]
    backward:  inputs, [tokens], [mask], extra leaves, weights, kept, [output gradient], [last gradients]
               → [inputs' gradient], [initial states' gradients], [weights' gradients]

What stands in brackets is there only if the job says so.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._scan import Params, Schedule, address, recurrence
from .._step import Step

Array = NDArray[Any]
Index = tuple[int | slice, ...]


class Part(NamedTuple):
    """A piece of a layer's weight; `transposed` for weights kept as (features, units)."""

    weight: int
    where: Index
    transposed: bool = False

    def of(self, weights: Sequence[Array | None]) -> Array | None:
        """Return the piece as a view, None if the weight is not there."""
        whole = weights[self.weight]
        if whole is None:
            return None
        return whole[self.where].T if self.transposed else whole[self.where]


Layout = tuple[tuple[str, tuple[Part, ...]], ...]
"""For each parameter of the step the pieces whose sum it is; none for a parameter that stays zero."""


@dataclass(frozen=True, eq=False)
class _Places:
    """For each piece of a parameter the weight that it is of, and how many bytes into it."""

    distances: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Recipe:
    """A step, and how a layer feeds it; all that is fixed before numbers flow.

    `initial`: whether there is an initial state; without one, rows that begin alike can share their start.
    `extra`: the leaves that transforms of the step ask for, in the order in which their arrays are given.
    """

    step: Step
    units: int
    layout: Layout
    weights: int
    reverse: bool = False
    tokens: bool = False
    mask: bool = False
    initial: bool = False
    extra: tuple[tuple[str, str], ...] = ()

    def params(self, weights: Sequence[Array | None]) -> Params:
        """Return the step's parameters, or where their gradients go, as pieces of the weights, or of the
        weights' gradients (None: not there)."""
        form = tuple([None if weight is None else (weight.shape, weight.strides) for weight in weights])
        places = self._places.get(form)
        if places is None:
            places = self._places[form] = self._placed(weights)
        first = [0 if weight is None else address(weight) for weight in weights]
        addresses = [first[weight] + far for weight, far in places.distances]
        return Params(places, addresses, functools.partial(self._pieces, weights))

    def _pieces(self, weights: Sequence[Array | None]) -> dict[str, list[Array]]:
        return {
            name: [piece for part in parts if (piece := part.of(weights)) is not None]
            for name, parts in self.layout
        }

    def _placed(self, weights: Sequence[Array | None]) -> _Places:
        found = []
        for _, parts in self.layout:
            for part in parts:
                piece, weight = part.of(weights), weights[part.weight]
                if piece is not None and weight is not None:
                    found.append((part.weight, address(piece) - address(weight)))
        return _Places(tuple(found))

    @functools.cached_property
    def _places(self) -> dict[tuple[Any, ...], _Places]:
        return {}

    def read(self, operands: Iterator[Array], *, check: bool) -> tuple[Array, Array | None, Schedule]:
        """Take the inputs, the tokens and the schedule from the front of a job's operands; `check` the
        tokens."""
        inputs = next(operands)
        tokens = next(operands) if self.tokens else None
        mask = next(operands) if self.mask else None
        batch, time = (inputs if tokens is None else tokens).shape[:2]
        if tokens is not None and check:
            _check(tokens, len(inputs))
        if mask is None or mask.all():
            return inputs, tokens, Schedule.of(batch, time, reverse=self.reverse)
        return inputs, tokens, _schedule(batch, time, mask.tobytes(), self.reverse)

    @property
    def text(self) -> str:
        """Everything that tells this recipe from another, the same in every process."""
        rest = (
            self.units,
            self.layout,
            self.weights,
            self.reverse,
            self.tokens,
            self.mask,
            self.initial,
            self.extra,
        )
        return f"{self.step.key} {rest!r}"


class _Job:
    """A recipe run in one direction."""

    recipe: Recipe

    @functools.cached_property
    def key(self) -> int:
        """A number for this job, the same in every process."""
        return int.from_bytes(hashlib.sha256(f"{self!r}".encode()).digest()[:8], "little", signed=True)


@dataclass(frozen=True, repr=False)
class Forward(_Job):
    """The way there: `outputs` after every timestep if `sequences`, what the way back needs if `keep`."""

    recipe: Recipe
    sequences: bool
    keep: bool

    def __repr__(self) -> str:
        return f"Forward({self.recipe.text}, {self.sequences}, {self.keep})"

    def run(self, arguments: list[Array], results: list[Array]) -> None:
        """Read the arguments, write every result."""
        recipe, operands = self.recipe, iter(arguments)
        inputs, tokens, schedule = recipe.read(operands, check=True)
        initial = [next(operands) for _ in recipe.step.states] if recipe.initial else None
        extra = {leaf: next(operands) for leaf in recipe.extra}
        to_write = iter(results)
        outputs = next(to_write) if self.sequences else None
        last = [next(to_write) for _ in recipe.step.states]
        recurrence(recipe.step, recipe.units, inputs.dtype).forward(
            schedule,
            inputs,
            recipe.params(list(operands)),
            initial=initial,
            tokens=tokens,
            extra=extra,
            outputs=outputs,
            last=last,
            kept=next(to_write) if self.keep else None,
        )


@dataclass(frozen=True, repr=False)
class Backward(_Job):
    """The way back, from the gradients that arrive (`outputs`, `last`) to those wanted."""

    recipe: Recipe
    outputs: bool
    last: tuple[bool, ...]
    inputs: bool
    weights: tuple[bool, ...]

    def __repr__(self) -> str:
        return f"Backward({self.recipe.text}, {self.outputs}, {self.last}, {self.inputs}, {self.weights})"

    def run(self, arguments: list[Array], results: list[Array]) -> None:
        """Read the arguments, write every result."""
        recipe, operands, to_write = self.recipe, iter(arguments), iter(results)
        inputs, tokens, schedule = recipe.read(operands, check=False)  # as they were on the way there
        extra = {leaf: next(operands) for leaf in recipe.extra}
        params = recipe.params([next(operands) for _ in range(recipe.weights)])
        kept = next(operands)
        output_gradient = next(operands) if self.outputs else None
        last_gradient = [next(operands) if given else None for given in self.last]
        inputs_gradient = next(to_write) if self.inputs else None
        initial_gradient = [next(to_write) for _ in recipe.step.states] if recipe.initial else None
        targets = recipe.params([next(to_write) if wanted else None for wanted in self.weights])
        recurrence(recipe.step, recipe.units, inputs.dtype).backward(
            schedule,
            inputs,
            params,
            kept,
            tokens=tokens,
            extra=extra,
            output_gradient=output_gradient,
            last_gradient=last_gradient,
            inputs_gradient=inputs_gradient,
            params_gradient=targets,
            initial_gradient=initial_gradient,
        )


def kept_size(recipe: Recipe, batch: int, time: int, dtype: Any) -> int:
    """Return how many numbers the way back needs from the way there."""
    return recurrence(recipe.step, recipe.units, np.dtype(dtype)).kept_size(batch, time)


@functools.lru_cache(maxsize=16)
def _schedule(batch: int, time: int, mask: bytes, reverse: bool) -> Schedule:
    """The way back, and the other direction's layer, come with the mask that was just sorted."""
    return Schedule.of(batch, time, mask=np.frombuffer(mask, np.bool_).reshape(batch, time), reverse=reverse)


def _check(tokens: Array, words: int) -> None:
    if tokens.size and not (tokens.min() >= 0 and tokens.max() < words):
        raise IndexError(
            f"token ids run from {tokens.min()} to {tokens.max()}, but the embedding has {words} rows, for "
            f"ids 0…{words - 1}; make it Embedding(input_dim={tokens.max() + 1}, …) or replace rarer words "
            "by the id for unknown words"
        )
