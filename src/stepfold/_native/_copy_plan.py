"""Strided copies and sums between arrays, planned once for their shapes and made by kernels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from .._llvm import COPY
from ._buffers import Array, address
from ._kernels import support
from ._program import SLOTS, Argument, Phase

_SHARED = 100_000
"""Elements from which on a second task helps."""
_MANY = 4096
"""Elements from which on a matrix is transposed in squares."""
_AXES = 3


class Copy(NamedTuple):
    """`target`, a view of the array called `to`, is to hold `value`, a view of the array called `of`: or the
    sum of all values that are copied to the same target."""

    to: str
    target: Array
    of: str
    value: Array


class Location(NamedTuple):
    """Where an array of a program lies, and an array of the same shape and strides, whose elements do not
    count, from which views are taken."""

    at: Argument
    form: Array


def constant(array: Array) -> Location:
    """An array that stays where it is."""
    return Location(Argument(offset=address(array)), array)


class CopyPlan:
    """Copies written down as distances within arrays, which are given by name."""

    def __init__(self, arrays: Mapping[str, Location], copies: Iterable[Copy]) -> None:
        first = {name: address(location.form) for name, location in arrays.items()}
        self._chains: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
        self._sizes: dict[tuple[int, ...], int] = {}
        self._held = [location.form for location in arrays.values()]
        self._itemsize = self._held[0].itemsize
        for copy in copies:
            if not copy.target.size:
                continue
            to, of = arrays[copy.to].at, arrays[copy.of].at
            target = to.slot, to.offset + address(copy.target) - first[copy.to]
            source = of.slot, of.offset + address(copy.value) - first[copy.of]
            # the target as it is, whatever the order in which a value's axes are best walked
            region = *target, *copy.target.shape, *copy.target.strides
            chain = self._chains.setdefault(region, [])
            chain.append((*target, *source, *_form(copy.target, copy.value), int(bool(chain))))
            self._sizes[region] = copy.target.size

    def tasks(self, most: int) -> int:
        """How many tasks the copies are worth."""
        return most if sum(self._sizes.values()) >= _SHARED else 1

    def record(self, phase: Phase) -> None:
        """Add the copies to a phase, shared out to its tasks."""
        tasks = len(phase.once)
        # a target belongs to one task; the largest come first, so that all tasks end together
        order = sorted(self._chains, key=lambda region: -self._sizes[region])
        for task, launches in enumerate(phase.once):
            lines: dict[str, list[tuple[int, ...]]] = {"copy": [], "transpose": []}
            for region in order[task::tasks]:
                lines[self._kernel(region)] += self._chains[region]
            for name, table in lines.items():
                if table:
                    launches.launch(
                        support(f"{name}{8 * self._itemsize}"),
                        count=len(table),
                        copies=np.array(table, np.int64),
                        arrays=SLOTS,
                    )

    def _kernel(self, region: tuple[int, ...]) -> str:
        """Transposing is worth a kernel of its own for many elements that lie across in all the sources."""
        target, source = COPY.index("target_stride2"), COPY.index("source_stride1")
        across = all(line[target] == line[source] == self._itemsize for line in self._chains[region])
        return "transpose" if across and self._sizes[region] >= _MANY else "copy"


def _form(target: Array, value: Array) -> tuple[int, ...]:
    """The sizes, the target's strides and the source's: the axis along which the target's elements lie side
    by side last, before it the one along which the source's do."""
    if target.shape != value.shape:
        raise ValueError(f"cannot copy {value.shape} to {target.shape}")
    axes = [
        (n, *strides)
        for n, *strides in zip(target.shape, target.strides, value.strides, strict=True)
        if n > 1
    ]
    side = target.itemsize
    if len(axes) > _AXES:
        raise ValueError(f"cannot copy {value.shape}: more than {_AXES} axes")
    axes.sort(key=lambda axis: (axis[1] == side, axis[2] == side, abs(axis[1])))
    axes = [(1, 0, 0)] * (_AXES - len(axes)) + axes
    return tuple(axis[k] for k in range(3) for axis in axes)
