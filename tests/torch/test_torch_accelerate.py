"""`accelerate`: what it swaps, what it leaves, and that a model goes on as before."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import stepfold.torch
from stepfold.torch import accelerate, restore


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
    assert accelerate(model) is model
    assert model.report.swapped == ["layers.a", "layers.b", "layers.c"]
    assert model.report.left == {}
    assert str(model.report) == "swapped 'layers.a'\nswapped 'layers.b'\nswapped 'layers.c'"
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
    assert str(accelerate(model).report) == "found no recurrent module"


def test_what_is_left_and_why() -> None:
    class Own(nn.LSTM):
        pass

    class OwnCell(nn.GRUCell):
        pass

    model = nn.ModuleDict(
        {
            "own": Own(3, 4),
            "cell": OwnCell(3, 4),
            "complex": nn.GRU(3, 4, dtype=torch.complex64),
            "linear": nn.Linear(3, 4),
        }
    )
    report = accelerate(model).report
    assert report.swapped == []
    assert report.left == {
        "own": "Own is a class of its own, which may compute something else",
        "cell": "OwnCell is a class of its own, which may compute something else",
        "complex": "no fused kernel for torch.complex64 on the device 'cpu', only for float32, float64, "
        "bfloat16, float16",
    }
    assert str(report).startswith("left 'own': Own is a class of its own")
    assert type(model["complex"]) is nn.GRU


def test_the_module_itself() -> None:
    module = nn.RNN(3, 4)
    assert str(accelerate(module).report) == "swapped the module itself"
    assert type(module) is stepfold.torch.RNN
    assert not any(module.noise)


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
def test_restored_it_is_torch_s_own_again() -> None:
    torch.manual_seed(0)
    model, tokens = Model(), torch.randint(10, (6, 2))
    names, expected, parameters = str(model), model(tokens), list(model.parameters())
    plain = set(vars(model.layers["a"]))
    assert restore(accelerate(model)) is model
    assert not hasattr(model, "report")
    assert [type(m) for m in model.layers.values()] == [nn.LSTM, nn.GRU, nn.RNN]
    assert str(model) == names
    assert set(vars(model.layers["a"])) == plain
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    torch.testing.assert_close(model(tokens), expected)
    made = restore(stepfold.torch.GRU(3, 4, bidirectional=True))
    assert set(vars(made)) == set(vars(nn.GRU(3, 4)))


def test_what_torch_has_not_is_not_restored() -> None:
    model = nn.Sequential(
        stepfold.torch.LSTM(3, 4),
        stepfold.torch.GRU(4, 4, layer_norm=True),
        stepfold.torch.Recurrent("ugrnn", 4, 4),
    )
    with pytest.raises(ValueError, match="no module for 1, 2; they stay stepfold's, and nothing was"):
        restore(model)
    assert type(model[0]) is stepfold.torch.LSTM
