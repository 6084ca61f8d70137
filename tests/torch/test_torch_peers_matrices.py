"""xLSTM's cells against their authors' package, other matrices against flash-linear-attention's loops."""

from __future__ import annotations

import math

import pytest
import torch
from peer_helpers import BATCH, SINGLE, UNITS, Params, assert_same, file_of, linears, rows
from torch import Tensor
from torch.nn.functional import elu, linear, logsigmoid, silu, soft_margin_loss

from stepfold import cells
from stepfold.torch import run

KEY = 4


def test_slstm_of_its_authors() -> None:
    package = pytest.importorskip("xlstm.blocks.slstm.src.vanilla")
    pointwise = package.slstm_pointwise_function_registry["slstm"]

    def peer(p: Params, x: Tensor) -> Tensor:
        gates = linear(x, rows(p, "W", "ifzo")).transpose(0, 1)
        kernel, states = rows(p, "U", "ifzo")[None], x.new_zeros((4, BATCH, UNITS))
        return package.slstm_forward(gates, states, kernel, rows(p, "b", "ifzo"), pointwise)[0][
            0, 1:
        ].transpose(0, 1)

    assert_same(cells.slstm, peer)


def test_mlstm_of_its_authors() -> None:
    """The package's parallel form, which has no state, against the recurrence."""
    package = pytest.importorskip("xlstm.blocks.mlstm.backends")

    def peer(p: Params, x: Tensor) -> Tensor:
        q, k, v, i, f, o = (value[:, None] for value in linears(p, x, *"qkvifo"))
        return (torch.sigmoid(o) * package.parallel_stabilized_simple(q, k, v, i, f, eps=0.0))[:, 0]

    assert_same(cells.mlstm, peer, key=KEY)


def heads(*values: Tensor) -> list[Tensor]:
    """With an axis of one head, (batch, time, 1, …)."""
    return [value[:, :, None] for value in values]


def test_linear_attention() -> None:
    loop = file_of("fla", "ops/linear_attn/naive.py").naive_recurrent_linear_attn

    def peer(p: Params, x: Tensor) -> Tensor:
        q, k, v = linears(p, x, *"qkv")
        return loop(*heads(elu(q) + 1, elu(k) + 1, v), scale=1.0, normalize=True)[0][:, :, 0]

    assert_same(cells.linear_attention, peer, dtype=SINGLE, key=KEY)


def test_retention() -> None:
    """The package's parallel form; its first head decays by 1 - 2 ** -5."""
    retention = file_of("fla", "ops/retention/naive.py").naive_retention

    def peer(p: Params, x: Tensor) -> Tensor:
        q, k, v = (value[:, None] for value in linears(p, x, *"qkv"))
        return retention(q * math.sqrt(KEY), k, v)[:, 0]

    assert_same(cells.retnet.replace(decay=1 - 2**-5), peer, dtype=SINGLE, key=KEY)


def test_gated_linear_attention() -> None:
    loop = file_of("fla", "ops/gla/naive.py").naive_recurrent_gla

    def peer(p: Params, x: Tensor) -> Tensor:
        q, k, v, a, r = linears(p, x, *"qkvar")
        return silu(r) * loop(*heads(q * math.sqrt(KEY), k, v, logsigmoid(a)))[0][:, :, 0]

    assert_same(cells.gated_linear_attention, peer, dtype=SINGLE, key=KEY)


def unit_length(value: Tensor) -> Tensor:
    return value * torch.rsqrt(value.square().sum(-1, keepdim=True) + 1e-6)


def test_delta_rule() -> None:
    loop = file_of("fla", "ops/delta_rule/naive.py").delta_rule_recurrence

    def peer(p: Params, x: Tensor) -> Tensor:
        q, k, v = linears(p, x, *"qkv")
        rate = torch.sigmoid(linear(x, p["W_b"])[..., 0] + p["b_b"])
        four = [value[:, None] for value in (unit_length(q) * math.sqrt(KEY), unit_length(k), v, rate)]
        return loop(*four)[0][:, 0]

    assert_same(cells.delta_net, peer, dtype=SINGLE, key=KEY)


def test_gated_delta_rule() -> None:
    loop = file_of("fla", "ops/gated_delta_rule/naive.py").naive_recurrent_gated_delta_rule

    def peer(p: Params, x: Tensor) -> Tensor:
        q, k, v = linears(p, x, *"qkv")
        decay, rate = (linear(x, p[f"W_{g}"])[..., 0] + p[f"b_{g}"] for g in "ab")
        five = heads(unit_length(q), unit_length(k), v, torch.sigmoid(rate), logsigmoid(decay))
        return loop(*five, scale=1.0)[0][:, :, 0]

    assert_same(cells.gated_delta_net, peer, dtype=SINGLE, key=KEY)


def delta_product_of_its_authors(p: Params, x: Tensor) -> Tensor:
    loop = file_of("fla", "ops/gated_delta_product/naive.py").naive_recurrent_gated_delta_product
    q, k, v, rates = linears(p, x, *"qkvb")
    k, v = (value.reshape(len(x), 2 * x.shape[1], 1, -1) for value in (silu(k), v))
    rates = 2 * torch.sigmoid(rates).reshape(len(x), 2 * x.shape[1], 1)
    q = unit_length(silu(q))[:, :, None]
    return loop(q, unit_length(k), v, None, rates, 1.0, num_householder=2)[0][:, :, 0]


def test_two_steps_of_the_delta_rule() -> None:
    assert_same(cells.delta_product, delta_product_of_its_authors, dtype=SINGLE, key=KEY)


def test_a_training_curve_of_two_steps_of_the_delta_rule_is_that_of_its_authors() -> None:
    """The sign of a sum over the first half of each sequence: Adam on both, from the same weights."""
    random = torch.Generator().manual_seed(3)
    x = torch.randn(32, 12, 4, generator=random)
    target = x[:, :6, 0].sum(1).sign()
    shapes = cells.delta_product.parameter_shapes(features=4, units=UNITS, key=KEY)
    start = {name: 0.4 * torch.randn(shape, generator=random) for name, shape in shapes.items()}
    readout = 0.4 * torch.randn(UNITS, generator=random)
    curves = []
    for compute in (lambda p, x: run(cells.delta_product, x, p)[0], delta_product_of_its_authors):
        params = {name: value.clone().requires_grad_() for name, value in start.items()}
        optimizer = torch.optim.Adam(params.values(), 0.02)
        losses = []
        for _ in range(60):
            loss = soft_margin_loss(compute(params, x)[:, -1] @ readout, target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        curves.append(losses)
    ours, theirs = curves
    assert ours[-1] < 0.7 * ours[0]
    assert ours == pytest.approx(theirs, rel=2e-3)
