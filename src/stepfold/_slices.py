"""Parts of vectors in a step: `v[:k]`, `v[k:]`, `v[k]`, parts named by their axes, vectors put together; of
matrices rows."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import _ops
from ._axes import difference, divided, integer_of, names_in, parsed, summed
from ._declared import is_axis
from ._dims import axes_text
from ._errors import error_here
from ._graph import SCALAR, Node, constant
from ._moves import offset

NOT_PROJECTED = (
    "the input has features, not units; project it first with a kernel, W @ x, "
    'or declare its axis, x: "units"'
)


_MOST_TAKEN = 1024


def is_projected(node: Node) -> bool:
    """Whether a node is the input without declared axes, whose features only stand behind kernels."""
    return node.op == "input" and not node.attributes


def vector_of(node: Node, what: str) -> Node:
    """Return a node that is a vector; CellError, which names what is done with it, for any other."""
    if len(node.dims) != 1:
        raise error_here(f"{what} is for a vector of the step, not for {axes_text(node.dims)}")
    return value_of(node, what)


def value_of(node: Node, what: str) -> Node:
    """Return a node that is a vector or a matrix; CellError, which names what is done with it, for others."""
    if is_projected(node):
        raise error_here(NOT_PROJECTED)
    if node.boolean:
        raise error_here("a comparison is boolean; use it as the condition of where(condition, a, b)")
    if not node.dims:
        raise error_here(f"{what} is for a vector of the step, not for {axes_text(node.dims)}")
    return node


def part(node: Node, begin: str, axis: str) -> Node:
    """Return the part of a vector, or the rows of a matrix, from one on, with an axis of its own."""
    if (begin, axis) == ("0", node.dims[0]):
        return node
    return _ops.apply("part", node, offset(begin, (axis, *node.dims[1:])))


def renamed(node: Node, axis: str) -> Node:
    """Return a value with another first axis, whose size must be the same."""
    if node.dims[0] == axis:
        return node
    return _ops.apply("rename", node, offset("0", (axis, *node.dims[1:])))


def indexed(node: Node, key: object) -> Node:
    """Return `v[key]`: for a slice a part, whose axis is the difference of its ends; for a list of integers
    these elements; for an integer a per-row scalar, of a matrix a row of it."""
    axis = node.dims[0]
    if isinstance(key, slice):
        if key.step == -1 and key.start is None and key.stop is None:
            return _ops.apply("reverse", vector_of(node, "[::-1]"))
        if key.step not in (None, 1):
            raise error_here(
                "a part of a vector has no step but v[::-1]; take v[a:b], or elements by number, v[[0, 2]]"
            )
        begin = "0" if key.start is None else _end(key.start, axis)
        end = axis if key.stop is None else _end(key.stop, axis)
        return part(node, begin, _checked(difference(end, begin), end, axis))
    if isinstance(key, (list, np.ndarray)):
        return _taken(node, list(key))
    begin = _end(key, axis)
    _checked("1", summed(begin, "1"), axis)
    found = part(node, begin, "1")
    return _ops.column_sums(found) if len(node.dims) == 2 else _ops.sum_over_units(found)


def _taken(node: Node, elements: list[Any]) -> Node:
    """The elements of a vector, or the rows of a matrix, of fixed integers, in their order."""
    if not 0 < len(elements) <= _MOST_TAKEN:
        raise error_here(
            f"a vector is indexed by 1 to {_MOST_TAKEN:,} integers, not by {len(elements):,}; "
            "take parts, v[a:b], or a matrix"
        )
    axis = node.dims[0]
    begins = [_end(element, axis) for element in elements]
    found: list[Node] = []
    while begins:  # neighbours are one part
        count = 1
        while count < len(begins) and begins[count] == summed(begins[0], str(count)):
            count += 1
        _checked("1", summed(begins[count - 1], "1"), axis)
        found.append(part(node, begins[0], str(count)))
        begins = begins[count:]
    return joined(found, None)


def _end(position: object, axis: str) -> str:
    """Where a slice begins or ends: an integer, or below zero one from the end."""
    if isinstance(position, bool) or not hasattr(position, "__index__"):
        raise error_here(
            "a part of a vector is v[:k], v[k:], v[a:b] or v[k] with integers that are fixed when the step "
            "is traced, such as hyper-parameters; parts with sizes of their own are split(v, 'keep write')"
        )
    number = int(position.__index__())
    return str(number) if number >= 0 else summed(axis, str(number))


def _checked(size: str, end: str, axis: str) -> str:
    """The axis of a part; CellError where it is known to be empty, or to end behind the vector."""
    if not names_in([size]) and integer_of(size, {}) < 1:
        raise error_here("a part of a vector has at least one element, and this one is empty")
    beyond = difference(end, axis)
    if not names_in([beyond]) and integer_of(beyond, {}) > 0:
        raise error_here(f"a part ends at element {end}, but the vector has {axis}")
    return size


def parts_of(node: Node, parts: object) -> list[Node]:
    """Return the parts of a vector one after the other: so many equal ones, or those with these axes, which
    together are the vector's; of a matrix its rows."""
    axis = node.dims[0]
    if isinstance(parts, int) and not isinstance(parts, bool):
        axes = [_equal_part(axis, parts)] * parts
    else:
        axes = axes_of(parts)
    whole = renamed(node, summed(*axes))
    begins = [summed("0", *axes[:k]) for k in range(len(axes))]
    return [part(whole, begin, own) for begin, own in zip(begins, axes, strict=True)]


def _equal_part(axis: str, parts: int) -> str:
    if parts < 1:
        raise error_here(f"split takes a number of parts of at least 1, not {parts}")
    found = divided(axis, parts)
    rest = parsed(found).get("")
    if rest is not None and rest.denominator != 1 and not names_in([axis]):
        raise error_here(f"{axis} elements cannot be split into {parts} equal parts; give another number")
    return found


def axes_of(parts: object) -> list[str]:
    """Return the axes of parts: words in a text, or in a list; CellError for anything else."""
    words = parts.split() if isinstance(parts, str) else parts
    if isinstance(words, (list, tuple)):
        axes = [str(word) if isinstance(word, int) else word for word in words]
        if axes and all(isinstance(axis, str) and is_axis(axis) for axis in axes):
            return axes
    raise error_here(
        f"split takes a number of equal parts, split(v, 4), or the axes of the parts, "
        f"split(v, 'keep write'), not {parts!r}"
    )


def joined(nodes: Sequence[Node], axis: str | None) -> Node:
    """Return vectors and per-row scalars one behind the other, or the rows of matrices; the axis is the sum
    of theirs, or `axis`."""
    vectors = [_ops.spread(n, constant(1.0, ("1",))) if n.dims == SCALAR else n for n in nodes]
    rest = {n.dims[1:] for n in vectors}
    if len(rest) > 1:
        raise error_here(
            "concatenate puts vectors one behind the other, or rows of matrices with the same second axis, "
            f"not {' and '.join(axes_text(n.dims) for n in vectors)}"
        )
    (columns,) = rest
    whole = summed(*(n.dims[0] for n in vectors))
    begins = [summed("0", *(n.dims[0] for n in vectors[:k])) for k in range(len(vectors))]
    padded = [
        n if n.dims[0] == whole else _ops.apply("pad", n, offset(begin, (whole, *columns)))
        for n, begin in zip(vectors, begins, strict=True)
    ]
    result = functools.reduce(_ops.add, padded)
    return result if axis is None else renamed(result, axis)
