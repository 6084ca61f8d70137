"""Packed batches at the operator, judged by what torch itself packs."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence

import stepfold.torch  # noqa: F401  # registers the operators
from stepfold import cell
from stepfold._runtime import Recipe


@cell
def weighted(x, h, *, W, b):
    """A cell whose outputs tell which inputs it has seen, and in which order."""
    return W @ x + 0.5 * h + b


def packed(data: Tensor, batch_sizes: Tensor, rows: int, reverse: bool = False) -> tuple[Tensor, Tensor]:
    recipe = Recipe.of(weighted.step, 1, active="packed", initial=True, reverse=reverse)
    weights = [torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)]
    initial = [torch.zeros(rows, 1, dtype=torch.float64)]
    return torch.ops.stepfold.scan(
        data, weights, initial, [], batch_sizes, None, None, [], recipe.text, True, False
    )[:2]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=7), st.booleans())
def test_every_row_finds_its_own_timesteps(lengths: list[int], reverse: bool) -> None:
    lengths.sort(reverse=True)
    padded = torch.arange(1.0, 1 + len(lengths) * max(lengths), dtype=torch.float64)
    padded = padded.reshape(len(lengths), max(lengths), 1)
    batch = pack_padded_sequence(padded, torch.tensor(lengths), batch_first=True)
    outputs, last = packed(batch.data, batch.batch_sizes, len(lengths), reverse)
    rows = torch.zeros_like(padded)
    for row, length in enumerate(lengths):
        h = 0.0
        for t in range(length - 1, -1, -1) if reverse else range(length):
            rows[row, t] = h = float(padded[row, t]) + 0.5 * h
        assert last[0, row] == h
    expected = pack_padded_sequence(rows, torch.tensor(lengths), batch_first=True)
    assert torch.equal(outputs, expected.data)


@pytest.mark.parametrize(
    ("sizes", "places", "rows", "text"),
    [
        ([2, 3], 5, 2, "at timestep 1 there are 3"),
        ([2, 0], 2, 2, "at timestep 1 there are 0"),
        ([3, 1], 4, 2, "at timestep 0 there are 3"),
        ([2, 1], 4, 2, "batch_sizes add up to 3, but the packed data has 4 places"),
        ([2, 2], 3, 2, "batch_sizes must be positive, never rise, and add up to the places"),
        ([2, -1], 1, 2, "at timestep 1 there are -1"),
        ([1 << 62, 1 << 62], 2, 2, "batch_sizes must be positive"),
    ],
)
def test_what_is_no_packed_batch(sizes: list[int], places: int, rows: int, text: str) -> None:
    with pytest.raises(ValueError) as found:
        packed(torch.zeros(places, 1, dtype=torch.float64), torch.tensor(sizes), rows)
    assert text in str(found.value)
