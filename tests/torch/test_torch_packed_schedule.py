"""The schedule of a packed batch, judged by what torch itself packs."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.utils.rnn import pack_padded_sequence

from stepfold._scan import Schedule


@given(st.lists(st.integers(1, 9), min_size=1, max_size=7), st.booleans())
def test_every_row_finds_its_own_timesteps(lengths: list[int], reverse: bool) -> None:
    lengths.sort(reverse=True)
    padded = torch.arange(len(lengths) * max(lengths)).reshape(len(lengths), max(lengths))
    packed = pack_padded_sequence(padded, torch.tensor(lengths), batch_first=True)
    schedule = Schedule.packed(packed.batch_sizes.numpy(), reverse=reverse)
    assert schedule.shape == (1, sum(lengths))
    assert (schedule.batch, schedule.time, schedule.whole) == (len(lengths), max(lengths), True)
    assert schedule.counts.tolist() == lengths
    assert schedule.positions.shape == (len(lengths), max(lengths))
    assert schedule.positions.min() >= 0
    assert schedule.positions.max() < sum(lengths)
    for row, length in enumerate(lengths):
        found = packed.data.numpy()[schedule.positions[row, :length]]
        expected = padded[row, :length].numpy()
        np.testing.assert_array_equal(found, expected[::-1] if reverse else expected)


@pytest.mark.parametrize(
    ("sizes", "error", "text"),
    [
        (
            [],
            ValueError,
            "the packed batch is empty: batch_sizes has no timestep; pack at least one sequence",
        ),
        ([2, 3], ValueError, "batch_sizes must be positive and never rise, not [2, 3]"),
        ([2, 0], ValueError, "batch_sizes must be positive and never rise, not [2, 0]"),
        ([[2]], ValueError, "batch_sizes has shape (1, 1), expected one number a timestep, (time,)"),
        ([2.0], TypeError, "batch_sizes must be whole numbers, not float64"),
    ],
)
def test_what_is_no_packed_batch(sizes: list[object], error: type[Exception], text: str) -> None:
    with pytest.raises(error) as found:
        Schedule.packed(sizes)
    assert text in str(found.value)
