"""Cells whose states are complex values, as two states, or that rotate: they neither grow nor fade fast."""

from __future__ import annotations

from .._cell import cell
from .._language import cos, exp, sigmoid, silu, sin, tanh


@cell(vectors={"nu": -3.0, "theta": -1.25, "gamma": -1.1875})
def lru(x, h, a, b, *, B_re, B_im, C_re, C_im, D, nu, theta, gamma):
    """Linear recurrent unit: a diagonal complex recurrence (Orvieto et al. 2023, arXiv:2303.06349).

    The state is a + b i, read by C; it decays by exp(-exp(nu)) and turns by exp(theta) a timestep. nu, theta
    and gamma begin alike for all units (decay 0.95, a turn of 0.29), in the paper on a ring.

    x (features,), h (the output), a and b (units,); B_* and D (units, features), C_* (units, units), nu,
    theta and gamma (units,).
    """
    decay, turn, scale = exp(-exp(nu)), exp(theta), exp(gamma)
    re, im = decay * cos(turn), decay * sin(turn)
    a, b = re * a - im * b + scale * (B_re @ x), re * b + im * a + scale * (B_im @ x)
    return C_re @ a - C_im @ b + D @ x, a, b


@cell(vectors={"theta": 0.125})
def hgrn(x, h, a, b, *, W_f, b_f, W_a, b_a, W_b, b_b, theta, W_p, b_p, W_q, b_q, V_a, V_b, b_o, gamma=0.0):
    """Hierarchically gated network, its output not normalised (Qin, Yang & Zhong 2023, arXiv:2311.04823).

    The state is a + b i; gamma, the lower bound of its forget gate f, is to grow from layer to layer.

    x (features,), h (the output), a and b (units,); W_* (units, features), V_* (units, units), b_* and theta
    (units,); gamma at least 0 and below 1.
    """
    f = gamma + (1 - gamma) * sigmoid(W_f @ x + b_f)
    re, im = f * cos(theta), f * sin(theta)
    new_a, new_b = silu(W_a @ x + b_a), silu(W_b @ x + b_b)
    a, b = re * a - im * b + (1 - f) * new_a, re * b + im * a + (1 - f) * new_b
    p, q = sigmoid(W_p @ x + b_p), sigmoid(W_q @ x + b_q)
    return V_a @ (p * a) + V_b @ (q * b) + b_o, a, b


@cell
def antisymmetric_rnn(x, h, *, W, U, b, W_z, b_z, epsilon=0.1, gamma=0.01):
    """Antisymmetric network with a gate: U - U.T preserves norms (Chang et al. 2019, arXiv:1902.09689).

    Steps of the length epsilon of a differential equation with the diffusion gamma.

    x (features,), h (units,); W and W_z (units, features), U (units, units), b and b_z (units,); epsilon and
    gamma above 0.
    """
    turned = U @ h - U.T @ h - gamma * h
    return h + epsilon * sigmoid(turned + W_z @ x + b_z) * tanh(turned + W @ x + b)
