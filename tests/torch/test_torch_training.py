"""Training follows torch.nn's loss curve step by step, in the plain loop that Lightning users write."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import stepfold.torch as ours


class Task(nn.Module):
    """A module as Lightning has them: it says how to take a step, and which optimizer takes it."""

    def __init__(self, recurrent: nn.Module, units: int) -> None:
        super().__init__()
        self.recurrent, self.head = recurrent, nn.Linear(units, 1)

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        x, y = batch
        outputs, _ = self.recurrent(x)
        return nn.functional.mse_loss(self.head(outputs[:, -1])[:, 0], y)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.02)


def losses(task: Task, batches: list[tuple[Tensor, Tensor]]) -> list[float]:
    optimizer = task.configure_optimizers()
    found = []
    for batch in batches:
        optimizer.zero_grad()
        loss = task.training_step(batch)
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found


@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}])
def test_the_loss_curve_is_theirs(name: str, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    units = 12
    theirs = getattr(nn, name)(3, units, batch_first=True, **options)
    width = units * (2 if options.get("bidirectional") else 1)
    mine = getattr(ours, name)(3, units, batch_first=True, **options)
    mine.load_state_dict(theirs.state_dict())
    one = Task(theirs, width).double()
    other = Task(mine, width).double()
    other.head = copy.deepcopy(one.head)
    batches = []
    for _ in range(40):
        x = torch.randn(16, 9, 3, dtype=torch.float64)
        batches.append((x, x[:, :, 0].mean(1)))
    expected, found = losses(one, batches), losses(other, batches)
    assert found == pytest.approx(expected, rel=1e-7)
    assert expected[-1] < expected[0]
