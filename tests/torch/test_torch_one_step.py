"""`RecurrentCell`: one timestep of any cell, alone and in a loop."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from stepfold import cells
from stepfold.torch import Recurrent, RecurrentCell
from tests.kinds import KINDS


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("name", KINDS)
def test_it_is_the_cell_s_step(name: str) -> None:
    module = RecurrentCell(name, 3, 4, dtype=torch.float64)
    definition = cells.by_name(name)
    x, states = torch.randn(2, 3, dtype=torch.float64), torch.randn(len(definition.states), 2, 4).double()
    hx = tuple(states) if len(states) > 1 else states[0]
    found = module(x, hx)
    params = {key: value.detach().numpy() for key, value in module.named_parameters()}
    expected = definition(x.numpy(), *states.numpy(), **params)
    pairs = zip(found, expected, strict=True) if len(states) > 1 else [(found, expected)]
    for mine, theirs in pairs:
        np.testing.assert_allclose(mine.detach().numpy(), theirs, rtol=1e-10, atol=1e-12)
    with torch.no_grad():
        torch.testing.assert_close(module(x, hx), found)


@pytest.mark.parametrize("name", ["gru", "layer_norm_lstm"])
def test_a_loop_is_the_sequence_with_the_same_parameters(name: str) -> None:
    recurrent = Recurrent(name, 3, 4, dtype=torch.float64)
    step = recurrent.cell
    assert [id(p) for p in step.parameters()] == [id(p) for p in recurrent.parameters()]
    x = torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True)
    state: Any = None
    outputs: list[Tensor] = []
    for each in x:
        state = step(each, state)
        outputs.append(state[0] if isinstance(state, tuple) else state)
    expected = recurrent(x)[0]
    torch.testing.assert_close(torch.stack(outputs), expected)
    weights = [x, *recurrent.parameters()]
    mine = torch.autograd.grad(torch.stack(outputs).sin().sum(), weights)
    theirs = torch.autograd.grad(expected.sin().sum(), weights)
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b)


def test_one_row_without_a_batch() -> None:
    module = RecurrentCell("lstm", 3, 4)
    x, h, c = torch.randn(3), torch.randn(4), torch.randn(4)
    single, batched = module(x, (h, c)), module(x[None], (h[None], c[None]))
    torch.testing.assert_close(single, tuple(state[0] for state in batched))
    torch.testing.assert_close(module(x), module(x, (torch.zeros(4), torch.zeros(4))))


def test_it_is_copied_and_saved_without_code() -> None:
    module = RecurrentCell("ugrnn", 3, 4)
    x = torch.randn(2, 3)
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        torch.testing.assert_close(other(x), module(x))
        assert str(other) == str(module) == "RecurrentCell(ugrnn, 3, 4)"


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda m: m(torch.zeros(1, 1, 3)), ValueError, "Expected input to be 1D or 2D, got 3D instead"),
        (lambda m: m(torch.zeros(2, 5)), RuntimeError, "inconsistent input_size: got 5, expected 3"),
        (
            lambda m: m(torch.zeros(2, 3), torch.zeros(2, 4)),
            RuntimeError,
            "has 2 states, h, c; hx has 1",
        ),
        (
            lambda m: m(torch.zeros(2, 3), (torch.zeros(2, 4), torch.zeros(1, 4))),
            RuntimeError,
            "state c has shape (1, 4), expected (2, 4) (batch, hidden_size)",
        ),
        (lambda m: RecurrentCell(3, 3, 4), TypeError, "cell must be a stepfold cell, the name of one"),
        (lambda m: RecurrentCell("gru", 0, 4), ValueError, "input_size must be greater than zero"),
        (lambda m: Recurrent("gru", 3, 4, 2).cell, ValueError, "one timestep needs one layer, one direction"),
        (lambda m: Recurrent("gru", 3, 4, zoneout=0.1).cell, ValueError, "no noise, not Recurrent(gru, 3, 4"),
    ],
)
def test_errors(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error) as found:
        call(RecurrentCell("lstm", 3, 4))
    assert text in str(found.value)
