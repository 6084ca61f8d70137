"""Cells that grew out of the LSTM: gates are i (input), f (forget), c or z (candidate), o (output)."""

from __future__ import annotations

from .._cell import cell
from .._language import exp, maximum, relu, sigmoid, softplus, tanh, where


@cell
def original_lstm(x, h, c, *, W_i, U_i, b_i, W_c, U_c, b_c, W_o, U_o, b_o):
    """Long short-term memory as it was first, without a forget gate (Hochreiter & Schmidhuber 1997).

    x (features,), h and c (units,); W_* (units, features), U_* (units, units), b_* (units,).
    """
    i = sigmoid(W_i @ x + U_i @ h + b_i)
    o = sigmoid(W_o @ x + U_o @ h + b_o)
    c = c + i * tanh(W_c @ x + U_c @ h + b_c)
    return o * tanh(c), c


@cell(vectors={"b_f": 1.0})
def multiplicative_lstm(x, h, c, *, W_m, U_m, W_i, U_i, b_i, W_f, U_f, b_f, W_c, U_c, b_c, W_o, U_o, b_o):
    """LSTM whose recurrent products depend on the input (Krause et al. 2016, arXiv:1609.07959).

    x (features,), h and c (units,); W_* (units, features), U_* (units, units), b_* (units,).
    """
    m = (W_m @ x) * (U_m @ h)
    i = sigmoid(W_i @ x + U_i @ m + b_i)
    f = sigmoid(W_f @ x + U_f @ m + b_f)
    o = sigmoid(W_o @ x + U_o @ m + b_o)
    c = f * c + i * tanh(W_c @ x + U_c @ m + b_c)
    return o * tanh(c), c


@cell
def ran(x, h, c, *, W_c, W_i, U_i, b_i, W_f, U_f, b_f):
    """Recurrent additive network (Lee, Levy & Zettlemoyer 2017, arXiv:1705.07393).

    The carry is a weighted sum of the inputs.

    x (features,), h and c (units,); W_* (units, features), U_* (units, units), b_* (units,).
    """
    i = sigmoid(W_i @ x + U_i @ h + b_i)
    f = sigmoid(W_f @ x + U_f @ h + b_f)
    c = i * (W_c @ x) + f * c
    return tanh(c), c


@cell
def nas(x, h, c, *, W_1, U_1, W_2, U_2, W_3, U_3, W_4, U_4, W_5, U_5, W_6, U_6, W_7, U_7, W_8, U_8):
    """The cell that a search for architectures found (Zoph & Le 2017, arXiv:1611.01578).

    x (features,), h and c (units,); W_* (units, features), U_* (units, units).
    """
    a = sigmoid(W_1 @ x + U_1 @ h)
    b = relu(W_2 @ x + U_2 @ h)
    d = sigmoid(W_3 @ x + U_3 @ h)
    e = relu((W_4 @ x) * (U_4 @ h))
    f = tanh(W_5 @ x + U_5 @ h)
    g = sigmoid(W_6 @ x + U_6 @ h)
    k = tanh(W_7 @ x + U_7 @ h)
    m = sigmoid(W_8 @ x + U_8 @ h)
    c = tanh(tanh(a * b) + c) * tanh(d + e)
    return tanh(c * tanh(tanh(f * g) + sigmoid(k + m))), c


@cell
def slstm(x, h, c, n, m, *, W_i, U_i, b_i, W_f, U_f, b_f, W_z, U_z, b_z, W_o, U_o, b_o):
    """sLSTM of xLSTM: an exponential input gate (Beck et al. 2024, arXiv:2405.04517).

    One head; the forget gate is a sigmoid; n normalises, m keeps the exponents small.

    x (features,), h, c, n and m (units,); W_* (units, features), U_* (units, units), b_* (units,).
    """
    i = W_i @ x + U_i @ h + b_i
    f = m - softplus(-(W_f @ x + U_f @ h + b_f))  # m + log(sigmoid(…))
    top = where(n == 0, i, maximum(f, i))
    i, f = exp(i - top), exp(where(n == 0, top, f) - top)
    c = f * c + i * tanh(W_z @ x + U_z @ h + b_z)
    n = f * n + i
    return sigmoid(W_o @ x + U_o @ h + b_o) * c / n, c, n, top
