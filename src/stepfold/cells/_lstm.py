"""Long short-term memory and variants; gates are i (input), f (forget), c (candidate), o (output)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._cell import Cell, cell
from .._language import layer_norm, sigmoid, tanh


def lstm_with(
    activation: Callable[[Any], Any] = tanh, recurrent_activation: Callable[[Any], Any] = sigmoid
) -> Cell:
    """Long short-term memory with other activations."""

    @cell(vectors={"b_f": 1.0})
    def lstm(x, h, c, *, W_i, U_i, b_i, W_f, U_f, b_f, W_c, U_c, b_c, W_o, U_o, b_o):
        """Long short-term memory (Hochreiter & Schmidhuber 1997; forget gate: Gers et al. 2000).

        x (features,), h and c (units,); W_* (units, features), U_* (units, units), b_* (units,).
        """
        i = recurrent_activation(W_i @ x + U_i @ h + b_i)
        f = recurrent_activation(W_f @ x + U_f @ h + b_f)
        o = recurrent_activation(W_o @ x + U_o @ h + b_o)
        c = f * c + i * activation(W_c @ x + U_c @ h + b_c)
        return o * activation(c), c

    return lstm


lstm = lstm_with()


@cell(vectors={"b_f": 1.0})
def carry_lstm(x, h, c, *, W, U, V, b, W_i, U_i, b_i, W_f, U_f, b_f, W_k, U_k, b_k):
    """The tutorial's own equations: an output that also depends on the carry, V @ c, and gates i, f, k.

    x (features,), h and c (units,); W and W_* (units, features), U, V and U_* (units, units), b and b_*
    (units,).
    """
    output = tanh(W @ x + U @ h + V @ c + b)
    i = sigmoid(W_i @ x + U_i @ h + b_i)
    f = sigmoid(W_f @ x + U_f @ h + b_f)
    k = tanh(W_k @ x + U_k @ h + b_k)
    return output, i * k + c * f


@cell(vectors={"b_f": 1.0})
def peephole_lstm(x, h, c, *, W_i, U_i, p_i, b_i, W_f, U_f, p_f, b_f, W_c, U_c, b_c, W_o, U_o, p_o, b_o):
    """LSTM whose gates depend on the carry, elementwise (Gers, Schraudolph & Schmidhuber 2002).

    x (features,), h and c (units,); W_* (units, features), U_* (units, units), p_* and b_* (units,).
    """
    i = sigmoid(W_i @ x + U_i @ h + p_i * c + b_i)
    f = sigmoid(W_f @ x + U_f @ h + p_f * c + b_f)
    c = f * c + i * tanh(W_c @ x + U_c @ h + b_c)
    o = sigmoid(W_o @ x + U_o @ h + p_o * c + b_o)
    return o * tanh(c), c


@cell(vectors={"b_f": 1.0})
def coupled_lstm(x, h, c, *, W_f, U_f, b_f, W_c, U_c, b_c, W_o, U_o, b_o):
    """LSTM with the input gate 1 − forget gate (Greff et al. 2015, arXiv:1503.04069).

    x (features,), h and c (units,); W_* (units, features), U_* (units, units), b_* (units,).
    """
    f = sigmoid(W_f @ x + U_f @ h + b_f)
    o = sigmoid(W_o @ x + U_o @ h + b_o)
    c = f * c + (1 - f) * tanh(W_c @ x + U_c @ h + b_c)
    return o * tanh(c), c


@cell(vectors={"b_f": 1.0, "g_i": 1.0, "g_f": 1.0, "g_c": 1.0, "g_o": 1.0, "g_s": 1.0})
def layer_norm_lstm(
    x, h, c, *, W_i, U_i, g_i, b_i, W_f, U_f, g_f, b_f, W_c, U_c, g_c, b_c, W_o, U_o, g_o, b_o, g_s, b_s
):
    """LSTM with layer normalisation of gates and carry (Ba, Kiros & Hinton 2016, arXiv:1607.06450).

    A gate's two products are normalised as one sum, as in the paper's plain network; its LSTM
    normalises each.

    x (features,), h and c (units,); W_* (units, features), U_* (units, units), g_* and b_* (units,).
    """
    i = sigmoid(layer_norm(W_i @ x + U_i @ h, g_i, b_i))
    f = sigmoid(layer_norm(W_f @ x + U_f @ h, g_f, b_f))
    o = sigmoid(layer_norm(W_o @ x + U_o @ h, g_o, b_o))
    c = f * c + i * tanh(layer_norm(W_c @ x + U_c @ h, g_c, b_c))
    return o * tanh(layer_norm(c, g_s, b_s)), c
