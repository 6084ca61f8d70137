"""The kernels that find the active steps of a batch, each against its definition; hostile input
stays harmless."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from native_helpers import Memory

from tests.runtime.scan_arrays import Array

WINDOWS = st.tuples(st.integers(0, 9), st.integers(0, 9))


def outputs(memory: Memory, batch: int, time: int) -> dict[str, Array]:
    return {
        "lengths": memory.integers("lengths", batch),
        "counts": memory.integers("counts", batch),
        "time_offsets": memory.integers("time_offsets", time),
    }


def counted(lengths: Any, begin: int, limit: int) -> list[int]:
    return np.clip(np.asarray(lengths, np.int64) - begin, 0, limit).tolist()


@given(st.integers(0, 6), st.integers(0, 7), st.integers(1, 9), WINDOWS)
def test_whole(batch: int, time: int, stride: int, window: tuple[int, int]) -> None:
    memory, (begin, limit) = Memory(), window
    found = outputs(memory, batch, time)
    memory.call("whole", batch=batch, time=time, begin=begin, limit=limit, time_stride=stride, **found)
    assert found["lengths"].tolist() == [time] * batch
    assert found["counts"].tolist() == counted([time] * batch, begin, limit)
    assert found["time_offsets"].tolist() == [t * stride for t in range(time)]
    assert memory.get_status("all_active") == 1
    assert memory.error is None


ANY = st.one_of(st.integers(-3, 12), st.sampled_from([-(2**63), 2**63 - 1, 2**32, -(2**32)]))


@given(st.lists(ANY, max_size=7), st.integers(0, 7), WINDOWS, st.booleans())
def test_lengths(given_: list[int], time: int, window: tuple[int, int], masked: bool) -> None:
    memory, (begin, limit), batch = Memory(), window, len(given_)
    found = outputs(memory, batch, time)
    mask = memory.integers("clean_mask", (batch, time), np.uint8) if masked else None
    memory.call(
        "lengths", batch=batch, time=time, begin=begin, limit=limit, time_stride=3, clean_mask=mask,
        given_lengths=memory.given(given_, np.int64), **found,
    )  # fmt: skip
    lengths = [max(0, min(time, length)) for length in given_]
    assert found["lengths"].tolist() == lengths
    assert found["counts"].tolist() == counted(lengths, begin, limit)
    if mask is not None:
        assert mask.tolist() == [[int(t < length) for t in range(time)] for length in lengths]
    wrong = [row for row, length in enumerate(given_) if not 0 <= length <= time]
    assert memory.error == ("length" if wrong else None)
    if wrong:
        assert memory.get_status("row") in wrong
        assert memory.get_status("value") == given_[memory.get_status("row")]
        assert memory.get_status("limit") == time
    assert memory.get_status("all_active") == int(sum(lengths) == batch * time)


@given(st.data(), st.integers(0, 6), st.integers(0, 7), WINDOWS, st.booleans())
def test_mask(data: st.DataObject, batch: int, time: int, window: tuple[int, int], reverse: bool) -> None:
    some = st.sampled_from([0, 0, 1, 2, 127, 128, 255])
    flat = data.draw(st.lists(some, min_size=batch * time, max_size=batch * time))
    mask = np.array(flat, np.uint8).reshape(batch, time)
    memory, (begin, limit) = Memory(), window
    found = outputs(memory, batch, time)
    clean = memory.integers("clean_mask", (batch, time), np.uint8)
    times = memory.integers("active_times", (batch, time))
    memory.call(
        "mask", batch=batch, time=time, begin=begin, limit=limit, time_stride=2, reverse=int(reverse),
        mask=memory.given(mask), clean_mask=clean, active_times=times, **found,
    )  # fmt: skip
    active = [[t for t in range(time) if line[t]] for line in mask]
    if reverse:
        active = [line[::-1] for line in active]
    assert [times[row, : len(line)].tolist() for row, line in enumerate(active)] == active
    assert (clean == (mask != 0)).all()
    assert found["lengths"].tolist() == [len(line) for line in active]
    assert found["counts"].tolist() == counted([len(line) for line in active], begin, limit)
    assert found["time_offsets"].tolist() == [2 * t for t in range(time)]
    assert memory.get_status("all_active") == int((mask != 0).all())
    assert memory.error is None


def packed(sizes: list[int], batch: int, places: int) -> tuple[Memory, dict[str, Array]]:
    memory, time = Memory(), len(sizes)
    found = outputs(memory, batch, time)
    memory.call(
        "packed", batch=batch, time=time, begin=0, limit=time, places=places,
        batch_sizes=memory.given(sizes, np.int64), **found,
    )  # fmt: skip
    return memory, found


@given(st.lists(st.integers(1, 6), min_size=1, max_size=7))
def test_packed(sizes: list[int]) -> None:
    sizes = sorted(sizes, reverse=True)
    memory, found = packed(sizes, sizes[0], sum(sizes))
    assert memory.error is None
    assert found["time_offsets"].tolist() == [sum(sizes[:t]) for t in range(len(sizes))]
    expected = [sum(size > row for size in sizes) for row in range(sizes[0])]
    assert found["lengths"].tolist() == found["counts"].tolist() == expected


@given(st.lists(ANY, min_size=1, max_size=7), st.integers(0, 6), st.integers(0, 20))
def test_packed_of_any_sizes_stays_within_its_places(sizes: list[int], batch: int, places: int) -> None:
    memory, found = packed(sizes, batch, places)
    lengths, offsets = found["lengths"].tolist(), found["time_offsets"].tolist()
    assert all(0 <= length <= len(sizes) for length in lengths)
    for row, length in enumerate(lengths):
        assert all(offsets[t] + row < places for t in range(length))
    fine = sizes == sorted(sizes, reverse=True) and min(sizes) >= 1 and sizes[0] <= batch
    fits = sum(sizes) <= places
    assert memory.error == (
        "batch_sizes" if not (fine and fits) else None if sum(sizes) == places else "places"
    )


@pytest.mark.parametrize(
    ("sizes", "step", "limit"),
    [([2, 3], 1, 2), ([3, 0], 1, 2), ([3, -1], 1, 2), ([4, 1], 0, 3), ([3, 3], 1, 2), ([2**62, 1], 0, 3)],
)
def test_which_batch_size_is_wrong(sizes: list[int], step: int, limit: int) -> None:
    memory, _ = packed(sizes, 3, 5)
    assert memory.error == "batch_sizes"
    seen = [memory.get_status(name) for name in ("step", "value", "limit")]
    assert seen[:2] == [step, sizes[step]]
    assert seen[2] == limit


def test_batch_sizes_that_leave_places_over() -> None:
    memory, _ = packed([3, 1], 3, 5)
    assert memory.error == "places"
    assert [memory.get_status(name) for name in ("value", "limit")] == [4, 5]


@given(st.lists(st.integers(0, 6), max_size=9), st.integers(6, 8))
def test_sort(counts: list[int], limit: int) -> None:
    memory, batch = Memory(), len(counts)
    rows, ordered = memory.integers("rows", batch), memory.integers("sorted_counts", batch)
    memory.call(
        "sort", batch=batch, limit=limit, counts=memory.given(counts, np.int64), rows=rows,
        sorted_counts=ordered, starts=memory.integers("starts", limit + 2),
    )  # fmt: skip
    expected = sorted(range(batch), key=lambda row: -counts[row])  # stable
    assert rows.tolist() == expected
    assert ordered.tolist() == [counts[row] for row in expected]
