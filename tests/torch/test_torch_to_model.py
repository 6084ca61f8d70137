"""PyTorch modules as data: the same numbers without PyTorch, and errors that name operation and line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import stepfold
import stepfold.torch as ours
from stepfold.data import KerasWords
from stepfold.model import Model
from stepfold.torch import to_model
from tests.kinds import KINDS

IDS = torch.randint(9, (4, 6), generator=torch.Generator().manual_seed(0))
VECTORS = torch.randn(4, 6, 3, generator=torch.Generator().manual_seed(1))


def same(module: nn.Module, inputs: Tensor, *, time_major: bool = False) -> Model:
    """Assert that the exported model gives what the module gives in inference; return it."""
    module.train()
    model = to_model(module)
    assert module.training, "the module stays as it is"
    with torch.no_grad():
        found = module.eval()(inputs)
    expected = (found[0] if isinstance(found, tuple) else found).numpy()
    given = inputs.numpy()
    result = model.run(given.swapaxes(0, 1) if time_major else given)
    result = result.swapaxes(0, 1) if time_major and result.ndim == 3 else result
    assert result.dtype == expected.dtype
    np.testing.assert_allclose(result.reshape(expected.shape), expected, rtol=1e-5, atol=1e-5)
    assert np.ptp(expected, axis=0).max() > 1e-3, "rows differ, so that there is something to compare"
    return model


@pytest.mark.parametrize("library", [nn, ours])
@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_recurrent_modules_alone(library: Any, name: str, dtype: torch.dtype) -> None:
    module = getattr(library, name)
    stack = module(3, 2, 2, batch_first=True, bidirectional=True, dropout=0.5, dtype=dtype)
    same(stack, VECTORS.to(dtype))
    same(module(3, 2, bias=False, dtype=dtype), VECTORS.to(dtype), time_major=True)


def test_what_ours_have_beyond_torch_s() -> None:
    for options in ({"layer_norm": True}, {"zoneout": 0.3}, {"recurrent_dropout": 0.5}):
        same(ours.LSTM(3, 2, batch_first=True, **options), VECTORS)
    same(nn.RNN(3, 2, nonlinearity="relu", batch_first=True), VECTORS)


@pytest.mark.parametrize("name", KINDS)
def test_every_cell_in_a_sequential(name: str) -> None:
    layers = ours.Recurrent(name, 3, 2, 2, batch_first=True, bidirectional=True, zoneout=0.1)
    same(nn.Sequential(ours.Embedding(9, 3), layers), IDS)


class Network(nn.Module):
    """An embedding, a recurrent module, and something that is made of what it returns."""

    def __init__(self, end: Callable[..., Tensor], **options: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(9, 4, padding_idx=0)
        self.layers = nn.LSTM(4, 3, 2, **{"batch_first": True, "bidirectional": True, **options})
        self.dropout, self.norm = nn.Dropout(0.5), nn.BatchNorm1d(6)
        self.norm.running_mean.uniform_()
        self.dense, self.one, self.short = nn.Linear(6, 2), nn.Linear(6, 1), nn.Linear(3, 2)
        self.end = end

    def forward(self, ids: Tensor, state: Any = None, *, scale: bool = False) -> Any:
        vectors = self.dropout(self.embedding(ids))
        if state is None:
            state = torch.zeros(4, ids.size(0), 3, device=ids.device)
        output, (h, c) = self.layers(vectors, (state, torch.zeros_like(state)))
        return self.end(self, output, h, c)


ENDS: dict[str, Callable[..., Any]] = {
    "both last states": lambda n, o, h, c: n.dense(torch.cat([h[-2], h[-1]], dim=1)),
    "their sum": lambda n, o, h, c: n.short(h[-1] + h[-2]),
    "one probability": lambda n, o, h, c: torch.sigmoid(n.one(n.norm(torch.cat((h[2], h[3]), -1)))).squeeze(
        -1
    ),
    "the last output": lambda n, o, h, c: functional.elu(n.dense(o[:, -1, :])),
    "each direction's last": lambda n, o, h, c: n.dense(torch.cat((o[:, -1, :3], o[:, 0, 3:]), 1)),
    "one direction": lambda n, o, h, c: n.short(h[-1, :, :]).tanh(),
    "the mean": lambda n, o, h, c: functional.softmax(n.dense(o.mean(dim=1)), dim=-1),
    "the sum": lambda n, o, h, c: n.dense(o.sum(1)),
    "the maximum": lambda n, o, h, c: n.dense(functional.dropout(o.max(1)[0], 0.5, n.training)),
    "the values of max": lambda n, o, h, c: n.dense(torch.max(o, dim=1).values.flatten(1)),
    "time first": lambda n, o, h, c: n.dense(o.transpose(0, 1).contiguous().amax(0)),
    "every output": lambda n, o, h, c: functional.gelu(n.dense(torch.relu(o))),
}


@pytest.mark.parametrize("name", ENDS)
def test_what_a_forward_makes_of_a_recurrent_module(name: str) -> None:
    network = Network(ENDS[name])
    before = dict(vars(network))
    model = same(network, IDS)
    assert vars(network) == before | {"training": False}
    assert model.labels == ((0, 1) if name in ("one probability", "the mean") else None)
    np.testing.assert_array_equal(to_model(network, example=IDS).run(IDS.numpy()), model.run(IDS.numpy()))


def test_a_module_as_a_file(tmp_path: Path) -> None:
    network = Network(ENDS["the maximum"])
    stepfold.export(network, tmp_path / "network.safetensors")
    found = stepfold.load(tmp_path / "network.safetensors").run(IDS.numpy())
    np.testing.assert_allclose(found, network.eval()(IDS).detach().numpy(), rtol=1e-5, atol=1e-5)


def test_the_time_axis_first() -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers, self.dense = nn.GRU(3, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.dense(self.layers(x)[0][-1])

    same(Last(), VECTORS.swapaxes(0, 1), time_major=True)

    class Turned(Last):
        def forward(self, x: Tensor) -> Tensor:
            return self.dense(self.layers(x.permute(1, 0, 2))[1].squeeze(0))

    same(Turned(), VECTORS)


def test_labels_texts_and_logits() -> None:
    network = Network(lambda n, o, h, c: torch.log_softmax(n.dense(o[:, -1]), dim=1))
    with pytest.raises(ValueError, match="ends with a log_softmax; give the labels"):
        to_model(network)
    texts = KerasWords(("a", "b", "c", "d"))
    model = to_model(network, vocabulary=texts, length=6, labels=["no", "yes"], example=IDS, name="net")
    expected = network.eval()(torch.tensor([[0, 0, 0, 1, 4, 2]])).exp().detach().numpy()
    np.testing.assert_allclose(model.predict_proba(["a unheard"]), expected, rtol=1e-5)
    assert model.name == "net"
    logits = Network(lambda n, o, h, c: n.dense(o[:, -1]))
    np.testing.assert_allclose(
        to_model(logits, labels=[1, 2]).run(IDS.numpy()),
        to_model(network, labels=[1, 2]).run(IDS.numpy()),
        rtol=1e-5,
    )


def _given_state(n: Any, o: Tensor, h: Tensor, c: Tensor) -> Any:
    return n.layers(o, (torch.ones(4, 4, 3), torch.zeros(4, 4, 3)))[0]


@pytest.mark.parametrize(
    ("end", "message"),
    [
        (
            lambda n, o, h, c: o[:, 0],
            r"test_torch_to_model.py:\d+, in <lambda>: getitem cannot .* output\[:, -1\]",
        ),
        (lambda n, o, h, c: c[-1], "the first state of a cell, h"),
        (lambda n, o, h, c: torch.topk(o, 2)[0], r"\d+, in <lambda>: topk cannot be exported"),
        (lambda n, o, h, c: o.mean(1, keepdim=True), "pools sequences over time"),
        (lambda n, o, h, c: o.mean(2), "is over axis 2, and must be over time"),
        (lambda n, o, h, c: o[-1], "takes for time what is the batch elsewhere"),
        (lambda n, o, h, c: torch.cat([h[-1], h[-2]], 1), "the forward one first"),
        (lambda n, o, h, c: n.norm(o.transpose(1, 2)), "the axes of batch and time, and no others"),
        (lambda n, o, h, c: functional.dropout(o, 0.5), "it drops at any time; give training=self.training"),
        (lambda n, o, h, c: torch.softmax(o, 1), "must be over the last axis, dim=-1, not dim=1"),
        (lambda n, o, h, c: functional.gelu(o, approximate="tanh"), "approximate must be torch's default"),
        (lambda n, o, h, c: functional.softplus(o, threshold=1.0), "threshold must be torch's default"),
        (lambda n, o, h, c: n.dense(n.one(o[:, -1]).squeeze(-1)), "behind squeeze"),
        (lambda n, o, h, c: o * 2, "joins the last states"),
        (lambda n, o, h, c: o[:, -1].long(), "integers are ids, before the embedding"),
        (lambda n, o, h, c: (o, h), "forward returns several values"),
        (lambda n, o, h, c: o if o.sum() > 0 else h, "cannot be traced by torch.fx .*control flow"),
        (_given_state, r"the module 'layers' \(LSTM\) cannot be exported: it starts from states of its own"),
    ],
)
def test_what_cannot_be_said_is_named(end: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_model(Network(end))


def test_modules_that_are_refused() -> None:
    for module, message in (
        (
            nn.Sequential(nn.Conv1d(3, 2, 1)),
            r"the module '0' \(Conv1d\) cannot be exported: a Model has no such",
        ),
        (nn.LSTM(3, 4, proj_size=2), "proj_size"),
        (nn.Sequential(nn.ELU(0.5)), "alpha must be 1.0, not 0.5"),
        (nn.Sequential(nn.Softplus(threshold=1.0)), "threshold must be 20.0, not 1.0"),
        (nn.Sequential(nn.Embedding(3, 2, max_norm=1.0)), "max_norm"),
        (type("Own", (nn.LSTM,), {})(3, 4), "may be one of torch.nn's and stepfold.torch's RNN"),
        (nn.Sequential(nn.Tanh()), "give example="),
    ):
        with pytest.raises(ValueError, match=message):
            to_model(module)
    with pytest.raises(TypeError, match=r"expected a torch.nn.Module, not type"):
        to_model(nn.LSTM)
    network = Network(ENDS["both last states"])
    network.dense.register_forward_hook(lambda module, args, output: output + 1)
    with pytest.raises(ValueError, match="has a forward hook, which may change what it gives; give example="):
        to_model(network)
    with pytest.raises(ValueError, match="does not give what the module gives for the example"):
        to_model(network, example=IDS)
    network = Network(ENDS["both last states"])
    network.dense.register_forward_pre_hook(lambda module, args: (3 * args[0],))  # as weight_norm has one
    with pytest.raises(ValueError, match="has a forward hook, which may change what it gives"):
        to_model(network)
    network = Network(ENDS["both last states"])
    network.register_forward_hook(lambda module, args, output: output + 1)
    with pytest.raises(ValueError, match=r"Network has a forward hook, .* is not traced; remove it, or"):
        to_model(network, example=IDS)
