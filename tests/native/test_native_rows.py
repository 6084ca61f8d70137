"""The kernels that copy, add and clear rows, each against its NumPy definition."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from native_helpers import Memory

from tests.runtime.scan_arrays import Array

DTYPES = st.sampled_from(["float32", "float64"])
WIDTHS = st.integers(1, 37)


def bits(dtype: str) -> int:
    return np.dtype(dtype).itemsize * 8


# ---- states ------------------------------------------------------------------------------------------------


@dataclass
class Rows:
    """A random group of rows of a batch, with slots for its states, which lie there in `pieces`."""

    seed: int
    rows: int
    width: int
    dtype: str
    shared: bool
    pieces: int

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)
        self.memory = Memory()
        self.stride, self.size = self.width + 2, self.width * self.pieces
        self.own = np.concatenate([p * self.stride + np.arange(self.width) for p in range(self.pieces)])
        self.batch, self.state_row = self.rows + 3, self.pieces * self.stride + 5
        self.numbers = self.random.permutation(self.batch)[: self.rows]
        self.counts = np.sort(self.random.integers(0, 5, self.rows))[::-1].copy()
        if self.shared:
            self.counts[0] = 4
        self.steps = int(self.counts[0])
        self.slots = np.concatenate([[0], np.arange(self.steps) * self.rows + self.rows])
        self.group = self.memory.group(
            rows=self.rows, steps=self.steps, shared=int(self.shared),
            row_numbers=self.memory.given(self.numbers), counts=self.memory.given(self.counts),
            slots=self.memory.given(self.slots),
        )  # fmt: skip

    def told(self) -> dict[str, int]:
        return {
            "width": self.width, "pieces": self.pieces, "piece_stride": self.stride,
            "state_row": self.state_row, "group": self.group,
        }  # fmt: skip

    def some(self, *shape: int) -> Array:
        return self.random.standard_normal(shape).astype(self.dtype)


GROUPS = st.builds(
    Rows, st.integers(0, 99), st.integers(1, 7), WIDTHS, DTYPES, st.booleans(), st.integers(1, 3)
)


@given(GROUPS, st.sampled_from([1, 2]))
def test_load_states(g: Rows, copies: int) -> None:
    source, states = g.some(g.batch, g.size), g.memory.floats("states", (2 * g.rows, g.state_row), g.dtype)
    g.memory.call(
        f"load_states{bits(g.dtype)}", **g.told(), states=states,
        copies=copies, source=g.memory.given(source),
    )  # fmt: skip
    expected = np.full_like(states, np.nan)
    for copy in range(copies):
        expected[copy * g.rows : (copy + 1) * g.rows, g.own] = source[g.numbers]
        for row in range(g.rows):
            if g.shared and g.counts[row] == 0:
                expected[copy * g.rows, g.own] += source[g.numbers[row]]
    np.testing.assert_array_equal(states, expected)


@given(GROUPS, st.sampled_from([0, 1, 2]))
def test_store_states(g: Rows, ring: int) -> None:
    states = g.some((ring or g.steps + 1) * g.rows, g.state_row)
    target = g.memory.floats("target", (g.batch, g.size), g.dtype)
    g.memory.call(
        f"store_states{bits(g.dtype)}", **g.told(),
        states=g.memory.given(states), ring=ring, target=target,
    )  # fmt: skip
    expected = np.full_like(target, np.nan)
    for row, count in enumerate(g.counts):
        ended = g.steps if g.shared else count
        source = 0 if g.shared and count == 0 else row
        first = (ended % ring) * g.rows if ring else g.slots[ended]
        expected[g.numbers[row]] = states[first + source, g.own]
    np.testing.assert_array_equal(target, expected)


@given(GROUPS, st.booleans())
def test_store_gradient(g: Rows, accumulate: bool) -> None:
    states, target = g.some(g.rows, g.state_row), g.memory.floats("target", (g.batch, g.size), g.dtype)
    before = g.some(g.batch, g.size)
    target[...] = before
    g.memory.call(
        f"store_gradient{bits(g.dtype)}", **g.told(),
        states=g.memory.given(states), accumulate=int(accumulate), target=target,
    )  # fmt: skip
    expected = before.copy()
    for row, number in enumerate(g.numbers):
        expected[number] = states[row, g.own] + (before[number] if accumulate else 0)
    np.testing.assert_array_equal(target, expected)


# ---- steps that are not active -----------------------------------------------------------------------------


@dataclass
class Padded:
    """A random mask, its rows in a group, and arrays (batch, time, width) in either layout."""

    seed: int
    batch: int
    time: int
    width: int
    dtype: str
    major: bool
    reverse: bool

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)
        self.memory = Memory()
        self.mask = self.random.choice([0, 0, 1, 2, 255], (self.batch, self.time)).astype(np.uint8)
        rows = self.random.integers(1, self.batch + 1)
        self.numbers = self.random.permutation(self.batch)[:rows]
        self.group = self.memory.group(rows=rows, row_numbers=self.memory.given(self.numbers))
        self.order = range(self.time)[::-1] if self.reverse else range(self.time)

    def call(self, kernel: str, **arguments: Array | int | None) -> None:
        self.memory.call(
            f"{kernel}{bits(self.dtype)}", time=self.time, width=self.width,
            row_stride=1 if self.major else self.time, time_stride=self.batch if self.major else 1,
            reverse=int(self.reverse), group=self.group, mask=self.memory.given(self.mask), **arguments,
        )  # fmt: skip

    def some(self) -> Array:
        return self.random.standard_normal((self.batch, self.time, self.width)).astype(self.dtype)

    def laid(self, array: Array) -> Array:
        """As it lies in memory."""
        return np.ascontiguousarray(array.transpose(1, 0, 2) if self.major else array)

    def written(self, name: str, start: Array | None = None) -> Array:
        shape = (self.time, self.batch) if self.major else (self.batch, self.time)
        memory = self.memory.floats(name, (*shape, self.width), self.dtype)
        if start is not None:
            memory[...] = self.laid(start)
        return memory


PADDED = st.builds(
    Padded,
    st.integers(0, 99),
    st.integers(1, 5),
    st.integers(0, 7),
    WIDTHS,
    DTYPES,
    st.booleans(),
    st.booleans(),
)


@given(PADDED, st.booleans())
def test_repeat(p: Padded, started: bool) -> None:
    start = p.random.standard_normal((p.batch, p.width)).astype(p.dtype)
    before = p.some()
    outputs = p.written("outputs", before)
    p.call(
        "repeat", start_row=p.width if started else 0, start=p.memory.given(start) if started else None,
        outputs=outputs,
    )  # fmt: skip
    expected = before.copy()
    for row in p.numbers:
        last = start[row] if started else np.zeros(p.width)
        for t in p.order:
            if p.mask[row, t]:
                last = before[row, t]
            expected[row, t] = last
    np.testing.assert_array_equal(outputs, p.laid(expected))


@given(PADDED)
def test_gather(p: Padded) -> None:
    gradient, gathered = p.some(), p.written("gathered")
    start = p.memory.floats("start", (p.batch, p.width), p.dtype)
    p.call("gather", gradient=p.memory.given(p.laid(gradient)), gathered=gathered, start=start)
    expected = np.full((p.batch, p.time, p.width), np.nan)
    of_start = np.full((p.batch, p.width), np.nan)
    for row in p.numbers:
        of_start[row], place = 0, of_start[row]
        for t in p.order:
            if p.mask[row, t]:
                place = expected[row, t]
                place[...] = 0
            place += gradient[row, t]
    # sums are made in another order
    np.testing.assert_allclose(gathered, p.laid(expected), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(start, of_start, rtol=1e-5, atol=1e-5)


@given(PADDED)
def test_blank(p: Padded) -> None:
    before = p.some()
    target = p.written("target", before)
    p.call("blank", target=target)
    expected = before.copy()
    for row in p.numbers:
        expected[row][p.mask[row] == 0] = 0
    np.testing.assert_array_equal(target, p.laid(expected))


@given(PADDED)
def test_nothing_is_done_where_all_steps_are_active(p: Padded) -> None:
    p.memory.set_status(all_active=1)
    outputs = p.written("outputs")
    p.call("repeat", start_row=0, start=None, outputs=outputs)
    p.call("blank", target=outputs)
    start = p.memory.floats("start", (p.batch, p.width), p.dtype)
    p.call("gather", gradient=p.memory.given(p.laid(p.some())), gathered=outputs, start=start)
    assert np.isnan(outputs).all()
    assert np.isnan(start).all()


# ---- rows and bytes ----------------------------------------------------------------------------------------


@given(st.integers(0, 99), st.integers(0, 9), WIDTHS, DTYPES)
def test_add_rows(seed: int, rows: int, width: int, dtype: str) -> None:
    random, memory = np.random.default_rng(seed), Memory()
    before, source = (random.standard_normal((n, width)).astype(dtype) for n in (20, rows))
    chosen = random.permutation(20)[:rows]
    target = memory.floats("target", (20, width), dtype)
    target[...] = before
    group = memory.group(
        distinct_count=rows, distinct=memory.given(chosen), row_gradients=memory.given(source)
    )
    memory.call(f"add_rows{bits(dtype)}", width=width, group=group, target=target)
    expected = before.copy()
    expected[chosen] += source
    np.testing.assert_array_equal(target, expected)


@given(st.integers(0, 99), st.integers(0, 9), WIDTHS, DTYPES, st.integers(1, 3))
def test_pad_rows(seed: int, count: int, width: int, dtype: str, pieces: int) -> None:
    random, memory = np.random.default_rng(seed), Memory()
    padded = -(-width // 8) * 8
    row = pieces * padded + 8
    source = random.standard_normal((20, pieces, width)).astype(dtype)
    numbers = random.integers(0, 20, count)
    target = memory.floats("target", (count, row), dtype)
    memory.call(
        f"pad_rows{bits(dtype)}", count=count, width=width, pieces=pieces, piece_stride=padded, row=row,
        row_numbers=memory.given(numbers), source=memory.given(source), target=target,
    )  # fmt: skip
    expected = np.full((count, row), np.nan, dtype)
    lying = expected[:, : pieces * padded].reshape(count, pieces, padded)
    lying[...] = 0
    lying[:, :, :width] = source[numbers]
    np.testing.assert_array_equal(target, expected)


@given(st.integers(0, 300), st.integers(1, 7))
def test_clear_in_parts(size: int, parts: int) -> None:
    memory = Memory()
    target = memory.integers("target", size, np.uint8)
    sizes = []
    for part in range(parts):
        before = int((target == 0).sum())
        memory.call("clear", bytes=size, part=part, parts=parts, target=target)
        sizes.append(int((target == 0).sum()) - before)
    assert not target.any()
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(("kernel", "count"), [("clear_rows", "rows"), ("clear_distinct", "distinct_count")])
def test_clear_for_each(kernel: str, count: str) -> None:
    for number in range(4):
        memory = Memory()
        target = memory.integers("target", 3 * 24, np.uint8)
        memory.call(kernel, row=24, group=memory.group(**{count: number}), target=target)
        assert (target[: 24 * number] == 0).all()
        assert (target[24 * number :] == 119).all()
