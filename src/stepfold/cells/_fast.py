"""Small cells whose residual connection or gate is weighted by two numbers for all units."""

from __future__ import annotations

from .._cell import cell
from .._declared import Scalar
from .._language import sigmoid, tanh


@cell(vectors={"alpha": -3.0, "beta": 3.0})
def fast_rnn(x, h, *, W, U, b, alpha: Scalar, beta: Scalar):
    """FastRNN: a plain network with a weighted residual connection (Kusupati et al. 2018, arXiv:1901.02358).

    x (features,), h (units,); W (units, features), U (units, units), b (units,), alpha and beta ().
    """
    return sigmoid(alpha) * tanh(W @ x + U @ h + b) + sigmoid(beta) * h


@cell(vectors={"b_z": 1.0, "b_h": 1.0, "zeta": 1.0, "nu": -4.0})
def fast_grnn(x, h, *, W, U, b_z, b_h, zeta: Scalar, nu: Scalar):
    """FastGRNN: gate and candidate share their matrices (Kusupati et al. 2018, arXiv:1901.02358).

    x (features,), h (units,); W (units, features), U (units, units), b_* (units,), zeta and nu ().
    """
    both = W @ x + U @ h
    z = sigmoid(both + b_z)
    return (sigmoid(zeta) * (1 - z) + sigmoid(nu)) * tanh(both + b_h) + z * h
