"""Which row works when: against a plain loop over rows and timesteps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepfold._scan import Schedule
from tests.strategies import masks


def worked(mask: Any, reverse: bool, time_major: bool) -> list[list[int]]:
    """For each row the places it works at, in its order: the plain loop."""
    batch, time = mask.shape
    places = []
    for row in range(batch):
        steps = [t for t in range(time) if mask[row, t]]
        if reverse:
            steps.reverse()
        places.append([t * batch + row if time_major else row * time + t for t in steps])
    return places


def check(schedule: Schedule, mask: Any, reverse: bool, time_major: bool) -> None:
    batch, time = mask.shape
    expected = worked(mask, reverse, time_major)
    assert sorted(schedule.rows.tolist()) == list(range(batch))
    counts = schedule.counts.tolist()
    assert counts == sorted(counts, reverse=True)
    for k, row in enumerate(schedule.rows.tolist()):
        assert counts[k] == len(expected[row])
        begin = schedule.starts[row]
        assert schedule.positions[row, begin : begin + counts[k]].tolist() == expected[row]
    assert schedule.batch == batch
    assert schedule.time == time
    assert schedule.shape == ((time, batch) if time_major else (batch, time))
    assert schedule.reverse == reverse
    assert schedule.positions.flags.c_contiguous
    if schedule.positions.size:
        assert 0 <= schedule.positions.min() <= schedule.positions.max() < batch * time


@given(
    data=st.data(),
    batch=st.integers(0, 6),
    time=st.integers(0, 7),
    reverse=st.booleans(),
    major=st.booleans(),
)
def test_masks(data: st.DataObject, batch: int, time: int, reverse: bool, major: bool) -> None:
    mask = data.draw(masks(batch, time))
    schedule = Schedule.of(batch, time, mask=mask, reverse=reverse, time_major=major)
    assert schedule.whole == (mask is None)
    check(schedule, np.ones((batch, time), bool) if mask is None else mask, reverse, major)


@given(
    data=st.data(),
    batch=st.integers(0, 6),
    time=st.integers(0, 7),
    reverse=st.booleans(),
    major=st.booleans(),
)
def test_lengths(data: st.DataObject, batch: int, time: int, reverse: bool, major: bool) -> None:
    lengths = data.draw(st.lists(st.integers(0, time), min_size=batch, max_size=batch))
    mask = np.array([[t < length for t in range(time)] for length in lengths], bool).reshape(batch, time)
    given_as: Any = lengths if lengths else np.zeros(0, int)
    schedule = Schedule.of(batch, time, lengths=given_as, reverse=reverse, time_major=major)
    check(schedule, mask, reverse, major)


def test_rows_of_equal_length_keep_their_order() -> None:
    assert Schedule.of(5, 3, lengths=[2, 3, 2, 3, 0]).rows.tolist() == [1, 3, 0, 2, 4]


@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=6), reverse=st.booleans())
def test_packed(sizes: list[int], reverse: bool) -> None:
    sizes = sorted(sizes, reverse=True)
    schedule = Schedule.packed(sizes, reverse=reverse)
    starts = [sum(sizes[:t]) for t in range(len(sizes))]
    assert schedule.shape == (1, sum(sizes))
    for row in range(sizes[0]):
        places = [starts[t] + row for t in range(len(sizes)) if row < sizes[t]]
        if reverse:
            places.reverse()
        assert schedule.counts[row] == len(places)
        assert schedule.positions[row, : len(places)].tolist() == places


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"lengths": [1, 2], "mask": np.ones((2, 3), bool)}, ValueError, "give lengths or mask, not both"),
        ({"lengths": [1, 2, 3]}, ValueError, "lengths has shape (3,), expected one number a row, (2,)"),
        ({"lengths": [1.0, 2.0]}, TypeError, "lengths must be whole numbers, not float64"),
        ({"lengths": [True, False]}, TypeError, "lengths must be whole numbers, not bool"),
        (
            {"lengths": [0, 4]},
            ValueError,
            "lengths run from 0 to 4; they must lie in 0…3, the timesteps of the input",
        ),
        (
            {"lengths": [-1, 3]},
            ValueError,
            "lengths run from -1 to 3; they must lie in 0…3, the timesteps of the input",
        ),
        (
            {"mask": np.ones((3, 2), bool)},
            ValueError,
            "mask has shape (3, 2), expected (batch, time) = (2, 3)",
        ),
        ({"mask": np.ones((2, 3), int)}, TypeError, "mask must be of bools, not int64; write mask != 0"),
    ],
)
def test_what_does_not_fit(options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        Schedule.of(2, 3, **options)
    assert str(caught.value) == text
