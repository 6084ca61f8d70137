"""RNN, LSTM and GRU against torch.nn's: the same numbers and gradients, whatever the options."""

from __future__ import annotations

import copy
import io
import itertools
import pickle
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch_helpers import as_hx, assert_same, initial, twins, values_and_gradients

import stepfold.torch

KINDS: list[tuple[str, dict[str, Any]]] = [
    ("RNN", {}),
    ("RNN", {"nonlinearity": "relu"}),
    ("LSTM", {}),
    ("LSTM", {"proj_size": 2}),
    ("GRU", {}),
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("given_states", [False, True])
def test_every_option_gives_the_numbers_of_torch(
    kind: tuple[str, dict[str, Any]], given_states: bool
) -> None:
    name, extra = kind
    for bias, first, layers, both in itertools.product([True, False], [True, False], [1, 2], [True, False]):
        options = {"bias": bias, "batch_first": first, "num_layers": layers, "bidirectional": both, **extra}
        theirs, ours = twins(name, 3, 5, **options)
        x = torch.randn(*((4, 6) if first else (6, 4)), 3, dtype=torch.float64)
        states = initial(theirs, 4) if given_states else []
        found, expected = (
            values_and_gradients(m, lambda x, *s, m=m: m(x, as_hx(m, s)), x, *states) for m in (ours, theirs)
        )
        assert_same(found, expected)


@settings(max_examples=25)
@given(
    st.sampled_from(["RNN", "LSTM", "GRU"]),
    *(st.integers(1, high) for high in (5, 5, 6, 35)),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_any_shape_in_both_dtypes(
    name: str, batch: int, time: int, features: int, units: int, dtype: torch.dtype
) -> None:
    theirs, ours = twins(name, features, units, dtype=dtype)
    x = torch.randn(time, batch, features, dtype=dtype)
    found, expected = (values_and_gradients(m, m, x) for m in (ours, theirs))
    tolerance = 1e-4 if dtype == torch.float32 else 1e-9
    assert_same(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("lengths", [[7, 5, 5, 1], [2, 7, 1, 5]], ids=["sorted", "unsorted"])
@pytest.mark.parametrize("given_states", [False, True])
def test_packed_in_and_out(kind: tuple[str, dict[str, Any]], lengths: list[int], given_states: bool) -> None:
    name, extra = kind
    order = lengths == sorted(lengths, reverse=True)
    for first, both in itertools.product([False, True], [False, True]):
        theirs, ours = twins(name, 3, 5, num_layers=2, batch_first=first, bidirectional=both, **extra)
        x = torch.randn(*((4, 7) if first else (7, 4)), 3, dtype=torch.float64)
        states = initial(theirs, 4) if given_states else []

        def run(m: nn.Module, x: torch.Tensor, *s: torch.Tensor, first: bool = first) -> Any:
            packed = pack_padded_sequence(x, torch.tensor(lengths), first, enforce_sorted=order)
            outputs, last = m(packed, as_hx(m, s))
            for a, b in zip(outputs[1:], packed[1:], strict=True):
                assert a is b
            return outputs, last

        found, expected = (
            values_and_gradients(m, lambda *a, m=m, run=run: run(m, *a), x, *states) for m in (ours, theirs)
        )
        assert_same(found, expected)


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("given_states", [False, True])
def test_lengths_are_packing_without_the_packing(
    kind: tuple[str, dict[str, Any]], given_states: bool
) -> None:
    name, extra = kind
    lengths = torch.tensor([2, 7, 1, 5])
    for first, both in itertools.product([False, True], [False, True]):
        theirs, ours = twins(name, 3, 5, num_layers=2, batch_first=first, bidirectional=both, **extra)
        x = torch.randn(*((4, 7) if first else (7, 4)), 3, dtype=torch.float64)
        states = initial(theirs, 4) if given_states else []

        def packed(m: nn.Module, x: torch.Tensor, *s: torch.Tensor, first: bool = first) -> Any:
            sequences = pack_padded_sequence(x, lengths, first, enforce_sorted=False)
            outputs, last = m(sequences, as_hx(m, s))
            return pad_packed_sequence(outputs, first, total_length=7)[0], last

        expected = values_and_gradients(theirs, lambda *a, m=theirs, run=packed: run(m, *a), x, *states)
        found = values_and_gradients(
            ours, lambda x, *s, m=ours: m(x, as_hx(m, s), lengths=lengths), x, *states
        )
        assert_same(found, expected)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_row_without_timesteps_keeps_its_initial_state(kind: tuple[str, dict[str, Any]]) -> None:
    name, extra = kind
    theirs, ours = twins(name, 3, 5, **extra)
    states = initial(theirs, 2)
    outputs, last = ours(
        torch.randn(4, 2, 3, dtype=torch.float64), as_hx(ours, tuple(states)), lengths=[0, 4]
    )
    assert not outputs[:, 0].any()
    for given_state, state in zip(states, last if name == "LSTM" else [last], strict=True):
        assert torch.equal(state[:, 0], given_state[:, 0])
        assert not torch.equal(state[:, 1], given_state[:, 1])


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("first", [False, True])
def test_unbatched(kind: tuple[str, dict[str, Any]], first: bool) -> None:
    name, extra = kind
    theirs, ours = twins(name, 3, 5, num_layers=2, bidirectional=True, batch_first=first, **extra)
    x = torch.randn(6, 3, dtype=torch.float64)
    states = [s.squeeze(1) for s in initial(theirs, 1)]
    found, expected = (
        values_and_gradients(m, lambda x, *s, m=m: m(x, as_hx(m, s)), x, *states) for m in (ours, theirs)
    )
    assert_same(found, expected)


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
def test_same_surface(name: str) -> None:
    torch.manual_seed(0)
    theirs = getattr(nn, name)(3, 5, num_layers=2, dropout=0.25, bidirectional=True, batch_first=True)
    torch.manual_seed(0)
    ours = getattr(stepfold.torch, name)(
        3, 5, num_layers=2, dropout=0.25, bidirectional=True, batch_first=True
    )
    assert repr(ours) == repr(theirs)
    assert isinstance(ours, nn.RNNBase)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    # the same seed draws the same weights
    assert_same(list(ours.state_dict().values()), list(theirs.state_dict().values()), rtol=0, atol=0)
    theirs.load_state_dict(ours.state_dict())
    ours.flatten_parameters()
    assert [[tuple(w.shape) for w in ws] for ws in ours.all_weights] == [
        [tuple(w.shape) for w in ws] for ws in theirs.all_weights
    ]
    x = torch.randn(2, 4, 3)
    ours.eval()
    for copied in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert type(copied) is type(ours)
        assert_same([copied(x)[0]], [ours(x)[0]], rtol=0, atol=0)
    file = io.BytesIO()
    torch.save(ours.state_dict(), file)
    file.seek(0)
    theirs.load_state_dict(torch.load(file, weights_only=True))
    assert_same([theirs.eval()(x)[0]], [ours(x)[0]], rtol=1e-5, atol=1e-5)


def test_dropout_lies_between_the_layers() -> None:
    torch.manual_seed(3)
    _, ours = twins("GRU", 3, 64, num_layers=2, dropout=0.5)
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    lower = stepfold.torch.GRU(3, 64, dtype=torch.float64)
    lower.load_state_dict({k: v for k, v in ours.state_dict().items() if k.endswith("_l0")})
    upper = stepfold.torch.GRU(64, 64, dtype=torch.float64)
    upper.load_state_dict(
        {k.replace("_l1", "_l0"): v for k, v in ours.state_dict().items() if k.endswith("_l1")}
    )
    torch.manual_seed(4)
    found = ours(x)[0]
    torch.manual_seed(4)
    expected = upper(nn.functional.dropout(lower(x)[0], 0.5))[0]
    assert_same([found], [expected])
    assert_same([ours.eval()(x)[0]], [upper(lower(x)[0])[0]])


def test_training_follows_torch_step_by_step() -> None:
    torch.manual_seed(0)
    theirs, ours = twins("LSTM", 2, 16, batch_first=True)
    heads = [nn.Linear(16, 1, dtype=torch.float64) for _ in range(2)]
    heads[1].load_state_dict(heads[0].state_dict())
    x = torch.rand(64, 12, 2, dtype=torch.float64)
    x[..., 1] = nn.functional.one_hot(torch.randint(12, (64,)), 12)
    y = (x[..., 0] * x[..., 1]).sum(1, keepdim=True)
    curves = []
    for recurrent, head in zip((theirs, ours), heads, strict=True):
        optimizer = torch.optim.Adam([*recurrent.parameters(), *head.parameters()], lr=0.02)
        losses = []
        for _ in range(60):
            loss = nn.functional.mse_loss(head(recurrent(x)[0][:, -1]), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        curves.append(torch.tensor(losses))
    torch.testing.assert_close(curves[1], curves[0], rtol=1e-5, atol=1e-8)
    assert curves[1][-1] < 0.5 * curves[1][0]
