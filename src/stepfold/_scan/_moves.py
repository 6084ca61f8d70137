"""Copies and sums between arrays, planned once and made again wherever arrays of the same form lie."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._llvm import MOVE
from ._calls import Call, Compiled, run_chains, small
from ._memory import address

Array = NDArray[Any]
_SHARED = 100_000  # numbers from which on a second thread helps
_LONG = 10_000  # numbers from which on other threads of Python shall run meanwhile
_MANY = 4096  # numbers from which on a matrix is turned in squares
_REMEMBERED = 256
_AXES = 3


class Move(NamedTuple):
    """`place`, a view of the array called `to`, is to hold `value`, a view of the array called `of`: or the
    sum of all values that are moved to the same place."""

    to: str
    place: Array
    of: str
    value: Array


Pieces = Mapping[str, Sequence[Array]]
"""For each parameter the arrays whose sum it is (none: zeros), or to each of which its gradient goes."""


def named(parameter: str, piece: int) -> str:
    """What a piece of a parameter is called: like no other array."""
    return f"parameter {parameter} {piece}"


class Moves:
    """Moves written down as distances within the arrays, which are given by name."""

    def __init__(self, arrays: Mapping[str, Array], moves: Iterable[Move]) -> None:
        numbers = {name: k for k, name in enumerate(arrays)}
        itemsize = next(iter(arrays.values())).itemsize
        chains: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
        sizes: dict[tuple[int, ...], int] = {}
        for move in moves:
            if not move.place.size:
                continue
            target = numbers[move.to], address(move.place) - address(arrays[move.to])
            source = numbers[move.of], address(move.value) - address(arrays[move.of])
            # the place as it is, whatever the order in which a value's axes are best walked
            place = *target, *move.place.shape, *move.place.strides
            chain = chains.setdefault(place, [])
            chain.append((*target, *source, *_form(move.place, move.value), int(bool(chain))))
            sizes[place] = move.place.size
        self._bits = 8 * itemsize
        self._numbers = sum(sizes.values())
        # a place belongs to one thread; the largest come first, so that all threads end together
        order = sorted(chains, key=lambda key: -sizes[key])
        self._chains = [
            ("turn" if _turns(chains[key], sizes[key], itemsize) else "move", chains[key]) for key in order
        ]
        self._tables: dict[int, list[list[tuple[Compiled, Array]]]] = {}

    def make(self, addresses: list[int], threads: int) -> None:
        """Make the moves among the arrays at these addresses, in the order and of the form of those that were
        given, on at most so many threads."""
        threads = threads if self._numbers >= _SHARED else 1
        tables = self._tables.get(threads)
        if tables is None:
            tables = self._tables[threads] = [self._table(k, threads) for k in range(threads)]
        found = np.array(addresses, np.int64)
        calls = [
            [Call(kernel, {"count": len(t), "moves": t, "arrays": found}) for kernel, t in mine]
            for mine in tables
        ]
        if self._numbers < _LONG:
            for kernel, words in calls[0]:
                kernel.at_once(words)
        else:
            run_chains(calls)

    def _table(self, number: int, threads: int) -> list[tuple[Compiled, Array]]:
        found = []
        for name in ("move", "turn"):
            lines = [line for how, chain in self._chains[number::threads] if how == name for line in chain]
            if lines:
                found.append((small(f"{name}{self._bits}"), np.array(lines, np.int64)))
        return found


def _turns(chain: list[tuple[int, ...]], numbers: int, itemsize: int) -> bool:
    """Whether a kernel of its own is worth while for moves to one place: there are many numbers, which lie
    across in all the sources."""
    target, source = MOVE.index("target_stride2"), MOVE.index("source_stride1")
    return numbers >= _MANY and all(line[target] == line[source] == itemsize for line in chain)


def _form(place: Array, value: Array) -> tuple[int, ...]:
    """The sizes, the target's strides and the source's: the axis along which the target's numbers lie side by
    side last, before it the one along which the source's do."""
    if place.shape != value.shape:
        raise ValueError(f"cannot move {value.shape} to {place.shape}")
    axes = [
        (n, *strides) for n, *strides in zip(place.shape, place.strides, value.strides, strict=True) if n > 1
    ]
    side = place.itemsize
    if len(axes) > _AXES:
        raise ValueError(f"cannot move {value.shape}: more than {_AXES} axes")
    axes.sort(key=lambda axis: (axis[1] == side, axis[2] == side, abs(axis[1])))
    axes = [(1, 0, 0)] * (_AXES - len(axes)) + axes
    return tuple(axis[k] for k in range(3) for axis in axes)


@dataclass(frozen=True, eq=False)
class Params:
    """Parameters that moves read or write: something that tells their form (names, shapes, strides), where
    their pieces lie, and the pieces themselves, which are asked for once for a form."""

    form: Hashable
    addresses: list[int]
    pieces: Callable[[], Pieces]

    def __len__(self) -> int:
        return len(self.addresses)

    @classmethod
    def of(cls, params: Params | Mapping[str, Array]) -> Params:
        """Return the parameters as this class; a mapping holds them whole."""
        if isinstance(params, Params):
            return params
        arrays = params.values()
        form = *params, *[(array.shape, array.strides) for array in arrays]
        return cls(
            form, list(map(address, arrays)), lambda: {name: [array] for name, array in params.items()}
        )


def together(pieces: Pieces, others: Mapping[str, Array]) -> dict[str, Array]:
    """All arrays by the names that moves give them."""
    of_params = {named(name, k): piece for name in pieces for k, piece in enumerate(pieces[name])}
    return {**of_params, **others}


class Planned:
    """Moves remembered by what they are for and by the form of the parameters that take part."""

    def __init__(self) -> None:
        self._known: dict[object, Moves] = {}
        self._lock = threading.Lock()

    def make(
        self,
        what: object,
        params: Params,
        others: Mapping[str, Array],
        plan: Callable[[Pieces], Iterable[Move]],
        threads: int,
    ) -> None:
        """Make the moves that `plan` returns for the parameters, between them and other arrays, whose form
        `what` tells."""
        key = what, params.form
        moves = self._known.get(key)
        if moves is None:
            pieces = params.pieces()
            moves = Moves(together(pieces, others), plan(pieces))
            with self._lock:
                if len(self._known) >= _REMEMBERED:
                    del self._known[next(iter(self._known))]
                self._known[key] = moves
        moves.make([*params.addresses, *map(address, others.values())], threads)
