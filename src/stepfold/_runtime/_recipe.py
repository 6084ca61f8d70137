"""What is scanned and how its operands lie: one description for NumPy, JAX and PyTorch.

    forward:   [inputs], [tokens], [side], named inputs, [active], initial states, extra leaves, weights
               → [outputs], last states, [residuals]
    backward:  [inputs], [side], named inputs, extra leaves, weights, residuals, [output gradient],
               [last gradients]
               → [inputs' gradient], [side's gradient], [named inputs' gradients],
               [initial states' gradients], [weights' gradients]

What stands in brackets is there only if the recipe or the call says so: `inputs`, that without a name, if the
step takes features. Named inputs (batch, time, size) lie as the inputs do. An output that is no state is the
first of the states. All operands are C-contiguous."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from .._dims import size_of
from .._graph import UNITS, Dims
from .._step import Step

VERSION = 2
"""Raised whenever residuals or the order of operands change: compilers that remember sizes go by it."""
ACTIVE = ("all", "lengths", "mask", "packed")
PADDING = ("repeat", "zero", "none")
_FLAGS = ("reverse", "time_major", "tokens", "side", "active", "padding", "initial")


class Part(NamedTuple):
    """A piece of a layer's weight: of the row `row` of its first axis, if given, the block number `block`
    along `axis`, if given; `transposed` if what is left is the parameter with its axes turned over."""

    weight: int
    block: int | None = None
    axis: int = 0
    row: int | None = None
    transposed: bool = False

    def of(self, weight: Any, size: int) -> Any:
        """Return the piece, of blocks of so many elements, as a view of an array or tensor."""
        if self.row is not None:
            weight = weight[self.row]
        if self.block is not None:
            cut = slice(self.block * size, (self.block + 1) * size)
            weight = weight[cut] if self.axis == 0 else weight[:, cut]
        return weight.T if self.transposed else weight


Sizes = tuple[tuple[str, int], ...]
"""The sizes of axes by name."""
Parts = tuple[tuple[str, tuple[Part, ...]], ...]
"""For each parameter of the step the pieces whose sum it is; none for a parameter that stays zero."""


@dataclass(frozen=True)
class Recipe:
    """A step, its number of units, and how a layer feeds it: all that is fixed before a batch is there.

    * `sizes`: those of the step's other axes, by name.
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
    sizes: Sizes = ()

    def __post_init__(self) -> None:
        self.step.sizes(self.units, **dict(self.sizes))
        if self.active not in ACTIVE or self.padding not in PADDING:
            raise ValueError(f"active must be one of {ACTIVE} and padding one of {PADDING}")
        if self.tokens and not self.step.takes_features:
            raise ValueError(f"{self.step.name} has no input without a name, so tokens cannot choose it")
        if self.side and not self.tokens:
            raise ValueError("side features go with tokens; put them into the inputs")

    @classmethod
    def of(cls, step: Step, units: int, sizes: Mapping[str, int] | Sizes = (), **flags: Any) -> Recipe:
        """Return the recipe whose weights are the step's parameters themselves, in the step's order; `sizes`:
        those of other axes than the units."""
        given = tuple(sizes.items()) if isinstance(sizes, Mapping) else tuple(sizes)
        found = _of(step, units, given)
        return replace(found, **flags) if flags else found

    @classmethod
    def from_text(cls, text: str) -> Recipe:
        """Return the recipe that `text` says; ValueError if it says none."""
        return _read(text)

    @property
    def shares(self) -> bool:
        """Whether rows may share a prefix: those that begin with the same tokens from the same zero state."""
        alike = self.tokens and not (self.side or self.initial or self.extra or self.step.inputs)
        return alike and self.active != "packed"

    @property
    def masked(self) -> bool:
        """Whether some steps' outputs are not computed but filled in."""
        return self.active in ("mask", "lengths") and self.padding != "none"

    @functools.cached_property
    def _sizes(self) -> dict[str, int]:
        return {"units": self.units, **dict(self.sizes)}

    def size(self, axis: str) -> int:
        """The size of an axis of the step."""
        return size_of(axis, self._sizes)

    def shape(self, dims: Dims) -> tuple[int, ...]:
        """The shape of a value of the step."""
        return tuple(map(self.size, dims))

    @functools.cached_property
    def state_shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shape of each state of one row."""
        return tuple(self.shape(self.step.dims_of(state)) for state in self.step.states)

    @functools.cached_property
    def named_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each input with a name of one row at one timestep."""
        return {name: self.shape(dims) for name, dims in self.step.inputs.items()}

    @property
    def output_shape(self) -> tuple[int, ...]:
        """The shape of the output of one row at one timestep."""
        return self.state_shapes[0]

    def extra_shape(self, kind: str, name: str) -> tuple[int, ...]:
        """The shape of a vector a row or a step that the step asks for."""
        dims = next(
            n.dims for n in self.step.nodes if n.op == kind and n.attributes and n.attributes[0] == name
        )
        return self.shape(dims)

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
        return json.dumps(told | ({"sizes": self.sizes} if self.sizes else {}))

    @functools.cached_property
    def key(self) -> str:
        """A digest of the recipe, the same in every process."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @functools.cached_property
    def _hash(self) -> int:
        shape = self.units, self.sizes, self.parts, self.weights, self.extra
        return hash((self.step, *shape, self.active, self.reverse))

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self) -> tuple[Callable[[str], Recipe], tuple[str]]:
        return Recipe.from_text, (self.text,)

    def pieces(self, weights: Sequence[Any], name: str) -> list[Any]:
        """The pieces of one parameter, as views of arrays or tensors; those of a weight None are left out."""
        return [
            part.of(weights[part.weight], self.block(name, part))
            for part in self._parts[name]
            if weights[part.weight] is not None
        ]

    def block(self, name: str, part: Part) -> int:
        """How many elements of a weight the blocks have in which a parameter lies."""
        dims = self.step.parameters[name]
        axis = part.axis if not part.transposed else 1 - part.axis
        known = axis < len(dims) and dims[axis] != "features"
        return self.size(dims[axis]) if known else self.units

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


def other_sizes(step: Step, units: int, sizes: Mapping[str, int] | Sizes) -> Sizes:
    """The sizes of a step's other axes than the units, in the order of its axes; ValueError if one is
    missing, unknown or no size."""
    others = {axis: size for axis, size in dict(sizes).items() if axis != "units"}
    step.sizes(units, **others)  # whether they fit
    return tuple((axis, int(others[axis])) for axis in step.own_axes if axis != "units")


@functools.lru_cache(maxsize=256, typed=True)
def _of(step: Step, units: int, sizes: Sizes) -> Recipe:
    return _own_parts(step, units, other_sizes(step, units, sizes))


@functools.lru_cache(maxsize=256)
def _own_parts(step: Step, units: int, sizes: Sizes) -> Recipe:
    parts = tuple((name, (Part(number),)) for number, name in enumerate(step.parameters))
    extra = [("row_input", n) for n in step.leaves("row_input")]
    extra += [("step_input", n) for n in step.leaves("step_input")]
    return Recipe(step, units, parts, len(parts), extra=tuple(extra), sizes=sizes)


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
    step, units = Step.from_json(json.dumps(data["cell"])), int(data["units"])
    return Recipe(
        step,
        units,
        parts,
        int(data["weights"]),
        extra=tuple((str(op), str(name)) for op, name in data["extra"]),
        sizes=other_sizes(step, units, {str(axis): size for axis, size in data.get("sizes", ())}),
        **{name: data["flags"][name] for name in _FLAGS},
    )
