"""Cells with gates against torchrecurrent's, and FastRNN and FastGRNN against their authors' package."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType, ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from peer_helpers import UNITS, Params, assert_same, call, over_time, rows, zeros
from torch import Tensor, nn

from stepfold import cells


class Twin(NamedTuple):
    """A cell of torchrecurrent: its class, its weights from our parameters, its options, its states."""

    kind: str
    weights: Callable[[Params], dict[str, Tensor]]
    options: Mapping[str, Any] = MappingProxyType({})
    states: int = 1


def gates(names: str, recurrent: str | None = None) -> Callable[[Params], dict[str, Tensor]]:
    """The weights of a cell that keeps its gates one below the other, its biases in two halves."""
    recurrent = names if recurrent is None else recurrent

    def weights(p: Params) -> dict[str, Tensor]:
        bias = rows(p, "b", names)
        halves = {"bias_ih": bias / 4, "bias_hh": 3 * bias / 4} if recurrent == names else {"bias_ih": bias}
        return {"weight_ih": rows(p, "W", names), "weight_hh": rows(p, "U", recurrent), **halves}

    return weights


def plain(bias: str = "b", recurrent: str = "U", **others: str) -> Callable[[Params], dict[str, Tensor]]:
    """The weights of a cell with one kernel, and the parameters that have other names with it."""

    def weights(p: Params) -> dict[str, Tensor]:
        own = {"weight_ih": p["W"], "weight_hh": p[recurrent], "bias_ih": p[bias]}
        return own | {
            name: p[ours].reshape(-1) if p[ours].dim() == 0 else p[ours] for name, ours in others.items()
        }

    return weights


def antisymmetric(p: Params) -> dict[str, Tensor]:
    both = {"weight_ih": torch.cat([p["W_z"], p["W"]]), "bias_ih": torch.cat([p["b_z"], p["b"]])}
    return both | {"weight_hh": p["U"]}


def bistable(kind: str) -> Callable[[Params], dict[str, Tensor]]:
    def weights(p: Params) -> dict[str, Tensor]:
        return {
            "weight_ih": torch.cat([p["W_a"], p["W_c"], p["W"]]),
            "weight_hh": rows(p, kind, "ac"),
            "bias_ih": torch.cat([p["b_a"], p["b_c"], p["b"]]),
        }

    return weights


def fast_grnn(p: Params) -> dict[str, Tensor]:
    own = {"weight_ih": p["W"], "weight_hh": p["U"], "bias_ih": torch.cat([p["b_z"], p["b_h"]])}
    return own | {name: p[name].reshape(1) for name in ("zeta", "nu")}


def multiplicative(p: Params) -> dict[str, Tensor]:
    none = torch.zeros_like(p["b_i"])
    return {
        "weight_ih": rows(p, "W", "mifco"),
        "weight_hh": p["U_m"],
        "weight_mh": rows(p, "U", "ifco"),
        "bias_ih": torch.cat([none, rows(p, "b", "ifco")]),
    }


def peephole(p: Params) -> dict[str, Tensor]:
    return gates("ifco")(p) | {"weight_ph": rows(p, "p", "ifo")}


def additive(p: Params) -> dict[str, Tensor]:
    return gates("if")(p) | {"weight_ih": rows(p, "W", "cif")}


def star(p: Params) -> dict[str, Tensor]:
    return {"weight_ih": rows(p, "W", "zk"), "weight_hh": p["U_k"], "bias_ih": rows(p, "b", "zk")}


def typed(p: Params) -> dict[str, Tensor]:
    bias = torch.cat([torch.zeros_like(p["b_f"]), p["b_f"]])
    return {"weight_ih": torch.cat([p["W"], p["W_f"]]), "bias_ih": bias}


TWINS = {
    "antisymmetric_rnn": Twin("GatedAntisymmetricRNN", antisymmetric, {"epsilon": 0.1, "gamma": 0.01}),
    "atr": Twin("ATR", plain()),
    "brc": Twin("BR", bistable("w")),
    "co_rnn": Twin(
        "coRNN", plain(recurrent="U_y", weight_ch="U_z"), {"dt": 0.042, "gamma": 2.7, "epsilon": 4.7}, 2
    ),
    "fast_grnn": Twin("FastGRNN", fast_grnn, {"nonlinearity": "sigmoid"}),
    "fast_rnn": Twin("FastRNN", plain(alpha="alpha", beta="beta")),
    "indrnn": Twin(
        "IndRNN",
        lambda p: {"weight_ih": p["W"], "vector_u": p["u"], "bias_ih": p["b"]},
        {"nonlinearity": "relu"},
    ),
    "janet": Twin("JANET", gates("sc"), {}, 2),
    "li_gru": Twin("LiGRU", gates("zh")),
    "mgu": Twin("MGU", gates("fh")),
    "minimal_rnn": Twin("MinimalRNN", plain(recurrent="U_h", weight_mm="U_z", bias_hh="b_u")),
    "multiplicative_lstm": Twin("MultiplicativeLSTM", multiplicative, {}, 2),
    "mut3": Twin("MUT3", gates("zrh")),
    "nbrc": Twin("NBR", bistable("U")),
    "original_lstm": Twin("OriginalLSTM", gates("ico"), {}, 2),
    "peephole_lstm": Twin("PeepholeLSTM", peephole, {}, 2),
    "ran": Twin("RAN", additive, {}, 2),
    "star": Twin("STAR", star),
    "t_rnn": Twin("TRNN", typed),
    "ugrnn": Twin("UGRNN", gates("cg")),
    "unicornn": Twin("UnICORNN", plain(recurrent="u", weight_ch="c"), {"alpha": 1.0}, 2),
}


def module_of(kind: str, features: int, **options: Any) -> nn.Module:
    """A cell of torchrecurrent without biases of its own, in float64."""
    package = pytest.importorskip("torchrecurrent")
    module: nn.Module = getattr(package, f"{kind}Cell")(features, UNITS, dtype=torch.float64, **options)
    for name, parameter in module.named_parameters():
        if "bias" in name:
            nn.init.zeros_(parameter)
    return module


@pytest.mark.parametrize("name", TWINS)
def test_cells_of_torchrecurrent(name: str) -> None:
    twin = TWINS[name]
    module = module_of(twin.kind, 3, **twin.options)

    def peer(p: Params, x: Tensor) -> Tensor:
        weights = twin.weights(p)

        def step(at: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
            after = call(module, weights, at, states if twin.states == 2 else states[0])
            return after if twin.states == 2 else (after,)

        return over_time(step, x, *[zeros(x)] * twin.states)

    assert_same(cells.by_name(name), peer)


def test_long_expressive_memory() -> None:
    """The package's y is made from the z before, the paper's and its authors' from the new one: two calls."""
    module = module_of("LEM", 3)

    def peer(p: Params, x: Tensor) -> Tensor:
        weights = {
            "weight_ih": rows(p, "W", "21zy"),
            "weight_hh": rows(p, "U", "21z"),
            "weight_ch": p["U_y"],
            "bias_ih": rows(p, "b", "21zy"),
        }

        def step(at: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
            z_after = call(module, weights, at, (y, z))[1]
            return call(module, weights, at, (y, z_after))[0], z_after

        return over_time(step, x, zeros(x), zeros(x))

    assert_same(cells.lem, peer)


def test_structurally_constrained_network() -> None:
    """The package hands on the output layer's values, the paper the hidden ones, which are read back here."""
    module = module_of("SCRN", 3)

    def peer(p: Params, x: Tensor) -> Tensor:
        one, none = torch.eye(UNITS, dtype=x.dtype), torch.zeros_like(p["U_s"])
        weights = {
            "weight_ih": rows(p, "W", "sh"),
            "weight_hh": torch.cat([p["U_h"], one]),
            "weight_ch": torch.cat([p["U_s"], none]),
            "alpha": torch.tensor(0.95, dtype=x.dtype),
        }

        def step(at: Tensor, h: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
            out, s = call(module, weights, at, (h, s))
            return torch.atanh(out), s

        return over_time(step, x, zeros(x), zeros(x))

    assert_same(cells.scrn, peer)


def test_seven_of_the_eight_nodes_of_nas() -> None:
    """The package adds the products of the fourth node, which the search's own code multiplies: it is off."""
    module = module_of("NAS", 3)

    def given(p: dict[str, Tensor]) -> Params:
        return p | {"U_4": torch.zeros_like(p["U_4"])}

    def peer(p: Params, x: Tensor) -> Tensor:
        kernel = rows(p | {"W_4": torch.zeros_like(p["W_4"])}, "W", "12345678")
        weights = {"weight_ih": kernel, "weight_hh": rows(p, "U", "12345678")}
        return over_time(lambda at, h, c: call(module, weights, at, (h, c)), x, zeros(x), zeros(x))

    assert_same(cells.nas, peer, given=given)


def test_recurrent_highway_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package's class cannot be made, for a name of its base is gone; its step can be called."""
    package = pytest.importorskip("torchrecurrent")
    monkeypatch.setattr(package.base, "BaseRecurrentLayer", nn.Module, raising=False)
    rhn = importlib.import_module("torchrecurrent.cells.rhn_cell")

    def peer(p: Params, x: Tensor) -> Tensor:
        def unit(kernel: Tensor, bias: Tensor) -> Callable[[Tensor], Any]:
            carry = [torch.zeros_like(value[:UNITS]) for value in (kernel, bias)]  # coupled: not read
            own = SimpleNamespace(weight=torch.cat([kernel, carry[0]]), bias=torch.cat([bias, carry[1]]))
            return lambda at: rhn.RHNCellUnit.forward(own, at)

        first = torch.cat([rows(p, "W", "ht"), rows(p, "U", "ht")], 1)
        units = [unit(first, rows(p, "b", "ht")), unit(rows(p, "V", "ht"), rows(p, "c", "ht"))]
        cell = SimpleNamespace(units=units, couple_carry=True)
        return over_time(lambda at, h: (rhn.RHNCell.forward(cell, at, h),), x, zeros(x))

    assert_same(cells.rhn, peer)


# ---- the code of the authors of FastRNN and FastGRNN -------------------------------------------------------


@pytest.fixture(scope="module")
def edgeml() -> Any:
    """Their package's cells; the CUDA kernels that it asks for where it finds a compiler are not needed."""
    pytest.importorskip("edgeml_pytorch")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "fastgrnn_cuda", ModuleType("fastgrnn_cuda"))
        import edgeml_pytorch.graph.rnn as package
    return package


def stepwise(module: nn.Module, weights: dict[str, Tensor], x: Tensor) -> Tensor:
    return over_time(lambda at, h: (call(module, weights, at, h),), x, zeros(x))


def test_fast_grnn_of_its_authors(edgeml: Any) -> None:
    module = edgeml.FastGRNNCell(3, UNITS)

    def peer(p: Params, x: Tensor) -> Tensor:
        names = {"bias_gate": "b_z", "bias_update": "b_h"}
        weights = {name: p[ours][None] for name, ours in names.items()}
        weights |= {name: p[name].reshape(1, 1) for name in ("zeta", "nu")}
        return stepwise(module, {**weights, "W": p["W"], "U": p["U"]}, x)

    assert_same(cells.fast_grnn, peer)


def residual(p: Params, x: Tensor, alpha: Tensor, beta: Tensor) -> dict[str, Tensor]:
    """The weights of a FastRNN: sigmoid(alpha) of the new, sigmoid(beta) of the old."""
    scalars = {"alpha": alpha.reshape(1, 1).to(x.dtype), "beta": beta.reshape(1, 1).to(x.dtype)}
    return {"W": p["W"].T, "bias_update": p["b"][None], **scalars}


def test_fast_rnn_of_its_authors(edgeml: Any) -> None:
    module = edgeml.FastRNNCell(3, UNITS)

    def peer(p: Params, x: Tensor) -> Tensor:
        return stepwise(module, residual(p, x, p["alpha"], p["beta"]) | {"U": p["U"].T}, x)

    assert_same(cells.fast_rnn, peer)


def test_leaky_and_low_rank_networks_are_kinds_of_fast_rnn(edgeml: Any) -> None:
    half, whole = torch.tensor(0.0), torch.tensor(60.0)
    module = edgeml.FastRNNCell(3, UNITS)
    assert_same(
        cells.leaky_rnn, lambda p, x: stepwise(module, residual(p, x, half, half) | {"U": p["U"].T}, x)
    )
    low = edgeml.FastRNNCell(3, UNITS, uRank=2)

    def peer(p: Params, x: Tensor) -> Tensor:
        return stepwise(low, residual(p, x, whole, -whole) | {"U1": p["Q"].T, "U2": p["P"].T}, x)

    assert_same(cells.low_rank_rnn, peer, rank=2)
