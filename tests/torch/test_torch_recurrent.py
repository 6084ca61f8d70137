"""`Recurrent`: any cell as a module, with noise, states, packing, saving."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch_helpers import assert_same, values_and_gradients

import stepfold.torch
from stepfold import cell, cells, sigmoid, tanh
from stepfold._reference import Reference
from stepfold._runtime import _recipe
from stepfold.torch import LSTM, RNN, Recurrent
from tests.kinds import KINDS


@cell(vectors={"b": 0.5})
def leaky(x, h, *, W, U, b, a):
    """A cell of the user's own."""
    return sigmoid(a) * h + (1 - sigmoid(a)) * tanh(W @ x + U @ h + b)


@cell
def bare(x, h):
    """A cell without any parameter."""
    return 0.5 * h


def reference(module: Recurrent, x: torch.Tensor, suffix: str = "_l0", reverse: bool = False) -> np.ndarray:
    names = module.definition.step.parameters
    params = {name: getattr(module, name + suffix).detach().numpy() for name in names}
    zeros = [np.zeros((x.shape[0], module.hidden_size))] * len(module.definition.states)
    return Reference(module.definition.step, x.detach().numpy(), params, zeros, reverse=reverse).outputs


@pytest.mark.parametrize("name", [*KINDS, "leaky"])
def test_a_layer_is_the_cell_over_time(name: str) -> None:
    torch.manual_seed(0)
    module = Recurrent(leaky if name == "leaky" else name, 3, 5, batch_first=True, dtype=torch.float64)
    x = torch.randn(2, 6, 3, dtype=torch.float64)
    outputs, last = module(x)
    np.testing.assert_allclose(outputs.detach().numpy(), reference(module, x), rtol=1e-10, atol=1e-10)
    states = last if isinstance(last, tuple) else (last,)
    assert [tuple(s.shape) for s in states] == [(1, 2, 5)] * len(module.definition.states)
    torch.testing.assert_close(states[0][0], outputs[:, -1])


def test_layers_and_directions() -> None:
    torch.manual_seed(0)
    module = Recurrent(leaky, 3, 5, 2, batch_first=True, bidirectional=True, dtype=torch.float64)
    x = torch.randn(2, 6, 3, dtype=torch.float64)
    outputs, last = module(x)
    below = torch.from_numpy(
        np.concatenate([reference(module, x), reference(module, x, "_l0_reverse", True)], -1)
    )
    expected = np.concatenate(
        [reference(module, below, "_l1"), reference(module, below, "_l1_reverse", True)], -1
    )
    np.testing.assert_allclose(outputs.detach().numpy(), expected, rtol=1e-10, atol=1e-10)
    assert last.shape == (4, 2, 5)
    torch.testing.assert_close(last[3], outputs[:, 0, 5:])


def test_a_sequence_cut_in_two_is_the_whole() -> None:
    module = Recurrent(cells.lstm, 3, 5, 2, dtype=torch.float64)
    x = torch.randn(7, 2, 3, dtype=torch.float64)
    whole, last = module(x)
    first, between = module(x[:4])
    second, end = module(x[4:], between)
    assert_same([torch.cat([first, second]), *end], [whole, *last])


def test_as_an_lstm_it_is_the_lstm() -> None:
    own, module = LSTM(3, 5, dtype=torch.float64), Recurrent("lstm", 3, 5, dtype=torch.float64)
    gates = ("i", "f", "c", "o")
    with torch.no_grad():
        for k, gate in enumerate(gates):
            rows = slice(5 * k, 5 * k + 5)
            getattr(module, f"W_{gate}_l0").copy_(own.weight_ih_l0[rows])
            getattr(module, f"U_{gate}_l0").copy_(own.weight_hh_l0[rows])
            getattr(module, f"b_{gate}_l0").copy_((own.bias_ih_l0 + own.bias_hh_l0)[rows])
    x = torch.randn(6, 4, 3, dtype=torch.float64)
    count = 4  # outputs, two states, the input's gradient
    assert_same(values_and_gradients(module, module, x)[:count], values_and_gradients(own, own, x)[:count])


@pytest.mark.parametrize("both", [False, True])
def test_packed_and_lengths_agree(both: bool) -> None:
    module = Recurrent(cells.ugrnn, 3, 5, 2, bidirectional=both, dtype=torch.float64)
    x, lengths = torch.randn(7, 4, 3, dtype=torch.float64), torch.tensor([2, 7, 1, 5])

    def packed(x):
        outputs, last = module(pack_padded_sequence(x, lengths, enforce_sorted=False))
        return pad_packed_sequence(outputs, total_length=7)[0], last

    found = values_and_gradients(module, lambda x: module(x, lengths=lengths), x)
    assert_same(found, values_and_gradients(module, packed, x))


