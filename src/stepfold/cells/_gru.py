"""Gated recurrent units."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._cell import Cell, cell
from .._language import layer_norm, sigmoid, tanh


def gru_with(
    activation: Callable[[Any], Any] = tanh,
    recurrent_activation: Callable[[Any], Any] = sigmoid,
    reset_after: bool = True,
) -> Cell:
    """The gated recurrent unit with other activations, its reset after or before the recurrent product."""

    @cell
    def gru(x, h, *, W_z, U_z, b_z, W_r, U_r, b_r, W_h, U_h, b_h, c_h):
        """Gated recurrent unit, reset after the recurrent product (Cho et al. 2014, arXiv:1406.1078v1).

        x (features,), h (units,); W_* (units, features), U_* (units, units), b_* and c_h (units,).
        """
        z = recurrent_activation(W_z @ x + U_z @ h + b_z)
        r = recurrent_activation(W_r @ x + U_r @ h + b_r)
        n = activation(W_h @ x + b_h + r * (U_h @ h + c_h))
        return z * h + (1 - z) * n

    @cell
    def gru_reset_before(x, h, *, W_z, U_z, b_z, W_r, U_r, b_r, W_h, U_h, b_h):
        """Gated recurrent unit, reset before the recurrent product (Cho et al. 2014, arXiv:1406.1078v3).

        x (features,), h (units,); W_* (units, features), U_* (units, units), b_* (units,).
        """
        z = recurrent_activation(W_z @ x + U_z @ h + b_z)
        r = recurrent_activation(W_r @ x + U_r @ h + b_r)
        n = activation(W_h @ x + U_h @ (r * h) + b_h)
        return z * h + (1 - z) * n

    return gru if reset_after else gru_reset_before


gru = gru_with()
gru_reset_before = gru_with(reset_after=False)


@cell(vectors={"g_z": 1.0, "g_r": 1.0, "g_h": 1.0})
def layer_norm_gru(x, h, *, W_z, U_z, g_z, b_z, W_r, U_r, g_r, b_r, W_h, U_h, g_h, b_h):
    """GRU with layer normalisation of each gate (Ba, Kiros & Hinton 2016, arXiv:1607.06450).

    A gate's two products are normalised as one sum, as in the paper's plain network; its GRU normalises each
    and resets after the recurrent product.

    x (features,), h (units,); W_* (units, features), U_* (units, units), g_* and b_* (units,).
    """
    z = sigmoid(layer_norm(W_z @ x + U_z @ h, g_z, b_z))
    r = sigmoid(layer_norm(W_r @ x + U_r @ h, g_r, b_r))
    n = tanh(layer_norm(W_h @ x + U_h @ (r * h), g_h, b_h))
    return z * h + (1 - z) * n


@cell
def mut3(x, h, *, W_z, U_z, b_z, W_r, U_r, b_r, W_h, U_h, b_h):
    """The third of the cells that a search by mutation found (Jozefowicz, Zaremba & Sutskever 2015).

    x (features,), h (units,); W_* (units, features), U_* (units, units), b_* (units,).
    """
    z = sigmoid(W_z @ x + U_z @ tanh(h) + b_z)
    r = sigmoid(W_r @ x + U_r @ h + b_r)
    return z * tanh(W_h @ x + U_h @ (r * h) + b_h) + (1 - z) * h
