"""Operations that move the elements of a vector: parts, shifts, order, running sums.

Each takes a vector and an offset, a leaf whose integer follows from the sizes of axes; the order and running
sums take the vector alone. Parts may be rows of a matrix too. The derivative of each is another of them."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from ._axes import integer_of, told
from ._dims import size_of
from ._graph import SCALAR, Dims, Node, leaf, node
from ._operation import Rule

BLOCKS = ("repeat", "block_sums")
"""Each element so many times in a row, and the sum of each so many: the offset is how many."""
MOST_REPEATED = 1024
WINDOWS = ("part", "pad", "rename", *BLOCKS)
"""Those whose result has the axis of the offset."""
MOVES = ("roll", "shift", *WINDOWS, "reverse", "cumsum", "reverse_cumsum")
"""`roll` and `shift` by an offset; `part` from an offset on, `pad` with zeros around from there on; `rename`
to another axis of the same size."""


SUMS = ("cumsum", "reverse_cumsum")


class Window(NamedTuple):
    """An offset with known sizes: the integer, how many elements the result has, and how many the vector; of
    a matrix its rows, `behind` which is one more axis."""

    begin: int
    size: int
    inner: int
    behind: int = 0

    @property
    def after(self) -> int:
        """How many elements of the result follow the vector's, if it is a part of it."""
        return self.size - self.begin - self.inner


def offset(by: str | int, dims: Dims = SCALAR) -> Node:
    """Return an offset: an integer, or one that follows from sizes; `dims`: the axis of a window."""
    return leaf("offset", str(by), dims=dims)


def window_of(n: Node, sizes: Mapping[str, int]) -> Window:
    """Return the offset of an operation with known sizes."""
    begin = integer_of(str(n.inputs[1].attributes[0]), sizes)
    size, inner = size_of(n.dims[0], sizes), size_of(n.inputs[0].dims[0], sizes)
    return Window(begin, size, inner, len(n.dims) - 1)


def takes_offset(op: str, position: int) -> bool:
    """Whether an input of an operation must be an offset; the others must not."""
    return position == 1 and op in ("roll", "shift", *WINDOWS)


def check_windows(name: str, nodes: Iterable[Node], sizes: Mapping[str, int]) -> None:
    """ValueError where a part of a vector does not lie inside it, or two axes are not equal that must be."""
    for n in nodes:
        if n.op not in WINDOWS:
            continue
        begin, size, inner, _ = window_of(n, sizes)
        of, to = n.inputs[0].dims[0], n.dims[0]
        if n.op in BLOCKS:
            many, few = (size, inner) if n.op == "repeat" else (inner, size)
            if not 1 <= begin <= MOST_REPEATED or many != few * begin:
                raise ValueError(
                    f"{name}: {to} is {size}{told(to, sizes)}, and {of} is {inner}{told(of, sizes)}; one "
                    f"must be {begin} times the other, from 1 to {MOST_REPEATED:,} times"
                )
            continue
        if n.op == "rename" and inner != size:
            raise ValueError(
                f"{name}: {to} is {size}{told(to, sizes)}, but {of} is {inner}{told(of, sizes)}; "
                "they must be equal"
            )
        part, whole = (size, inner) if n.op == "part" else (inner, size)
        if begin < 0 or begin + part > whole:
            axis = of if n.op == "part" else to
            raise ValueError(
                f"{name}: {part} elements from element {begin} on do not lie in {axis}, which is "
                f"{whole}{told(axis, sizes)}; give it more elements"
            )


# ---- derivatives: the cotangents of the inputs from the result y and its cotangent d ----------------------


def _back(y: Node, d: Node) -> tuple[Node, None]:
    """Roll and shift: the other way."""
    return node(y.op, (d, offset(-int(y.inputs[1].attributes[0]))), (), d.dims), None


def _window(op: str) -> Rule:
    """Parts, padding, other axes: the operation that undoes it, at the same place."""

    def rule(y: Node, d: Node) -> tuple[Node, None]:
        vector, by = y.inputs
        return node(op, (d, offset(str(by.attributes[0]), vector.dims)), (), vector.dims), None

    return rule


def _order(op: str) -> Rule:
    """The order and running sums: that from the other end."""
    return lambda y, d: (node(op, (d,), (), d.dims),)


RULES: dict[str, Rule] = {
    "roll": _back,
    "shift": _back,
    "part": _window("pad"),
    "pad": _window("part"),
    "rename": _window("rename"),
    "repeat": _window("block_sums"),
    "block_sums": _window("repeat"),
    "reverse": _order("reverse"),
    "cumsum": _order("reverse_cumsum"),
    "reverse_cumsum": _order("cumsum"),
}


# ---- implementations on arrays, whose last axis is the vector's -------------------------------------------


def implementations(
    concatenate: Callable[[list[Any]], Any],
    pad: Callable[[Any, int, int, int], Any],
    cumsum: Callable[[Any], Any],
    reverse: Callable[[Any], Any],
    repeat: Callable[[Any, int], Any],
) -> dict[str, Callable[..., Any]]:
    """Return the implementations of all of `MOVES` in a library of arrays.

    `concatenate(arrays)` along the last axis, `cumsum(x)`, `reverse(x)` and `repeat(x, many)` along it;
    `pad(x, before, after, behind)` with zeros before and after, along the axis that has so many axes behind
    it."""

    def roll(x: Any, by: Window) -> Any:
        first = -by.begin % x.shape[-1]
        return concatenate([x[..., first:], x[..., :first]]) if first else x

    def shift(x: Any, by: Window) -> Any:
        size = x.shape[-1]
        many = max(-size, min(size, by.begin))
        return pad(x, many, 0, 0)[..., :size] if many >= 0 else pad(x, 0, -many, 0)[..., -many:]

    def part(x: Any, by: Window) -> Any:
        rows = slice(by.begin, by.begin + by.size)
        return x[..., rows, :] if by.behind else x[..., rows]

    return {
        "roll": roll,
        "shift": shift,
        "part": part,
        "pad": lambda x, by: pad(x, by.begin, by.after, by.behind),
        "rename": lambda x, by: x,
        "repeat": lambda x, by: repeat(x, by.begin),
        "block_sums": lambda x, by: functools.reduce(
            operator.add, (x[..., k :: by.begin] for k in range(by.begin))
        ),
        "reverse": reverse,
        "cumsum": cumsum,
        "reverse_cumsum": lambda x: reverse(cumsum(reverse(x))),
    }
