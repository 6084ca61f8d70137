"""Cells whose units stand in an order: hierarchies of neurons, the memory of a window of time."""

from .._cell import cell
from .._language import sigmoid, softmax, tanh
from .._parts import cumsum


@cell(vectors={"b_f": 1.0})
def on_lstm(
    x, h, c, *,
    W_f, U_f, b_f, W_i, U_i, b_i, W_o, U_o, b_o, W_c, U_c, b_c,
    W_forget, U_forget, b_forget, W_input, U_input, b_input,
):  # fmt: skip
    """LSTM with ordered neurons: high ones forget last (Shen et al. 2019, arXiv:1810.09536).

    x (features,), h and c (units,); W_* (units, features), U_* (units, units), b_* (units,).
    """
    f = sigmoid(W_f @ x + U_f @ h + b_f)
    i = sigmoid(W_i @ x + U_i @ h + b_i)
    o = sigmoid(W_o @ x + U_o @ h + b_o)
    forget = cumsum(softmax(W_forget @ x + U_forget @ h + b_forget))
    write = 1 - cumsum(softmax(W_input @ x + U_input @ h + b_input))
    both = forget * write
    c = (f * both + (forget - both)) * c + (i * both + (write - both)) * tanh(W_c @ x + U_c @ h + b_c)
    return o * tanh(c), c


@cell(kernels={"A": ("legendre", "theta"), "B": ("legendre", "theta"), "e_m": ("normal", 0.0)})
def lmu(
    x,
    h,
    m: "order",
    *,
    e_x: "1 features",
    e_h: "1 units",
    e_m: "1 order",
    A: "order order",
    B: "order 1",
    W,
    U,
    V: "units order",
    theta=100.0,
):
    """Legendre memory unit: m holds the last theta timesteps (Voelker, Kajic & Eliasmith 2019).

    x (features,), h (units,), m (order,); A and B begin as the memory of a window of theta timesteps.
    """
    m = A @ m + B @ (e_x @ x + e_h @ h + e_m @ m)
    return tanh(W @ x + U @ h + V @ m), m
