"""Cells with inputs of their own axes: what a module of such a cell takes, and the sizes of its layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from .._axes import is_plain
from .._dims import known_size
from .._runtime import Recipe
from .._step import Step
from ._lookups import Indices, Lookups, checked_indices, rows_axis
from ._tokens import Tokens, tokens_of


class Several(NamedTuple):
    """The inputs of a cell with named ones, in place of one tensor: `own` without a name (None if the cell
    has none), then those with a name, in the cell's order, integers among them until they are gathered. Shape
    and dtype are those of the first."""

    own: Tensor | Tokens | None
    named: tuple[Any, ...]

    @property
    def first(self) -> Any:
        """The first input."""
        return self.named[0] if self.own is None else self.own

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the first input."""
        return tuple(self.first.shape)

    @property
    def dtype(self) -> Any:
        """The dtype of all."""
        return self.first.dtype

    @property
    def device(self) -> Any:
        """Where all lie."""
        return self.first.device

    def dim(self) -> int:
        """How many axes the first input has."""
        return int(self.first.dim())

    def to(self, dtype: Any) -> Several:
        """The same in another dtype."""
        own = None if self.own is None else self.own.to(dtype)
        return Several(own, tuple(each.to(dtype) for each in self.named))

    def unsqueeze(self, axis: int) -> Several:
        """The same with an axis more, which is not the last."""
        own = None if self.own is None else self.own.unsqueeze(axis)
        return Several(own, tuple(each.unsqueeze(axis) for each in self.named))

    def after(self, output: Tensor) -> Several:
        """What the next layer takes: the output of this one first, the other inputs as they are."""
        if self.own is None:
            return Several(None, (output, *self.named[1:]))
        return Several(output, self.named)


def like_of(value: Tensor | Tokens | Several) -> Tensor:
    """Return a tensor with the dtype and on the device of a layer's input."""
    first = value.first if isinstance(value, Several) else value
    if isinstance(first, Indices):
        return first.like
    return first.table if isinstance(first, Tokens) else first


def several_of(
    name: str, recipe: Recipe, value: Any, lookups: Lookups | None = None, like: Any = None
) -> Any:
    """Return what a module was given as `Several`, a PackedSequence of them, or as it is for a cell without
    named inputs; `lookups` those of a cell with integers, for rows like the tensor `like`. TypeError or
    ValueError, beginning with a name, for what does not fit."""
    own, names, shapes = (
        _inputs_of(recipe) if lookups is None else (lookups.own, lookups.names, lookups.shapes)
    )
    counts = dict(zip(names[own:], lookups.counts, strict=True)) if lookups is not None else {}
    packed = isinstance(value, PackedSequence)
    values: Sequence[Any] = (value,) if packed or not isinstance(value, (tuple, list)) else value
    if isinstance(value, Tokens):
        values = (value,)
    if len(values) != len(names):
        raise TypeError(
            f"{name}: {recipe.step.name} has the inputs {', '.join(names)}; give a tuple of {len(names)} "
            "tensors"
            if len(names) > 1
            else f"{name}: {recipe.step.name} has one input, got {len(values)}"
        )
    if own and len(names) == 1:
        return values[0]
    first = values[0]
    if not isinstance(first, PackedSequence):
        return _checked(name, own, names, shapes, _with_indices(name, counts, names, values, like))
    for which, each in zip(names, values, strict=True):
        if not isinstance(each, PackedSequence) or not _alike(first, each):
            raise ValueError(
                f"{name}: input {which} is not packed as {names[0]} is; pack all with the same lengths"
            )
    data = _with_indices(name, counts, names, [each.data for each in values], like)
    return first._replace(data=_checked(name, own, names, shapes, data))


def _with_indices(
    name: str, counts: Mapping[str, int], names: Sequence[str], values: Sequence[Any], like: Any
) -> Sequence[Any]:
    """The values of inputs, those of integers checked."""
    return [
        checked_indices(name, which, each, counts[which], like) if counts.get(which) else each
        for which, each in zip(names, values, strict=True)
    ]


def _inputs_of(recipe: Recipe) -> tuple[bool, tuple[str, ...], tuple[tuple[int, ...], ...]]:
    """Whether the first input is without a name, the names of all, and the shapes of those with one."""
    step = recipe.step
    return step.takes_features, tuple(step.input_names), tuple(recipe.named_shapes.values())


