"""Gated cells with fewer gates or fewer products than the LSTM and the GRU."""

from __future__ import annotations

from .._cell import cell
from .._language import relu, sigmoid, tanh


@cell
def mgu(x, h, *, W_f, U_f, b_f, W_h, U_h, b_h):
    """Minimal gated unit: the GRU with one gate for both (Zhou et al. 2016, arXiv:1603.09420).

    x (features,), h (units,); W_* (units, features), U_* (units, units), b_* (units,).
    """
    f = sigmoid(W_f @ x + U_f @ h + b_f)
    candidate = tanh(W_h @ x + U_h @ (f * h) + b_h)
    return (1 - f) * h + f * candidate


@cell(vectors={"b_s": 1.0})
def janet(x, h, *, W_s, U_s, b_s, W_c, U_c, b_c):
    """The LSTM with its forget gate alone (van der Westhuizen & Lasenby 2018, arXiv:1804.04849).

    The gate lets in what it forgets, less one in its logit.

    x (features,), h (units,); W_* (units, features), U_* (units, units), b_* (units,).
    """
    s = W_s @ x + U_s @ h + b_s
    candidate = tanh(W_c @ x + U_c @ h + b_c)
    return sigmoid(s) * h + (1 - sigmoid(s - 1)) * candidate


@cell
def li_gru(x, h, *, W_z, U_z, b_z, W_h, U_h, b_h):
    """Light GRU for speech: no reset gate, rectified (Ravanelli et al. 2018, arXiv:1803.10225).

    The paper's batch normalisation of W @ x is left out.

    x (features,), h (units,); W_* (units, features), U_* (units, units), b_* (units,).
    """
    z = sigmoid(W_z @ x + U_z @ h + b_z)
    return z * h + (1 - z) * relu(W_h @ x + U_h @ h + b_h)


@cell
def minimal_rnn(x, h, *, W, b, U_h, U_z, b_u):
    """The input alone makes the candidate, one gate mixes it in (Chen 2017, arXiv:1711.06788).

    x (features,), h (units,); W (units, features), U_* (units, units), b and b_u (units,).
    """
    z = tanh(W @ x + b)
    u = sigmoid(U_h @ h + U_z @ z + b_u)
    return u * h + (1 - u) * z


@cell
def star(x, h, *, W_z, b_z, W_k, U_k, b_k):
    """Stackable recurrent cell (Turkoglu et al. 2019, arXiv:1911.11033).

    Its gradient keeps its size from layer to layer.

    x (features,), h (units,); W_* (units, features), U_k (units, units), b_* (units,).
    """
    z = tanh(W_z @ x + b_z)
    k = sigmoid(W_k @ x + U_k @ h + b_k)
    return tanh((1 - k) * h + k * z)


@cell
def atr(x, h, *, W, U, b):
    """Addition-subtraction twin-gated network: two gates (Zhang et al. 2018, arXiv:1810.12546).

    x (features,), h (units,); W (units, features), U (units, units), b (units,).
    """
    p, q = W @ x + b, U @ h
    return sigmoid(p + q) * p + sigmoid(p - q) * h


@cell
def brc(x, h, *, W_a, w_a, b_a, W_c, w_c, b_c, W, b):
    """Bistable recurrent cell (Vecoven, Ernst & Drion 2021, arXiv:2006.05252).

    Each unit remembers for itself, by two stable values.

    x (features,), h (units,); W and W_* (units, features), w_*, b and b_* (units,).
    """
    a = 1 + tanh(W_a @ x + w_a * h + b_a)
    c = sigmoid(W_c @ x + w_c * h + b_c)
    return c * h + (1 - c) * tanh(W @ x + a * h + b)


@cell
def nbrc(x, h, *, W_a, U_a, b_a, W_c, U_c, b_c, W, b):
    """Neuromodulated bistable recurrent cell (Vecoven, Ernst & Drion 2021, arXiv:2006.05252).

    All units decide on each one's memory.

    x (features,), h (units,); W and W_* (units, features), U_* (units, units), b and b_* (units,).
    """
    a = 1 + tanh(W_a @ x + U_a @ h + b_a)
    c = sigmoid(W_c @ x + U_c @ h + b_c)
    return c * h + (1 - c) * tanh(W @ x + a * h + b)


@cell(vectors={"a": 1.0, "d_h": 1.0, "d_x": 1.0})
def mi_rnn(x, h, *, W, U, a, d_h, d_x, b):
    """Multiplicative integration (Wu et al. 2016, arXiv:1606.06630).

    Products of W @ x and U @ h stand beside their sum.

    x (features,), h (units,); W (units, features), U (units, units), a, d_h, d_x and b (units,).
    """
    p, q = W @ x, U @ h
    return tanh(a * p * q + d_h * q + d_x * p + b)


@cell
def scrn(x, h, s, *, W_s, W_h, U_s, U_h):
    """Slow context units beside fast ones (Mikolov et al. 2015, arXiv:1412.7753).

    x (features,), h (fast) and s (slow) (units,); W_* (units, features), U_* (units, units).
    """
    s = 0.05 * (W_s @ x) + 0.95 * s
    h = sigmoid(U_s @ s + W_h @ x + U_h @ h)
    return h, s
