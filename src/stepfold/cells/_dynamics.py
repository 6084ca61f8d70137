"""Cells that are timesteps of differential equations: leaky units, oscillators, several time scales."""

from __future__ import annotations

from .._cell import cell
from .._language import sigmoid, tanh


@cell
def leaky_rnn(x, h, *, W, U, b, rate=0.5):
    """Leaky integrator, a continuous-time network in Euler steps (Funahashi & Nakamura 1993).

    x (features,), h (units,); W (units, features), U (units, units), b (units,); `rate` is above 0, at
    most 1.
    """
    return (1 - rate) * h + rate * tanh(W @ x + U @ h + b)


@cell
def co_rnn(x, y, z, *, W, U_y, U_z, b, step=0.042, gamma=2.7, epsilon=4.7):
    """Coupled oscillatory network: driven, damped oscillators (Rusch & Mishra 2021, arXiv:2010.00951).

    x (features,), y (position) and z (velocity) (units,); W (units, features), U_* (units, units), b
    (units,); `step` in time, `gamma` the square of the frequency, `epsilon` the damping.
    """
    z = z + step * (tanh(W @ x + U_y @ y + U_z @ z + b) - gamma * y - epsilon * z)
    return y + step * z, z


@cell(vectors={"u": 0.5})
def unicornn(x, y, z, *, W, u, b, c, step=0.1, alpha=1.0):
    """Undamped independent controlled oscillators (Rusch & Mishra 2021, arXiv:2103.05487).

    Each unit oscillates by itself, with a step in time of its own, step · sigmoid(c), and the stiffness
    `alpha`.

    x (features,), y (position) and z (velocity) (units,); W (units, features), u, b and c (units,).
    """
    own = step * sigmoid(c)
    z = z - own * (tanh(W @ x + u * y + b) + alpha * y)
    return y + own * z, z


@cell
def lem(x, y, z, *, W_1, U_1, b_1, W_2, U_2, b_2, W_z, U_z, b_z, W_y, U_y, b_y, step=1.0):
    """Long expressive memory: learnt time scales (Rusch et al. 2022, arXiv:2110.04744).

    x (features,), y and z (units,); W_* (units, features), U_* (units, units), b_* (units,); `step` is the
    largest one in time.
    """
    first = step * sigmoid(W_1 @ x + U_1 @ y + b_1)
    second = step * sigmoid(W_2 @ x + U_2 @ y + b_2)
    z = (1 - first) * z + first * tanh(W_z @ x + U_z @ y + b_z)
    return (1 - second) * y + second * tanh(W_y @ x + U_y @ z + b_y), z


@cell
def cfc(x, h, *, W_1, U_1, b_1, W_2, U_2, b_2, W_a, U_a, b_a, W_b, U_b, b_b, time=1.0):
    """Closed-form continuous-time network (Hasani et al. 2022, arXiv:2106.13898).

    Inputs are `time` units apart.

    x (features,), h (units,); W_* (units, features), U_* (units, units), b_* (units,).
    """
    early = tanh(W_1 @ x + U_1 @ h + b_1)
    late = tanh(W_2 @ x + U_2 @ h + b_2)
    t = sigmoid((W_a @ x + U_a @ h + b_a) * time + (W_b @ x + U_b @ h + b_b))
    return (1 - t) * early + t * late
