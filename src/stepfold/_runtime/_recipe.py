"""What is scanned and how its operands lie: one description for NumPy, JAX and PyTorch.

    forward:   inputs, [tokens], [side], [active], initial states, extra leaves, weights
               → [outputs], last states, [residuals]
    backward:  inputs, [side], extra leaves, weights, residuals, [output gradient], [last gradients]
               → [inputs' gradient], [side's gradient], [initial states' gradients], [weights' gradients]

What stands in brackets is there only if the recipe or the call says so. All operands are C-contiguous."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from .._graph import UNITS
from .._step import Step

VERSION = 2
"""Raised whenever residuals or the order of operands change: compilers that remember sizes go by it."""
ACTIVE = ("all", "lengths", "mask", "packed")
PADDING = ("repeat", "zero", "none")
_FLAGS = ("reverse", "time_major", "tokens", "side", "active", "padding", "initial")


class Part(NamedTuple):
    """A piece of a layer's weight: of the row `row` of its first axis, if given, the block number `block` of
    `units` along `axis`, if given; `transposed` if what is left is (features, units)."""

    weight: int
    block: int | None = None
    axis: int = 0
    row: int | None = None
    transposed: bool = False

    def of(self, weight: Any, units: int) -> Any:
        """Return the piece as a view of an array or tensor."""
        if self.row is not None:
            weight = weight[self.row]
        if self.block is not None:
            cut = slice(self.block * units, (self.block + 1) * units)
            weight = weight[cut] if self.axis == 0 else weight[:, cut]
        return weight.T if self.transposed else weight


Parts = tuple[tuple[str, tuple[Part, ...]], ...]
"""For each parameter of the step the pieces whose sum it is; none for a parameter that stays zero."""


@dataclass(frozen=True)
class Recipe:
    """A step, its number of units, and how a layer feeds it: all that is fixed before a batch is there.

    * `parts`: where each parameter lies in the `weights` arrays.
    * `active`: which steps are active: "all", or what an operand says: "lengths" (batch,) int64, "mask"
      (batch, time) booleans, "packed" (time,) int64 batch sizes.
    * `padding`: what outputs are at steps that are not active: "repeat" the last active one's, "zero", or
      "none", they are not written.
    * `tokens`: inputs are the rows of a table (vocabulary_size, features) that tokens choose.
    * `side`: to each of these rows side features of its step are appended; then rows share no prefix.
    * `initial`: whether there are initial states; without, rows that begin alike share their prefix.
    * `extra`: the leaves that transforms of the step ask for, in the order in which their arrays are given.
    """

    step: Step
    units: int
    parts: Parts
    weights: int
    reverse: bool = False
    time_major: bool = False
    tokens: bool = False
    side: bool = False
    active: str = "all"
    padding: str = "repeat"
    initial: bool = False
    extra: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if self.active not in ACTIVE or self.padding not in PADDING:
            raise ValueError(f"active must be one of {ACTIVE} and padding one of {PADDING}")
        if self.side and not self.tokens:
            raise ValueError("side features go with tokens; put them into the inputs")

    @classmethod
    def of(cls, step: Step, units: int, **flags: Any) -> Recipe:
        """Return the recipe whose weights are the step's parameters themselves, in the step's order."""
        return replace(_own_parts(step, units), **flags)

    @classmethod
    def from_text(cls, text: str) -> Recipe:
        """Return the recipe that `text` says; ValueError if it says none."""
        return _read(text)

    @property
    def shares(self) -> bool:
        """Whether rows may share a prefix: those that begin with the same tokens from the same zero state."""
        alike = self.tokens and not (self.side or self.initial or self.extra)
        return alike and self.active != "packed"

    @property
    def masked(self) -> bool:
        """Whether some steps' outputs are not computed but filled in."""
        return self.active in ("mask", "lengths") and self.padding != "none"

    def but(self, **flags: Any) -> Recipe:
        """Return the recipe with other flags."""
        return _changed(self, tuple(flags.items()))

    @functools.cached_property
    def text(self) -> str:
        """All of the recipe, as JSON without code: it travels in traced and exported programs."""
        told = {
            "version": VERSION,
            "units": self.units,
            "weights": self.weights,
            "parts": self.parts,
            "flags": {name: getattr(self, name) for name in _FLAGS},
            "extra": self.extra,
            "cell": json.loads(self.step.to_json()),
        }
        return json.dumps(told)

    @functools.cached_property
    def key(self) -> str:
        """A digest of the recipe, the same in every process."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @functools.cached_property
    def _hash(self) -> int:
        return hash((self.step, self.units, self.parts, self.weights, self.extra, self.active, self.reverse))

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self) -> tuple[Callable[[str], Recipe], tuple[str]]:
        return Recipe.from_text, (self.text,)

    def pieces(self, weights: Sequence[Any], name: str) -> list[Any]:
        """The pieces of one parameter, as views of arrays or tensors; those of a weight None are left out."""
        return [
            part.of(weights[part.weight], self.units)
            for part in self._parts[name]
            if weights[part.weight] is not None
        ]

    @functools.cached_property
    def _parts(self) -> Mapping[str, tuple[Part, ...]]:
        return dict(self.parts)

    def parameters(self, weights: Sequence[Any], zeros: Callable[[], Any]) -> dict[str, Any]:
        """Return name → value for every parameter; `zeros` makes the vector of one that stays zero."""
        values = {}
        for name, dims in self.step.parameters.items():
            pieces = self.pieces(weights, name)
            if not pieces and dims != UNITS:
                raise ValueError(f"parameter {name!r} has no weight")
            values[name] = functools.reduce(lambda a, b: a + b, pieces) if pieces else zeros()
        return values


@functools.lru_cache(maxsize=256)
def _own_parts(step: Step, units: int) -> Recipe:
    parts = tuple((name, (Part(number),)) for number, name in enumerate(step.parameters))
    extra = [("row_input", n) for n in step.leaves("row_input")]
    extra += [("step_input", n) for n in step.leaves("step_input")]
    return Recipe(step, units, parts, len(parts), extra=tuple(extra))


@functools.lru_cache(maxsize=1024)
def _changed(recipe: Recipe, flags: tuple[tuple[str, Any], ...]) -> Recipe:
    return replace(recipe, **dict(flags))


@functools.lru_cache(maxsize=256)
def _read(text: str) -> Recipe:
    try:
        data = json.loads(text)
        version = data["version"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"this is no recipe of stepfold's: {text[:80]!r}") from error
    if version != VERSION:
        raise ValueError(f"the recipe was written by another version of stepfold ({version}, not {VERSION})")
    parts = tuple((name, tuple(Part(*part) for part in parts)) for name, parts in data["parts"])
    return Recipe(
        Step.from_json(json.dumps(data["cell"])),
        int(data["units"]),
        parts,
        int(data["weights"]),
        extra=tuple((str(op), str(name)) for op, name in data["extra"]),
        **{name: data["flags"][name] for name in _FLAGS},
    )