# What torch.compiler.assume_constant_result does; that imports the compiler, which takes seconds.
_inputs_of._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _alike(one: PackedSequence, other: PackedSequence) -> bool:
    def equal(a: Tensor | None, b: Tensor | None) -> bool:
        return a is b or (a is not None and b is not None and a.equal(b))

    return equal(one.batch_sizes, other.batch_sizes) and equal(one.sorted_indices, other.sorted_indices)


def _checked(
    name: str, own: bool, names: Sequence[str], shapes: Sequence[tuple[int, ...]], values: Sequence[Any]
) -> Several:
    first = tokens_of(values[0])
    if isinstance(first, Tokens) and not own:
        first.check(name)
        first = first.vectors()
    leading, named = tuple(first.shape[:-1]), [] if own else [first]
    others = shapes[len(shapes) - len(names) + 1 :]
    for which, each, of in zip(names[1:], values[1:], others, strict=True):
        shape = (*leading, *of) if not isinstance(each, Indices) else (*leading, each.size)
        if tuple(each.shape) == leading and of and shape[-1] == 1:
            each = each.unsqueeze(-1)
        if tuple(each.shape) != shape:
            raise ValueError(
                f"{name}: input {which} has shape {_shape_given(each)}, expected {(*leading, *of)}, beside "
                f"an input {names[0]} of shape {_shape_given(first)}"
            )
        own_dtype = first.dtype if isinstance(each, Indices) else each.dtype  # rows have that of the weights
        if own_dtype != first.dtype or each.device != first.device:
            raise ValueError(
                f"{name}: input {which} is {each.dtype} on {each.device}, {names[0]} is {first.dtype} on "
                f"{first.device}; convert one of them with .to"
            )
        named.append(each)
    return Several(first if own else None, tuple(named))


def _shape_given(value: Any) -> tuple[int, ...]:
    return tuple(value.ids.shape if isinstance(value, Indices) else value.shape)


def layer_sizes(step: Step, width: int, units: int, sizes: Mapping[str, int]) -> dict[str, int]:
    """Return the sizes of a layer's axes, "features" among them, units not: `sizes` are those given, `width`
    that of the first input; ValueError where they do not go together."""
    known = {"features": width, **sizes}
    if step.input_names[0] in step.integers:
        name = step.input_names[0]
        axis = rows_axis(step, name)
        if is_plain(axis) and axis not in ("units", "features"):
            known.setdefault(axis, width)
        size = known_size(axis, {"units": units, **known})
        if size not in (-1, width):
            raise ValueError(
                f"the input {name} of {step.name} is an integer, which chooses one of the {size} rows of the "
                f"axis {axis}; give an input_size of {size}, not {width}"
            )
    elif not step.takes_features:
        name, (axis, *_) = next(iter(step.inputs.items()))
        if axis not in ("units", "features") and not axis.isdecimal():
            known.setdefault(axis, width)
        size = units if axis == "units" else int(axis) if axis.isdecimal() else known[axis]
        if size != width:
            raise ValueError(
                f"{step.name} reads its input {name} element by element, as ({axis},) = ({size},), but the "
                f"input has {width} features; give an input_size of {size}"
            )
    step.sizes(units, **known)  # whether all are there
    return known


def all_layer_sizes(
    step: Step, input_size: int, units: int, sizes: Mapping[str, int], layers: int, directions: int
) -> list[dict[str, int]]:
    """Return the sizes of each layer's axes: the first input of one above is the output of the one below, the
    other inputs are the same; ValueError where they do not go together."""
    found = [layer_sizes(step, input_size, units, sizes)]
    output = Recipe.of(step.scanned, units, step.scanned_sizes(found[0])).output_shape
    if len(output) != 1 and layers * directions > 1:
        raise ValueError(
            f"the output of {step.name} is a matrix {output}, which no other layer or direction can go with; "
            "give one layer and one direction"
        )
    if layers > 1 and step.input_names[0] in step.integers:
        raise ValueError(
            f"the input {step.input_names[0]} of {step.name} is an integer, but layers above the first read "
            "vectors, the output of the one below; give one layer, and another module behind it"
        )
    width = output[0] * directions
    others = list(step.inputs.items())[0 if step.takes_features else 1 :]
    for _ in range(1, layers):
        for name, dims in others:
            if "features" in dims and width != input_size:
                raise ValueError(
                    f"the input {name} of {step.name} has as many features as the first, {input_size}, but "
                    f"layers above the first read {width}; give one layer, or an input_size of {width}"
                )
        found.append(layer_sizes(step, width, units, sizes))
    return found
