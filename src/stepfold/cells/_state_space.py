"""State-space cells: several linear states for each unit, in a matrix (units, order)."""

from .._cell import cell
from .._language import cos, exp, outer, sin, softplus, sum


@cell(vectors={"A_log": 0.5, "b_d": -4.0, "D": 1.0})
def mamba(
    x, S: "units order", *, W, W_d, b_d, W_b: "order features", W_c: "order features", A_log: "units order", D
):
    """The selective state space of Mamba, from the input's features (Gu & Dao 2023, arXiv:2312.00752).

    The block's convolution and gate are left out, and W_d has the full rank.

    x (features,), S (units, order); the output (units,).
    """
    u, delta = W @ x, softplus(W_d @ x + b_d)
    S = exp(-delta * exp(A_log)) * S + outer(delta * u, W_b @ x)
    return sum(S * (W_c @ x), "order") + D * u, S


@cell(vectors={"A_log": -0.7, "frequency": 1.0, "log_step": -3.0, "C_re": 0.5, "C_im": 0.1, "D": 1.0})
def s4d(
    x,
    S_re: "units order",
    S_im: "units order",
    *,
    W,
    A_log: "units order",
    frequency: "units order",
    log_step,
    C_re: "units order",
    C_im: "units order",
    D,
):
    """A diagonal complex state space, zero-order hold, B one (Gu et al. 2022, arXiv:2206.11893).

    x (features,), S_re and S_im (units, order), the parts of a complex state; the output (units,).
    """
    u, step = W @ x, exp(log_step)
    decay, angle = -exp(A_log), step * frequency
    size = exp(step * decay)
    A_re, A_im = size * cos(angle), size * sin(angle)
    # (exp(step λ) - 1) / λ
    square = decay * decay + frequency * frequency
    B_re = ((A_re - 1) * decay + A_im * frequency) / square
    B_im = (A_im * decay - (A_re - 1) * frequency) / square
    S_re, S_im = A_re * S_re - A_im * S_im + B_re * u, A_re * S_im + A_im * S_re + B_im * u
    return 2 * sum(C_re * S_re - C_im * S_im, "order") + D * u, S_re, S_im
