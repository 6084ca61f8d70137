"""Cells whose recurrence is linear and elementwise: gates depend on the input, or on one unit."""

from __future__ import annotations

from .._cell import cell
from .._language import exp, maximum, sigmoid, tanh


@cell
def min_gru(x, h, *, W_z, b_z, W_h, b_h):
    """Minimal GRU (Feng et al. 2024, arXiv:2410.01201): gate and candidate depend only on the input.

    The paper's plain form: that in logarithms keeps the candidate above 0.

    x (features,), h (units,); W_* (units, features), b_* (units,).
    """
    z = sigmoid(W_z @ x + b_z)
    return (1 - z) * h + z * (W_h @ x + b_h)


@cell
def min_lstm(x, h, *, W_f, b_f, W_i, b_i, W_h, b_h):
    """Minimal LSTM (Feng et al. 2024, arXiv:2410.01201): gates depend only on the input, and add up to 1.

    The paper's plain form: that in logarithms keeps the candidate above 0.

    x (features,), h (units,); W_* (units, features), b_* (units,).
    """
    f = sigmoid(W_f @ x + b_f)
    i = sigmoid(W_i @ x + b_i)
    return (f * h + i * (W_h @ x + b_h)) / (f + i)


@cell
def t_rnn(x, h, *, W, W_f, b_f):
    """Strongly typed network (Balduzzi & Ghifary 2016, arXiv:1602.02218).

    The state is an average of projected inputs.

    x (features,), h (units,); W and W_f (units, features), b_f (units,).
    """
    f = sigmoid(W_f @ x + b_f)
    return f * h + (1 - f) * (W @ x)


@cell
def qrnn(x, h, c, *, W_z, W_f, W_o):
    """Quasi-recurrent network of width one, with fo-pooling (Bradbury et al. 2017, arXiv:1611.01576).

    x (features,), h and c (units,); W_* (units, features).
    """
    f = sigmoid(W_f @ x)
    c = f * c + (1 - f) * tanh(W_z @ x)
    return sigmoid(W_o @ x) * c, c


@cell
def sru(x, h, c, *, W, W_f, v_f, b_f, W_r, v_r, b_r, W_h):
    """Simple recurrent unit, its highway connection projected (Lei et al. 2018, arXiv:1709.02755).

    x (features,), h and c (units,); W and W_* (units, features), v_* and b_* (units,).
    """
    f = sigmoid(W_f @ x + v_f * c + b_f)
    r = sigmoid(W_r @ x + v_r * c + b_r)
    c = f * c + (1 - f) * (W @ x)
    return r * c + (1 - r) * (W_h @ x), c


@cell(vectors={"w": -1.0})
def rwkv(x, h, a, b, p, *, W_r, W_k, W_v, w, u):
    """Time mixing of RWKV-4, without its token shift (Peng et al. 2023, arXiv:2305.13048).

    A weighted average of the values W_v @ x; weights decay by exp(-exp(w)) a timestep, p keeps the
    exponents small. The output's kernel is left to the layer after it.

    x (features,), h, a, b and p (units,); W_* (units, features), w and u (units,).
    """
    k, v = W_k @ x, W_v @ x
    top = maximum(p, u + k)
    old, new = exp(p - top), exp(u + k - top)
    h = sigmoid(W_r @ x) * (old * a + new * v) / (old * b + new)
    faded = p - exp(w)
    top = maximum(faded, k)
    old, new = exp(faded - top), exp(k - top)
    return h, old * a + new * v, old * b + new, top
