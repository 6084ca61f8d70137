"""`accelerate`: what it swaps, what it leaves, and that a model goes on as before."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import stepfold.torch
from stepfold.torch import accelerate


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(10, 3)
        self.layers = nn.ModuleDict(
            {
                "a": nn.LSTM(3, 4, 2, proj_size=2),
                "b": nn.GRU(2, 4, bidirectional=True),
                "c": nn.RNN(8, 4, nonlinearity="relu"),
            }
        )

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embedding(tokens)
        for layer in self.layers.values():
            x = layer(x)[0]
        return x


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")  # torch's own does
def test_same_model_other_kernels() -> None:
    torch.manual_seed(0)
    model, tokens = Model(), torch.randint(10, (6, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    seen = []
    model.layers["b"].register_forward_hook(lambda *_: seen.append(True))
    expected = model(tokens)
    parameters = list(model.parameters())
    report = accelerate(model)
    assert report.swapped == ["layers.a", "layers.b", "layers.c"]
    assert report.left == {}
    assert str(report) == "swapped layers.a\nswapped layers.b\nswapped layers.c"
    assert [type(m) for m in model.layers.values()] == [
        stepfold.torch.LSTM,
        stepfold.torch.GRU,
        stepfold.torch.RNN,
    ]
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    torch.testing.assert_close(model(tokens), expected)
    assert len(seen) == 2
    before = model.layers["a"].weight_hr_l1.clone()
    model(tokens).sum().backward()
    optimizer.step()
    assert not torch.equal(model.layers["a"].weight_hr_l1, before)
    assert str(accelerate(model)) == "found no recurrent module"


def test_what_is_left_and_why() -> None:
    class Own(nn.LSTM):
        pass

    model = nn.ModuleDict(
        {
            "own": Own(3, 4),
            "cell": nn.GRUCell(3, 4),
            "coarse": nn.GRU(3, 4, dtype=torch.bfloat16),
            "linear": nn.Linear(3, 4),
        }
    )
    report = accelerate(model)
    assert report.swapped == []
    assert report.left == {
        "own": "Own is a class of its own, which may compute something else",
        "cell": "GRUCell computes one timestep; the loop around it is the model's own",
        "coarse": "no fused kernel for torch.bfloat16 on the device 'cpu', only for float32 and float64",
    }
    assert str(report).startswith("left own: Own is a class of its own")
    assert type(model["coarse"]) is nn.GRU


def test_the_module_itself() -> None:
    module = nn.RNN(3, 4)
    assert str(accelerate(module)) == "swapped the module itself"
    assert type(module) is stepfold.torch.RNN
    assert not any(module.noise)
