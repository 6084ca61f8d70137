"""`Stream`: a cell that goes on, one timestep a call."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .._cell import Cell
from .._dtype import checked_dtype
from .._lookups import checked_integers, gather
from .._native import Array, thread_cap
from .._runtime import check_cell, checked_sizes, engine_for, other_sizes, several
from ._memory import Single, Table, Weights, write_states
from ._rows import Indices, Rows
from ._stored import read_state, written_state
from ._turn import Turn

_ARRAY = np.ndarray


class Stream:
    """A cell that goes on, one timestep a call, for one sequence or for thousands that join and leave.

    `params` as `cell.parameter_shapes` says, all float32 or all float64; they are copied. `batch` sequences
    go on side by side, rows 0 to `batch` - 1. `initial_state`: one (batch, units) a state, zeros if left out.
    `threads`: at most so many take a timestep of many rows (as many as the processors that this process may
    use if left out). Raises ValueError or TypeError for what does not fit.

    Each row has a number, which it keeps as long as it is there and which no other row ever gets. Memory
    grows and shrinks with the rows that are there. A stream belongs to one thread at a time: where two call
    it at once, the numbers may be wrong (one row), or one of them gets a RuntimeError."""

    def __init__(
        self,
        cell: Cell,
        params: Mapping[str, Any],
        batch: int = 1,
        *,
        initial_state: Sequence[Any] | None = None,
        threads: int | None = None,
    ) -> None:
        if not isinstance(batch, int) or isinstance(batch, bool) or batch < 1:
            raise ValueError(f"batch must be an integer of at least 1, not {batch!r}")
        check_cell(cell)
        if cell.step.leaves("row_input") or cell.step.leaves("step_input"):
            raise ValueError(
                f"{cell.name} asks for values a sequence or a timestep (dropout), which a stream has not"
            )
        thread_cap(threads)
        self.cell = cell
        dtype = checked_dtype(np.asarray(next(iter(params.values()))).dtype if params else np.float32)
        checked, sizes = checked_sizes(cell, params, dtype)
        step, sizes = cell.step.scanned, cell.step.scanned_sizes(sizes)
        self._tables = {name: np.array(checked.pop(name)) for name in sorted(cell.step.tables)}
        self._features = sizes.get("features", 1) if step.takes_features else 0
        self._units = sizes.get("units", 1)
        others = other_sizes(step, self._units, sizes)
        self._engine, self._threads = engine_for(step, self._units, dtype, others), threads
        layout, own = self._engine.layout, cell.step.states[cell.step.output :]
        self._shapes = [layout.sizes.shape(cell.step.dims_of(state)) for state in own]
        self._dtype = self._engine.dtype
        self._kind = "step" if batch == 1 else "rows"
        self._weights = Weights(self._engine, self._kind, self._features, checked)
        self._turn = Turn()
        self._batch, self._rows = batch, Rows(batch)
        self._single: Single | None = None
        self._table: Table | None = None
        self._output: Array
        self._start: list[Array | None] = [None] * len(cell.states)
        if initial_state is not None:
            self._start = self._checked_state(initial_state, batch)
        self._prepare(batch == 1)
        self._reset(self._rows.numbers)

    def _prepare(self, single: bool) -> None:
        """Have memory for all rows, zeros; `single` for one that goes on alone."""
        self._is_single, self._size = single, -1
        if not single:
            self._table = Table(self._weights, self._rows.capacity, self._threads)
            return
        # another thread may be in its kernel, whatever this one does: it lives as long as the stream
        self._single = one = self._single or Single(self._weights)
        for state in one.states():
            state[...] = 0
        self._input, self._call, self._address, self._output = (
            one.inputs[0],
            one.call,
            one.address,
            one.output,
        )
        if len(one.inputs) == 1 and not self._tables:
            self._size = self._input.size

    def _many(self) -> Table:
        """The table of states, made when rows are first chosen, join or leave."""
        if self._is_single:
            before = [state.copy() for state in self._states()]
            self._prepare(False)
            write_states(self._states(), self._rows.slots, before)
        assert self._table is not None
        return self._table

    def _states(self) -> list[Array]:
        """All rows' states, one (slots, size) each: views; without an output that is no state."""
        own = int(self.cell.step.output)
        if self._is_single:
            assert self._single is not None
            return self._single.states()[own:]
        assert self._table is not None
        return self._table.states[own:]

    @property
    def from_cache(self) -> bool:
        """Whether the kernel's code came from the disk."""
        return self._engine.from_cache[self._kind]

    # ---- timesteps ----------------------------------------------------------------------------------------

    def step(self, x: Any, rows: Any = None) -> Array:
        """Take the next timestep of all rows, in the order of their numbers, or of the chosen ones.

        `x` (n, features), or (features,) for one row; of a cell with several inputs a tuple of them. `rows`
        (n,) the numbers of rows, each at most once: the others stay as they are. Returns the output (n,
        units). An integer that chooses a row of a parameter is (n,), or an integer for one row. The array
        returned lies in memory that the next step overwrites, and is the same every time as
        long as n is: copy it to keep it.

        Raises:
            TypeError, ValueError: `x` or `rows` have another shape or dtype.
            IndexError: a row has left, or there never was one of this number; an integer chooses no row of
                a parameter.
        """
        # one row alone: the checks are as cheap as they can be, for the kernel takes less time than Python
        if rows is None and x.__class__ is _ARRAY and x.size == self._size and x.dtype is self._dtype:
            try:
                self._input[...] = x
            except ValueError:  # (features, 1)
                return self._step(x, rows)
            self._call(self._address)
            return self._output
        return self._step(x, rows)

    def _step(self, x: Any, rows: Any) -> Array:
        with self._turn.taken():
            one = self._single
            if self._is_single and one is not None and rows is None:
                self._write(one.inputs, x)
                one.call(one.address)
                return one.output
            table = self._many()
            slots = self._rows.slots if rows is None else self._rows.slots_of(rows)
            inputs = table.inputs(len(slots))
            fits = x.__class__ is _ARRAY and x.dtype is self._dtype and x.shape == inputs[0].shape
            if fits and len(inputs) == 1 and not self._tables:
                inputs[0][...] = x
            else:
                self._write(inputs, x)
            return table.step(slots)

    def _write(self, inputs: Sequence[Array], given: Any) -> None:
        """Write inputs that are checked here."""
        step = self.cell.step
        values = dict(zip(step.input_names, several(step, given), strict=True))
        if self._tables:
            rows = len(inputs[0])
            values |= {name: _checked_integers(values[name], name, rows) for name in step.integers}
            values, _ = gather(step.lookups, values, self._tables)
        own = step.projected.name if step.projected else "x"
        names = [own] * step.scanned.takes_features + list(step.scanned.inputs)
        found = [self._checked_input(values[n], n, of) for n, of in zip(names, inputs, strict=True)]
        for target, value in zip(inputs, found, strict=True):
            target[...] = value

    def _checked_input(self, x: Any, name: str, target: Array) -> Array:
        found = checked_numbers(x, name)
        expected = target.shape
        if found.shape == expected[:1] and expected[1] == 1:  # one number a row
            return found[:, None]
        if found.shape != expected and (expected[0] != 1 or found.shape != expected[1:]):
            axes = "features" if name == "x" else self.cell.step.gathered.inputs[name][0]
            raise ValueError(f"{name} has shape {found.shape}, expected (batch, {axes}) = {expected}")
        return found

    # ---- rows ---------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self._rows)

    @property
    def rows(self) -> Indices:
        """The numbers of the rows that are there, (n,) int64, ascending."""
        return self._rows.numbers

    @property
    def following(self) -> int:
        """The number that the next row to join gets."""
        return self._rows.following

    def join(self, n: int = 1, state: Sequence[Any] | None = None) -> Indices:
        """Add `n` rows; return their numbers, (n,) int64. `state`: one (n, units) a state, zeros if left
        out."""
        if not isinstance(n, int) or isinstance(n, bool) or n < 0:
            raise ValueError(f"n must be an integer of at least 0, not {n!r}")
        values = [None] * len(self.cell.states) if state is None else self._checked_state(state, n)
        with self._turn.taken():
            table, capacity = self._many(), self._rows.capacity_for(n)
            if capacity > self._rows.capacity:
                table.use(table.memory(capacity))
                self._rows.grow(capacity)
            numbers, slots = self._rows.join(n)
            write_states(table.states, slots, values)
            return numbers

    def leave(self, rows: Any) -> None:
        """Take rows away, by their numbers (n,); IndexError names one that is not there."""
        with self._turn.taken():
            table = self._many()
            self._rows.leave(rows)
            capacity = self._rows.less()
            if capacity is not None:
                memory = table.memory(capacity, self._rows.slots)
                self._rows.shrink(capacity)
                table.use(memory)

    # ---- states -------------------------------------------------------------------------------------------

    def reset(self, rows: Any = None) -> None:
        """Go back to the initial state, with all rows or with the chosen ones; rows that joined later go back
        to zeros."""
        with self._turn.taken():
            self._reset(self._rows.numbers if rows is None else self._numbers(rows))

    def _numbers(self, rows: Any) -> Indices:
        self._rows.slots_of(rows)
        return np.asarray(rows, np.int64).reshape(-1)

    def _reset(self, numbers: Indices) -> None:
        states, slots = self._states(), self._rows.slots_of(numbers)
        first = numbers < self._batch
        for state, value in zip(states, self._start, strict=True):
            state[slots] = 0
            if value is not None:
                state[slots[first]] = value[numbers[first]]
        if self._is_single and self._single is not None:
            self._single.output[...] = 0 if self.cell.step.output else states[0]

    @property
    def state(self) -> tuple[Array, ...]:
        """The states of all rows as they are now, one (batch, units) each: copies."""
        with self._turn.taken():
            return self._copied(self._rows.slots)

    @state.setter
    def state(self, values: Sequence[Any]) -> None:
        with self._turn.taken():
            write_states(self._states(), self._rows.slots, self._checked_state(values, len(self._rows)))

    def state_of(self, rows: Any) -> tuple[Array, ...]:
        """Return the states of the chosen rows, one (n, units) each: copies."""
        with self._turn.taken():
            return self._copied(self._rows.slots_of(rows))

    def set_state_of(self, rows: Any, values: Sequence[Any]) -> None:
        """Set the states of the chosen rows, one (n, units) each."""
        with self._turn.taken():
            slots = self._rows.slots_of(rows)
            write_states(self._states(), slots, self._checked_state(values, len(slots)))

    def _copied(self, slots: Indices) -> tuple[Array, ...]:
        return tuple(state[slots] for state in self._states())

    def _checked_state(self, given: Sequence[Any], rows: int) -> list[Array | None]:
        names = self.cell.states
        if len(given) != len(names):
            raise ValueError(
                f"initial_state has {len(given)} array(s), {self.cell.name} has {len(names)} state(s)"
            )
        found: list[Array | None] = []
        for name, value, own in zip(names, given, self._shapes, strict=True):
            shape = rows, *own
            if np.shape(value) != shape:
                raise ValueError(
                    f"initial state {name!r} has shape {np.shape(value)}, expected (batch, units) = {shape}"
                )
            found.append(np.array(checked_numbers(value, f"initial state {name!r}"), self._dtype))
        return found

    def _described(self) -> dict[str, Any]:
        return {
            "cell": self.cell.step.key,
            "units": self._units,
            "states": list(self.cell.states),
            "dtype": self._dtype.name,
            **({"sizes": dict(self._engine.sizes)} if self._engine.sizes else {}),
        }

    @property
    def _stored_shape(self) -> tuple[int, ...]:
        """How the states of a row are stored: (states, units), or one behind the other where they differ."""
        shapes = self._shapes
        alike = len(set(shapes)) == 1 and len(shapes[0]) == 1
        return (len(shapes), *shapes[0]) if alike else (sum(map(math.prod, shapes)),)

    def save_state(self) -> bytes:
        """Return the rows' numbers and states as bytes. A stream of the same cell, units and dtype, here or
        in another process, goes on from them bit for bit with `load_state`."""
        with self._turn.taken():
            slots = self._rows.slots
            states = np.concatenate([s[slots].reshape(len(slots), -1) for s in self._states()], axis=1)
            states = states.reshape(len(states), *self._stored_shape)
            of = self._described() | {"following": self._rows.following}
            return written_state(of, {"numbers": self._rows.numbers, "states": states})

    def load_state(self, data: bytes) -> None:
        """Go on where `save_state` was called: with its rows, under their numbers, and with their states.

        Raises:
            TypeError: `data` is not of bytes.
            ValueError: it is no state, it is damaged, or it is of another cell, or of other units or dtype.
        """
        stored = read_state(data, self._described())
        numbers, states = stored.arrays.get("numbers"), stored.arrays.get("states")
        following = stored.of.get("following")
        expected = (None if numbers is None else numbers.size, *self._stored_shape)
        if (
            numbers is None
            or states is None
            or not isinstance(following, int)
            or numbers.dtype != np.int64
            or numbers.ndim != 1
            or states.dtype != self._dtype
            or states.shape != expected
            or not Rows.fits(numbers, following)
        ):
            raise ValueError("the arrays in this state of a stream do not fit; save the state again")
        with self._turn.taken():
            self._rows.restore(numbers, following)
            self._prepare(following == len(numbers) == 1)
            ends = np.cumsum([math.prod(shape) for shape in self._shapes])[:-1]
            parts = np.split(states.reshape(len(numbers), -1), ends, axis=1)
            values = [p.reshape(-1, *shape) for p, shape in zip(parts, self._shapes, strict=True)]
            write_states(self._states(), self._rows.slots, values)


def _checked_integers(value: Any, name: str, rows: int) -> Array:
    """Return an integer for each row; TypeError or ValueError for anything else."""
    found = checked_integers(value, name)
    if found.shape != (rows,) and not (rows == 1 and found.size == 1):
        raise ValueError(f"{name} has shape {found.shape}, expected an integer a row, {(rows,)}")
    return found.reshape(rows)


def checked_numbers(value: Any, name: str) -> Array:
    """Return an array of numbers as it is; TypeError or ValueError for anything else."""
    try:
        found = np.asarray(value)
    except ValueError:
        raise ValueError(f"{name} has no shape; give an array") from None
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array; fill it with .filled(value)")
    if found.dtype.kind not in "fiub":
        raise TypeError(f"{name} must be numbers, not {found.dtype.name}")
    return found
