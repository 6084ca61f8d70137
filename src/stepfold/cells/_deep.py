"""Cells with several layers inside a timestep."""

from __future__ import annotations

from .._cell import cell
from .._language import sigmoid, tanh


@cell(vectors={"b_t": -2.0, "c_t": -2.0})
def rhn(x, h, *, W_h, U_h, b_h, W_t, U_t, b_t, V_h, c_h, V_t, c_t):
    """Recurrent highway network of depth two (Zilly et al. 2017, arXiv:1607.03474).

    x (features,), h (units,); W_* (units, features), U_* and V_* (units, units), b_* and c_* (units,).
    """
    t = sigmoid(W_t @ x + U_t @ h + b_t)
    h = t * tanh(W_h @ x + U_h @ h + b_h) + (1 - t) * h
    t = sigmoid(V_t @ h + c_t)
    return t * tanh(V_h @ h + c_h) + (1 - t) * h
