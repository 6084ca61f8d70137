"""Cells that only torch's own options ask for, and how torch's fused weights are laid out for each cell."""

from __future__ import annotations

import functools

from .. import cells
from .._cell import Cell, cell
from .._language import layer_norm, relu, sigmoid, tanh
from .._runtime import Part, Parts


@cell(vectors={"g": 1.0})
def layer_norm_rnn(x, h, *, W, U, g, b):  # type: ignore[no-untyped-def]
    """The plain recurrent network with layer normalisation (Ba, Kiros & Hinton 2016, arXiv:1607.06450)."""
    return tanh(layer_norm(W @ x + U @ h, g, b))


@cell(vectors={"g": 1.0})
def layer_norm_rnn_relu(x, h, *, W, U, g, b):  # type: ignore[no-untyped-def]
    """The plain recurrent network with relu and layer normalisation."""
    return relu(layer_norm(W @ x + U @ h, g, b))


@cell
def lstm_from_projection(  # type: ignore[no-untyped-def]
    x, m, c, q_i, q_f, q_c, q_o, *, W_i, U_i, b_i, W_f, U_f, b_f, W_c, U_c, b_c, W_o, U_o, b_o
):
    """LSTM whose first timestep starts from a state that is no output of its own: q_* are added to the gates
    once.

    A projected LSTM (Sak, Senior & Beaufays 2014, arXiv:1402.1128) feeds back P @ m instead of m. With P
    multiplied into the recurrent kernels, U_* = R_* @ P, every timestep is as it was but the first, which
    needs R_* @ h for an h that was given: that is q_*.
    """
    i = sigmoid(W_i @ x + U_i @ m + b_i + q_i)
    f = sigmoid(W_f @ x + U_f @ m + b_f + q_f)
    o = sigmoid(W_o @ x + U_o @ m + b_o + q_o)
    c = f * c + i * tanh(W_c @ x + U_c @ m + b_c + q_c)
    return o * tanh(c), c, 0.0, 0.0, 0.0, 0.0


GATES = {"RNN_TANH": ("",), "RNN_RELU": ("",), "LSTM": ("i", "f", "c", "o"), "GRU": ("r", "z", "h")}
"""The blocks of torch's weights, in torch's order, as our cells name them."""

_PLAIN = {
    "RNN_TANH": cells.simple_rnn,
    "RNN_RELU": cells.simple_rnn_relu,
    "LSTM": cells.lstm,
    "GRU": cells.gru,
}
_NORMED = {
    "RNN_TANH": layer_norm_rnn,
    "RNN_RELU": layer_norm_rnn_relu,
    "LSTM": cells.layer_norm_lstm,
    "GRU": cells.layer_norm_gru,
}


def cell_of(mode: str, normed: bool) -> Cell:
    """The cell of a mode of torch's (`RNNBase.mode`)."""
    return (_NORMED if normed else _PLAIN)[mode]


def norm_names(mode: str) -> list[str]:
    """The names of what layer normalisation adds to a layer's parameters."""
    return ["weight_ln", "weight_ln_c", "bias_ln_c"] if mode == "LSTM" else ["weight_ln"]


@functools.cache
def parts_of(mode: str, bias: bool, normed: bool) -> tuple[Parts, int]:
    """Where each parameter of the cell lies in (weight_ih, weight_hh[, bias_ih, bias_hh][, layer norm's]),
    and how many weights there are."""
    parts: dict[str, list[Part]] = {}
    biases = [2, 3] if bias else []
    norm = 2 + len(biases)
    for number, gate in enumerate(GATES[mode]):
        block = number if gate else None
        suffix = f"_{gate}" if gate else ""
        parts[f"W{suffix}"] = [Part(0, block)]
        parts[f"U{suffix}"] = [Part(1, block)]
        parts[f"b{suffix}"] = [Part(i, block) for i in biases]
        if normed:
            parts[f"g{suffix}"] = [Part(norm, block)]
    if mode == "GRU" and not normed:
        # the reset gate stands between these two, so they are no sum
        parts["b_h"] = [Part(i, 2) for i in biases[:1]]
        parts["c_h"] = [Part(i, 2) for i in biases[1:]]
    if mode == "LSTM" and normed:
        parts["g_s"], parts["b_s"] = [Part(norm + 1)], [Part(norm + 2)]
    weights = norm + (len(norm_names(mode)) if normed else 0)
    return tuple((name, tuple(pieces)) for name, pieces in parts.items()), weights
