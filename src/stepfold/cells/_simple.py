"""Cells with one state and one or no gate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._cell import Cell, cell
from .._language import relu, sigmoid, tanh


def simple_rnn_with(activation: Callable[[Any], Any] = tanh, name: str = "simple_rnn") -> Cell:
    """The plain recurrent network with another activation."""

    def simple_rnn(x, h, *, W, U, b):
        """The plain recurrent network (Elman 1990, Finding structure in time).

        x (features,), h (units,); W (units, features), U (units, units), b (units,).
        """
        return activation(W @ x + U @ h + b)

    simple_rnn.__name__ = name
    return cell(simple_rnn)


simple_rnn = simple_rnn_with()
simple_rnn_relu = simple_rnn_with(relu, "simple_rnn_relu")


@cell(kernels={"U": ("identity", 1.0)})
def irnn(x, h, *, W, U, b):
    """The plain recurrent network with relu, the identity at first (Le et al. 2015, arXiv:1504.00941).

    x (features,), h (units,); W (units, features), U (units, units), b (units,). U begins as the
    identity, W as any kernel (in the paper as normal numbers of the deviation 0.001, which take longer to
    learn).
    """
    return relu(W @ x + U @ h + b)


@cell(vectors={"u": 1.0})
def indrnn(x, h, *, W, u, b):
    """Independently recurrent network (Li et al. 2018, arXiv:1803.04831): the recurrence is elementwise.

    x (features,), h (units,); W (units, features), u and b (units,).
    """
    return relu(W @ x + u * h + b)


@cell
def ugrnn(x, h, *, W_g, U_g, b_g, W_c, U_c, b_c):
    """Update-gate network (Collins, Sohl-Dickstein & Sussillo 2017, arXiv:1611.09913).

    x (features,), h (units,); W_* (units, features), U_* (units, units), b_* (units,).
    """
    g = sigmoid(W_g @ x + U_g @ h + b_g)
    c = tanh(W_c @ x + U_c @ h + b_c)
    return g * h + (1 - g) * c
