"""Cells that are linear in their state against the packages that have them."""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peer_helpers import (
    FEATURES,
    SINGLE,
    UNITS,
    Params,
    assert_same,
    call,
    file_of,
    linears,
    over_time,
    rows,
    zeros,
)
from torch import Tensor
from torch.nn.functional import linear, logsigmoid, silu, softplus

from stepfold import cells


@pytest.mark.parametrize("name", ["min_gru", "min_lstm"])
def test_minimal_networks_where_the_candidates_are_positive(name: str) -> None:
    """The package computes in logarithms, its candidate is x + 1/2 for x above 0; a one is its bias."""
    kind = {"min_gru": "minGRU", "min_lstm": "minLSTM"}[name]
    package = pytest.importorskip(f"minGRU_pytorch.{kind}")
    module = getattr(package, kind)(FEATURES + 1, UNITS / (FEATURES + 1), proj_out=False)

    def given(p: dict[str, Tensor]) -> Params:
        return p | {"b_h": p["b_h"].abs() + 8}

    def peer(p: Params, x: Tensor) -> Tensor:
        names = ["h", "z"] if name == "min_gru" else ["h", "f", "i"]
        bias = rows({**p, "b_h": p["b_h"] - 0.5}, "b", names)
        weights = torch.cat([rows(p, "W", names), bias[:, None]], 1)
        one = torch.ones_like(x[..., :1])
        return call(module, {next(iter(module.state_dict())): weights}, torch.cat([x, one], -1))

    assert_same(cells.by_name(name), peer, given=given)


def test_linear_recurrent_unit() -> None:
    package = pytest.importorskip("LRU_pytorch")
    module = package.LRU(FEATURES, UNITS, UNITS)

    def peer(p: Params, x: Tensor) -> Tensor:
        weights = {f"{name}_log": p[name] for name in ("nu", "theta", "gamma")}
        complex_ones = {name: torch.complex(p[f"{name}_re"], p[f"{name}_im"]) for name in "BC"}
        return call(module, {**weights, **complex_ones, "D": p["D"]}, x)

    assert_same(cells.lru, peer, dtype=SINGLE)


def test_gated_linear_network_without_its_turn() -> None:
    recurrence = file_of("fla", "ops/hgrn/naive.py").naive_recurrent_hgrn

    def given(p: dict[str, Tensor]) -> Params:
        return p | {"theta": 0 * p["theta"]}

    def peer(p: Params, x: Tensor) -> Tensor:
        f, a, b, r, i = linears(p, x, "f", "a", "b", "p", "q")
        keep, (of_a, of_b) = logsigmoid(f), (torch.sigmoid(-f) * silu(new) for new in (a, b))
        a, b = recurrence(of_a, keep)[0], recurrence(of_b, keep)[0]
        return (torch.sigmoid(r) * a) @ p["V_a"].T + (torch.sigmoid(i) * b) @ p["V_b"].T + p["b_o"]

    assert_same(cells.hgrn, peer, dtype=SINGLE, given=given)


@pytest.fixture(scope="module")
def sru_module() -> Any:
    """A layer of the authors' package, whose loop in PyTorch needs none of the kernels it would compile."""
    if importlib.util.find_spec("sru") is None:
        pytest.skip("sru is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch.utils.cpp_extension.load", lambda **options: None)
        patch.setattr("torch.jit.script", lambda function: function)
        import sru
    return sru.SRUCell(FEATURES, UNITS, rescale=False)


@pytest.mark.filterwarnings("ignore:Running SRU on CPU")
def test_simple_recurrent_unit_of_its_authors(sru_module: Any) -> None:
    def peer(p: Params, x: Tensor) -> Tensor:
        kernels = torch.stack([p["W"], p["W_f"], p["W_r"], p["W_h"]], 1).reshape(-1, FEATURES)
        weights = {"weight": kernels.T, "weight_c": rows(p, "v", "fr"), "bias": rows(p, "b", "fr")}
        return call(sru_module, weights, x.transpose(0, 1))[0].transpose(0, 1)

    assert_same(cells.sru, peer)


def test_time_mixing_of_rwkv_of_its_author(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what stands around it: the norm, the token's shift, the output's kernel and the residual."""
    pytest.importorskip("rwkv")
    monkeypatch.setenv("RWKV_JIT_ON", "0")
    # it sets flags of GPUs, which torch's own tests, once one was imported, refuse
    with torch.backends.cudnn.flags(), torch.backends.__allow_nonbracketed_mutation():
        package = importlib.import_module("rwkv.model")
    monkeypatch.setattr(package, "F", SimpleNamespace(layer_norm=lambda x, *shape, **weights: x))

    def peer(p: Params, x: Tensor) -> Tensor:
        around = [None, None, 1.0, 1.0, 1.0, -torch.exp(p["w"]), p["u"]]
        kernels = [p["W_k"].T, p["W_v"].T, p["W_r"].T, torch.eye(UNITS)]

        def step(at: Tensor, _: Tensor, a: Tensor, b: Tensor, top: Tensor) -> tuple[Tensor, ...]:
            out, _, a, b, top = package.RWKV.att_one(
                None, at, zeros(at), a, b, top, *around, *kernels, *[None] * 16
            )
            return out - at, a, b, top

        nothing = zeros(x)
        return over_time(step, x, nothing, nothing, nothing, nothing - 1e30)

    assert_same(cells.rwkv, peer, dtype=SINGLE, features=UNITS)


def test_diagonal_state_space_as_blocks_of_s5() -> None:
    """S5 has one state for all units: here a block of it belongs to each."""
    pytest.importorskip("s5")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch.jit.script
        package = importlib.import_module("s5.s5_model")
    order = 2

    def peer(p: Params, x: Tensor) -> Tensor:
        poles = torch.complex(-torch.exp(p["A_log"]), p["frequency"]).reshape(-1)
        block = torch.eye(UNITS, dtype=x.dtype).repeat_interleave(order, 0)  # (units · order, units)
        step = torch.exp(p["log_step"]).repeat_interleave(order)
        A, B = package.discretize_zoh(poles, block.to(poles.dtype), step)
        C = block.T * 2 * torch.complex(p["C_re"], p["C_im"]).reshape(-1)
        return torch.stack([package.apply_ssm(A, B, C, p["D"], u)[0] for u in linear(x, p["W"])])

    assert_same(cells.s4d, peer, order=order)


def test_selective_state_space_of_mamba() -> None:
    """The package's parallel scan, whose backward pass is written by hand."""
    block = pytest.importorskip("mambapy.mamba").MambaBlock

    def peer(p: Params, x: Tensor) -> Tensor:
        d, b, c = linears(p, x, *"dbc")
        return block.selective_scan(
            None, linear(x, p["W"]), softplus(d), -torch.exp(p["A_log"]), b, c, p["D"]
        )

    assert_same(cells.mamba, peer, order=3)