def test_how_parameters_start() -> None:
    torch.manual_seed(0)
    module = Recurrent(leaky, 40, 50, 2, bidirectional=True)
    assert list(module.state_dict())[:5] == ["W_l0", "U_l0", "b_l0", "a_l0", "W_l0_reverse"]
    assert module.W_l1.shape == (50, 100)
    weight = module.W_l0.detach()
    assert float(weight.abs().max()) <= (6 / 90) ** 0.5
    assert float(weight.std()) == pytest.approx((2 / 90) ** 0.5, rel=0.1)
    torch.testing.assert_close(module.U_l1 @ module.U_l1.T, torch.eye(50), rtol=1e-4, atol=1e-4)
    assert torch.equal(module.b_l0, torch.full((50,), 0.5))
    assert not module.a_l1_reverse.any()
    half = Recurrent(leaky, 4, 5, dtype=torch.bfloat16)
    assert half.U_l0.dtype == torch.bfloat16


@pytest.mark.parametrize(
    "make",
    [lambda: Recurrent(leaky, 3, 5, 2, zoneout=0.1), lambda: Recurrent("lstm", 3, 5, bidirectional=True)],
    ids=["own", "built-in"],
)
def test_copied_and_saved(make: Callable[[], Recurrent]) -> None:
    module = make().eval()
    x = torch.randn(4, 2, 3)
    written = io.BytesIO()
    torch.save(module.state_dict(), written)
    written.seek(0)
    other = copy.deepcopy(module)
    other.reset_parameters()
    other.load_state_dict(torch.load(written, weights_only=True))
    for copied in (other, copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert repr(copied) == repr(module)
        assert copied.definition == module.definition
        assert_same([copied(x)[0]], [module(x)[0]], rtol=0, atol=0)
    # the graph travels, not the function
    assert b"test_torch_recurrent" not in pickle.dumps(module)


@pytest.mark.parametrize("make", [lambda: Recurrent(leaky, 3, 5), lambda: LSTM(3, 5, proj_size=2)])
def test_another_version_loads_what_this_one_saved(
    make: Callable[[], nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    module, x = make().eval(), torch.randn(4, 2, 3)
    saved = pickle.dumps(module)
    with monkeypatch.context() as patch:
        patch.setattr(_recipe, "VERSION", _recipe.VERSION + 1)
        _recipe._read.cache_clear()
        loaded = pickle.loads(saved)
    assert_same([loaded(x)[0]], [module(x)[0]], rtol=0, atol=0)


def test_a_cell_without_parameters() -> None:
    module = Recurrent(bare, 3, 5)
    outputs, _ = module(torch.randn(2, 1, 3), torch.ones(1, 1, 5))
    assert torch.equal(outputs[:, 0, 0], torch.tensor([0.5, 0.25]))


def test_no_timesteps_and_no_rows() -> None:
    module = Recurrent(leaky, 3, 5)
    start = torch.randn(1, 2, 5)
    outputs, last = module(torch.randn(0, 2, 3), start)
    assert outputs.shape == (0, 2, 5)
    assert torch.equal(last, start)
    assert module(torch.randn(4, 0, 3))[0].shape == (4, 0, 5)


def test_shown() -> None:
    module = Recurrent(leaky, 3, 5, 2, batch_first=True, dropout=0.5, recurrent_dropout=0.25)
    assert repr(module) == (
        "Recurrent(leaky, 3, 5, num_layers=2, batch_first=True, dropout=0.5, recurrent_dropout=0.25)"
    )
    assert repr(RNN(3, 5, zoneout=0.5, layer_norm=True)) == "RNN(3, 5, zoneout=0.5, layer_norm=True)"


# -- noise
# ----------------------------------------------------------------------------------------------------


def test_recurrent_dropout_of_all_forgets_what_the_kernels_see() -> None:
    module = Recurrent("simple_rnn", 3, 5, recurrent_dropout=1.0, dtype=torch.float64)
    x = torch.randn(6, 2, 3, dtype=torch.float64)
    torch.testing.assert_close(module(x)[0], torch.tanh(x @ module.W_l0.T + module.b_l0))
    module.eval()
    plain = Recurrent("simple_rnn", 3, 5, dtype=torch.float64)
    plain.load_state_dict(module.state_dict())
    assert_same([module(x)[0]], [plain(x)[0]])


def test_recurrent_dropout_is_one_scaled_mask_a_sequence() -> None:
    torch.manual_seed(0)
    module = Recurrent("simple_rnn", 1, 400, recurrent_dropout=0.25, dtype=torch.float64)
    with torch.no_grad():
        module.W_l0.zero_()
        module.U_l0.copy_(torch.eye(400))
    # tanh is linear for so small a state: each step multiplies it by the mask
    start = torch.full((1, 1, 400), 1e-6, dtype=torch.float64)
    outputs = module(torch.zeros(3, 1, 1, dtype=torch.float64), start)[0][:, 0] / 1e-6
    left = outputs[0] > 0
    assert 0.65 < left.double().mean() < 0.85
    for t in range(3):
        torch.testing.assert_close(outputs[t][left], torch.full_like(outputs[t][left], (4 / 3) ** (t + 1)))
        assert not outputs[t][~left].any()


@pytest.mark.parametrize("packed", [False, True])
def test_zoneout(packed: bool) -> None:
    torch.manual_seed(0)
    module = Recurrent("simple_rnn", 3, 200, zoneout=0.25, dtype=torch.float64)
    x = torch.randn(2, 1, 3, dtype=torch.float64)
    start = torch.full((1, 1, 200), 0.5, dtype=torch.float64)
    given = pack_padded_sequence(x, [2]) if packed else x
    outputs = module(given, start)[0]
    outputs = pad_packed_sequence(outputs)[0] if packed else outputs
    plain = Recurrent("simple_rnn", 3, 200, dtype=torch.float64)
    plain.load_state_dict(module.state_dict())
    moved = plain(x[:1], start)[0][0]
    stayed = torch.isclose(outputs[0], start[0, 0, 0], rtol=1e-12)
    assert 0.15 < stayed.double().mean() < 0.35
    torch.testing.assert_close(outputs[0][~stayed], moved[~stayed])
    module.eval()
    torch.testing.assert_close(module(x[:1], start)[0][0], 0.25 * 0.5 + 0.75 * moved)


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
def test_noise_and_layer_norm_in_the_drop_ins(name: str) -> None:
    torch.manual_seed(0)
    make = getattr(stepfold.torch, name)
    noisy = make(3, 6, 2, bidirectional=True, recurrent_dropout=0.5, zoneout=0.5, dtype=torch.float64)
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    assert not torch.equal(noisy(x)[0], noisy(x)[0])
    noisy.eval()
    assert torch.equal(noisy(x)[0], noisy(x)[0])
    values_and_gradients(noisy.train(), noisy, x)
    for bias in (True, False):
        normed = make(3, 6, 2, bias=bias, layer_norm=True, dtype=torch.float64)
        assert "weight_ln_l1" in normed.state_dict()
        assert torch.equal(normed.weight_ln_l0, torch.ones_like(normed.weight_ln_l0))
        values_and_gradients(normed, normed, x)
        # normalised, so that the input's size hardly counts where nothing else is added
        if not bias:
            outputs = [normed(scale * x[:1], None)[0] for scale in (1e3, 1e4)]
            torch.testing.assert_close(*outputs, rtol=1e-3, atol=1e-3)


def test_layer_norm_is_the_built_in_cell() -> None:
    own = LSTM(3, 5, layer_norm=True, dtype=torch.float64)
    built_in = Recurrent("layer_norm_lstm", 3, 5, dtype=torch.float64)
    with torch.no_grad():
        for parameter in own.parameters():
            nn.init.normal_(parameter)
        for k, gate in enumerate("ifco"):
            rows = slice(5 * k, 5 * k + 5)
            for name, value in (
                ("W", own.weight_ih_l0),
                ("U", own.weight_hh_l0),
                ("b", own.bias_ih_l0 + own.bias_hh_l0),
                ("g", own.weight_ln_l0),
            ):
                getattr(built_in, f"{name}_{gate}_l0").copy_(value[rows])
        built_in.g_s_l0.copy_(own.weight_ln_c_l0)
        built_in.b_s_l0.copy_(own.bias_ln_c_l0)
    x = torch.randn(4, 2, 3, dtype=torch.float64)
    assert_same([own(x)[0], *own(x)[1]], [built_in(x)[0], *built_in(x)[1]])


@cell(kernels={"U": ("identity", 2.0), "W": ("normal", 0.001)})
def begins_so(x, h, *, W, U):
    return tanh(W @ x + U @ h)


def test_kernels_begin_as_the_cell_says() -> None:
    module = Recurrent(begins_so, 40, 50)
    assert torch.equal(module.U_l0, 2 * torch.eye(50))
    assert 0.0009 < float(module.W_l0.detach().std()) < 0.0011
