"""Cells that are the ONNX operators RNN, LSTM and GRU: which they are, and their weights in ONNX's order."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _language, cells
from .._cell import Cell
from .._native import Array

GATES = {"RNN": ("",), "LSTM": ("i", "o", "f", "c"), "GRU": ("z", "r", "h")}
"""The gates in the order of ONNX's weights, as our cells name them."""

_FUNCTIONS: Mapping[str, tuple[Callable[[Any], Any], tuple[float, ...]]] = {
    "Tanh": (_language.tanh, ()),
    "Sigmoid": (_language.sigmoid, ()),
    "Relu": (_language.relu, ()),
    "Affine": (_language.linear, (1.0, 0.0)),
    "HardSigmoid": (_language.hard_sigmoid, (1.0 / 6.0, 0.5)),
    "Elu": (_language.elu, (1.0,)),
    "Softsign": (_language.softsign, ()),
}
"""The activations that both have: the function, and its alpha and beta in ONNX. Softplus is left out: inside
its operators ONNX Runtime computes log(1 + exp(x)), which overflows; in a `Scan` it does not."""


@dataclass(frozen=True)
class Operator:
    """RNN, LSTM or GRU with activations, in ONNX's order, that make it compute what a cell computes."""

    kind: str
    activations: tuple[str, ...]
    reset_after: bool = True

    def weights(self, params: Mapping[str, Array]) -> list[Array]:
        """Return W (1, gates · units, features), R (1, gates · units, units) and B (1, 2 · gates · units)."""
        gates = [f"_{gate}" if gate else "" for gate in GATES[self.kind]]
        second = [np.zeros_like(params["b" + gate]) for gate in gates]
        if "c_h" in params:
            second[-1] = params["c_h"]
        return [
            np.concatenate([params["W" + gate] for gate in gates])[None],
            np.concatenate([params["U" + gate] for gate in gates])[None],
            np.concatenate([*(params["b" + gate] for gate in gates), *second])[None],
        ]


def operator_of(cell: Cell) -> Operator | None:
    """Return the operator that computes what a cell computes, whatever its name is; None if none does."""
    for kind, parameters in _PARAMETERS.items():
        if parameters == (cell.states, frozenset(cell.step.parameters)):
            return _operators(kind).get(cell.step.key)
    return None


_CELLS: Mapping[str, tuple[Cell, int]] = {
    "RNN": (cells.simple_rnn, 1),
    "LSTM": (cells.lstm, 2),
    "GRU": (cells.gru, 2),
    "GRU reset before": (cells.gru_reset_before, 2),
}
_PARAMETERS = {kind: (cell.states, frozenset(cell.step.parameters)) for kind, (cell, _) in _CELLS.items()}


@functools.cache
def _operators(kind: str) -> dict[str, Operator]:
    """The operators of one kind with every choice of activations, by the key of the cell's step."""
    found = {}
    for names in itertools.product(_FUNCTIONS, repeat=_CELLS[kind][1]):
        # the activation, and that of the gates, which a simple_rnn has not
        first, last = (_FUNCTIONS[name][0] for name in (names[0], names[-1]))
        if kind == "RNN":
            cell, in_order = cells.simple_rnn_with(first), names
        elif kind == "LSTM":
            cell, in_order = cells.lstm_with(first, last), (names[1], names[0], names[0])
        else:
            cell = cells.gru_with(first, last, reset_after=kind == "GRU")
            in_order = (names[1], names[0])
        found[cell.step.key] = Operator(kind[:4].strip(), in_order, kind == "GRU")
    return found


def operator_attributes(operators: Sequence[Operator], units: int, reverse: bool) -> dict[str, Any]:
    """Return the attributes of the operator for one direction, or for both, forward first."""
    activations = [name for operator in operators for name in operator.activations]
    alphas = [_FUNCTIONS[name][1][0] for name in activations if _FUNCTIONS[name][1]]
    betas = [_FUNCTIONS[name][1][1] for name in activations if len(_FUNCTIONS[name][1]) > 1]
    direction = "bidirectional" if len(operators) == 2 else "reverse" if reverse else "forward"
    found: dict[str, Any] = {"activations": activations, "direction": direction, "hidden_size": units}
    if alphas:
        found["activation_alpha"] = alphas
    if betas:
        found["activation_beta"] = betas
    if operators[0].kind == "GRU":
        found["linear_before_reset"] = int(operators[0].reset_after)
    return found
