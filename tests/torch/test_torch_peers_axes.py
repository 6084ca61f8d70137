"""Cells in continuous time, with projections, rounds before them or missing values against other packages."""

from __future__ import annotations

import pytest
import torch
from peer_helpers import (
    BATCH,
    FEATURES,
    TIME,
    UNITS,
    Params,
    assert_same,
    call,
    file_of,
    over_time,
    rows,
    zeros,
)
from torch import Tensor, nn
from torch.nn.functional import softplus

from stepfold import cells

PROJECTION = 4


def test_closed_form_network_of_its_authors() -> None:
    module = pytest.importorskip("ncps.torch").CfCCell(FEATURES, UNITS, backbone_layers=0)

    def peer(p: Params, x: Tensor) -> Tensor:
        weights = {}
        for theirs, ours in {"ff1": "1", "ff2": "2", "time_a": "a", "time_b": "b"}.items():
            weights[f"{theirs}.weight"] = torch.cat([p[f"W_{ours}"], p[f"U_{ours}"]], 1)
            weights[f"{theirs}.bias"] = p[f"b_{ours}"]
        return over_time(lambda at, h: call(module, weights, at, h, 1.0)[1:], x, zeros(x))

    assert_same(cells.cfc, peer)


@pytest.mark.parametrize("driven", ["by the input", "by itself"])
def test_liquid_network_where_a_unit_has_one_synapse(driven: str) -> None:
    """The package has a sigmoid for each synapse, the cell, as the paper's solver, one for each unit."""
    package = pytest.importorskip("ncps")
    pytest.importorskip("ncps.torch")
    module = package.torch.LTCCell(package.wirings.FullyConnected(UNITS), 1, epsilon=0.0)

    def given(p: dict[str, Tensor]) -> Params:
        if driven == "by the input":
            return p | {"U": torch.zeros_like(p["U"])}
        return p | {"W": 0 * p["W"], "U": torch.diag(torch.diag(p["U"]))}

    def peer(p: Params, x: Tensor) -> Tensor:
        from_input = driven == "by the input"
        one = torch.eye(UNITS, dtype=x.dtype)
        slope = p["W"].T if from_input else torch.diag(p["U"]).repeat(UNITS, 1)
        none = torch.zeros(1 if not from_input else UNITS, UNITS, dtype=x.dtype)
        own, other = ("sensory_", "") if from_input else ("", "sensory_")
        module._params |= {
            f"{own}w": torch.ones(1, UNITS, dtype=x.dtype) if from_input else one,
            f"{own}sigma": slope,
            f"{own}mu": -p["b"] / slope,
            f"{own}erev": p["A"].expand_as(slope),
            **{f"{other}{name}": none for name in ("w", "sigma", "mu", "erev")},
            "gleak": 1 / softplus(p["tau"]),
            "vleak": zeros(x)[0],
            "cm": torch.ones(UNITS, dtype=x.dtype),
        }
        return over_time(lambda at, h: module(at, h)[1:], x, zeros(x))

    assert_same(cells.ltc, peer, given=given, features=1)


def lstm_weights(p: Params) -> dict[str, Tensor]:
    bias = rows(p, "b", "ifco")
    kernels = {"weight_ih": rows(p, "W", "ifco"), "weight_hh": rows(p, "U", "ifco")}
    return {**kernels, "bias_ih": bias, "bias_hh": torch.zeros_like(bias)}


def test_lstm_with_a_projection_of_torch() -> None:
    module = nn.LSTM(FEATURES, UNITS, proj_size=PROJECTION, batch_first=True)

    def peer(p: Params, x: Tensor) -> Tensor:
        weights = {f"{name}_l0": value for name, value in lstm_weights(p).items()}
        return call(module, weights | {"weight_hr_l0": p["P"]}, x)[0]

    assert_same(cells.projected_lstm, peer, projection=PROJECTION)


def test_mogrifier_whose_rounds_share_their_kernels() -> None:
    """The package's rounds, in front of an LSTM of torch."""
    rounds = pytest.importorskip("mogrifier").Mogrifier(FEATURES, iters=4, dim_hidden=UNITS)
    lstm = nn.LSTMCell(FEATURES, UNITS)

    def given(p: dict[str, Tensor]) -> Params:
        return p | {"Q_2": p["Q_1"], "R_2": p["R_1"]}

    def peer(p: Params, x: Tensor) -> Tensor:
        kernels = {"Q.0.weight": p["Q_1"], "R.0.weight": p["R_1"]}
        kernels |= {"Q.0.bias": x.new_zeros(FEATURES), "R.0.bias": x.new_zeros(UNITS)}

        def step(at: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
            at, h = call(rounds, kernels, at, h)
            return call(lstm, lstm_weights(p), at, (h, c))

        return over_time(step, x, zeros(x), zeros(x))

    assert_same(cells.mogrifier_lstm, peer, given=given)


def test_gru_for_missing_values_where_each_unit_resets_itself() -> None:
    """The package resets after the recurrent product, the paper before: alike where that is diagonal."""
    module = file_of("pypots", "nn/modules/grud/__init__.py").BackboneGRUD(TIME, FEATURES, UNITS).double()

    def given(p: dict[str, Tensor]) -> Params:
        return p | {"U_h": torch.diag(torch.diag(p["U_h"]))}

    def peer(p: Params, x: Tensor, observed: Tensor, gap: Tensor) -> Tensor:
        none = torch.zeros_like(p["U_h"])
        own = [
            torch.cat([sign * p[f"W_{g}"], sign * h, sign * p[f"V_{g}"]], 1)
            for g, h, sign in (("r", p["U_r"] / 2, 1), ("z", p["U_z"] / 2, -1), ("h", none, 1))
        ]
        weights = {
            "rnn_cell.weight_ih": torch.cat(own),
            "rnn_cell.weight_hh": torch.cat([p["U_r"] / 2, -p["U_z"] / 2, p["U_h"]]),
            "rnn_cell.bias_ih": torch.cat([p["b_r"], -p["b_z"], p["b_h"]]),
            "rnn_cell.bias_hh": x.new_zeros(3 * UNITS),
            "temp_decay_h.W": p["W_g"],
            "temp_decay_h.b": p["b_g"],
            "temp_decay_x.W": torch.diag(p["w_x"]),
            "temp_decay_x.b": p["b_x"],
        }
        both = torch.stack([x, observed], 2)  # (B, T, 2, F)
        last = over_time(
            lambda at, seen: (at[:, 0] * at[:, 1] + (1 - at[:, 1]) * seen,), both, zeros(x, FEATURES)
        )
        outputs = []
        for steps in range(1, TIME + 1):
            module.n_steps = steps
            outputs.append(call(module, weights, x, observed, gap, p["usual"], last)[1])
        return torch.stack(outputs, 1)

    random = torch.Generator().manual_seed(1)
    x, observed, gap = torch.randn((3, BATCH, TIME, FEATURES), generator=random, dtype=torch.float64)
    assert_same(cells.gru_d, peer, given=given, inputs=[x, (observed > 0).double(), gap.abs()], constant=[1])
