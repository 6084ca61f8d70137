"""Side features beside token ids: torch.nn's numbers and gradients, and what does not fit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch_helpers import assert_same, twins
from torch_tokens import (
    BATCH,
    FEATURES,
    IDS,
    TIME,
    UNITS,
    compare,
    embeddings,
    packed,
)

from stepfold import cells
from stepfold._runtime import Recipe
from stepfold.torch import Tokens, run


@pytest.mark.parametrize("options", [{"batch_first": True}, {"bidirectional": True}], ids=str)
def test_side_features(options: dict[str, bool]) -> None:
    theirs, ours = twins("LSTM", FEATURES + 2, UNITS, **options)
    one, other = embeddings(padding_idx=2)
    random = torch.Generator().manual_seed(4)
    side = torch.randn(*IDS.shape, 2, generator=random, dtype=torch.float64)
    both = (one, theirs), (other, ours)
    sides = side.clone().requires_grad_(), side.clone().requires_grad_()

    def expected() -> Any:
        return theirs(torch.cat([one(IDS), sides[0]], -1))

    compare(expected, lambda: ours(other.tokens(IDS, sides[1])), both, tokens=True)
    assert_same([sides[1].grad], [sides[0].grad])  # type: ignore[list-item]
    ids, given = packed(IDS), packed(side)
    compare(
        lambda: theirs(packed(torch.cat([one(IDS), side], -1))),
        lambda: ours(other.tokens(ids, given)),
        both,
        tokens=True,
    )
    compare(
        lambda: theirs(torch.cat([one(IDS[1]), side[1]], -1)),
        lambda: ours(other.tokens(IDS[1], side[1])),
        both,
        tokens=True,
    )


@pytest.mark.filterwarnings("ignore::stepfold.torch.SlowPathWarning")
def test_derivatives_by_side_features() -> None:
    cell = cells.simple_rnn
    random = torch.Generator().manual_seed(4)
    ids = torch.tensor([[0, 1, 0]])

    def some(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random, dtype=torch.float64).requires_grad_()

    shapes = cell.parameter_shapes(features=FEATURES + 1, units=2)
    params = {name: some(*shape) for name, shape in shapes.items()}

    def function(table: Tensor, side: Tensor, W: Tensor) -> Tensor:
        return run(cell, Tokens(ids, table, side), params | {"W": W})[0]

    leaves = some(3, FEATURES), some(1, 3, 1), params["W"]
    assert torch.autograd.gradcheck(function, leaves)
    assert torch.autograd.gradgradcheck(function, leaves)


def test_side_features_that_do_not_fit() -> None:
    _, ours = twins("LSTM", FEATURES + 2, UNITS)
    _, other = embeddings()
    for side, error, text in (
        (torch.zeros(BATCH, TIME), ValueError, r"LSTM: side features have shape \(4, 9\), expected the axes"),
        (torch.zeros(TIME, BATCH, 2), ValueError, r"have shape \(9, 4, 2\), expected .* ids, \(4, 9\)"),
        (torch.zeros(BATCH, TIME, 2), RuntimeError, r"side features are torch\.float32 on cpu, the table is"),
        (torch.zeros(BATCH, TIME, 1).double(), RuntimeError, "Expected 5, got 4"),
    ):
        with pytest.raises(error, match=text):
            ours(other.tokens(IDS, side))
    with pytest.raises(ValueError, match=r"LSTM: the table has shape \(3,\), expected 2 axes"):
        ours(Tokens(IDS, other.weight[0]))
    recipe = Recipe.of(cells.gru.step, UNITS, tokens=True)
    with pytest.raises(ValueError, match="side has 1 tensors, expected 0"):
        torch.ops.stepfold.scan(
            other.weight,
            [torch.zeros(1)] * 10,
            [],
            [],
            None,
            IDS,
            torch.zeros(1),
            [],
            recipe.text,
            True,
            False,
        )
