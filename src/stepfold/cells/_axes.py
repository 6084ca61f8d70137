"""Cells with states of other sizes, and with several inputs a timestep."""

from .._cell import cell
from .._declared import Scalar
from .._language import exp, maximum, mod, sigmoid, softplus, tanh, where


@cell(vectors={"b_f": 1.0})
def projected_lstm(
    x,
    h: "projection",
    c,
    *,
    W_i,
    U_i,
    b_i,
    W_f,
    U_f,
    b_f,
    W_c,
    U_c,
    b_c,
    W_o,
    U_o,
    b_o,
    P: "projection units",
):
    """LSTM whose output is projected to fewer units (Sak, Senior & Beaufays 2014, arXiv:1402.1128).

    x (features,), h (projection,), c (units,).
    """
    i = sigmoid(W_i @ x + U_i @ h + b_i)
    f = sigmoid(W_f @ x + U_f @ h + b_f)
    c = f * c + i * tanh(W_c @ x + U_c @ h + b_c)
    return P @ (sigmoid(W_o @ x + U_o @ h + b_o) * tanh(c)), c


@cell
def low_rank_rnn(x, h, *, W, P: "units rank", Q: "rank units", b):
    """A plain network of low rank (Mastrogiuseppe & Ostojic 2018, arXiv:1711.09672).

    x (features,), h (units,); the recurrent kernel is P Q of the rank `rank`.
    """
    return tanh(W @ x + P @ (Q @ h) + b)


@cell(vectors={"b_f": 1.0})
def mogrifier_lstm(
    x: "features",
    h,
    c,
    *,
    Q_1: "features units",
    R_1: "units features",
    Q_2: "features units",
    R_2: "units features",
    W_i: "units features",
    U_i,
    b_i,
    W_f: "units features",
    U_f,
    b_f,
    W_c: "units features",
    U_c,
    b_c,
    W_o: "units features",
    U_o,
    b_o,
):
    """LSTM whose input and state gate each other first, four rounds (Melis et al. 2020, arXiv:1909.01792).

    x (features,), h (units,), c (units,).
    """
    for Q, R in ((Q_1, R_1), (Q_2, R_2)):
        x = 2 * sigmoid(Q @ h) * x
        h = 2 * sigmoid(R @ x) * h
    i = sigmoid(W_i @ x + U_i @ h + b_i)
    f = sigmoid(W_f @ x + U_f @ h + b_f)
    c = f * c + i * tanh(W_c @ x + U_c @ h + b_c)
    return sigmoid(W_o @ x + U_o @ h + b_o) * tanh(c), c


@cell(vectors={"b_f": 1.0, "period": 3.0, "open": 0.05})
def phased_lstm(
    x,
    time_now: Scalar,
    /,
    h,
    c,
    *,
    W_i,
    U_i,
    w_i,
    b_i,
    W_f,
    U_f,
    w_f,
    b_f,
    W_c,
    U_c,
    b_c,
    W_o,
    U_o,
    w_o,
    b_o,
    period,
    shift,
    open,
    leak=0.001,
):
    """LSTM whose units are open in a part of their period alone (Neil et al. 2016, arXiv:1610.09513).

    x (features,), time_now one number, h (units,), c (units,); the period of a unit is exp(period).
    """
    phase = mod(time_now - shift, exp(period)) / exp(period)
    rising, falling = 2 * phase / open, 2 - 2 * phase / open
    k = where(phase < 0.5 * open, rising, where(phase < open, falling, leak * phase))
    i = sigmoid(W_i @ x + U_i @ h + w_i * c + b_i)
    f = sigmoid(W_f @ x + U_f @ h + w_f * c + b_f)
    new = f * c + i * tanh(W_c @ x + U_c @ h + b_c)
    o = sigmoid(W_o @ x + U_o @ h + w_o * new + b_o)
    return k * o * tanh(new) + (1 - k) * h, k * new + (1 - k) * c


@cell
def gru_d(
    x: "features",
    observed: "features",
    gap: "features",
    /,
    h,
    last: "features",
    *,
    w_x: "features",
    b_x: "features",
    W_g: "units features",
    b_g,
    usual: "features",
    W_z: "units features",
    U_z,
    V_z: "units features",
    b_z,
    W_r: "units features",
    U_r,
    V_r: "units features",
    b_r,
    W_h: "units features",
    U_h,
    V_h: "units features",
    b_h,
):
    """GRU for missing values: the last one seen decays to the usual (Che et al. 2018, arXiv:1606.01865).

    x (features,), observed (features,) of 0 and 1, gap (features,) the time since the last observation,
    h (units,), last (features,).
    """
    fade = exp(-maximum(w_x * gap + b_x, 0.0))
    filled = observed * x + (1 - observed) * (fade * last + (1 - fade) * usual)
    last = observed * x + (1 - observed) * last
    h = exp(-maximum(W_g @ gap + b_g, 0.0)) * h
    z = sigmoid(W_z @ filled + U_z @ h + V_z @ observed + b_z)
    r = sigmoid(W_r @ filled + U_r @ h + V_r @ observed + b_r)
    candidate = tanh(W_h @ filled + U_h @ (r * h) + V_h @ observed + b_h)
    return (1 - z) * h + z * candidate, last


@cell(vectors={"tau": 1.0})
def ltc(x, h, *, W, U, b, tau, A, steps=6):
    """Liquid time constants, in fused steps of a solver (Hasani et al. 2021, arXiv:2006.04439).

    As in the paper's algorithm 1 a unit has one sigmoid, of all its inputs; its authors' package has one for
    each synapse.

    x (features,), h (units,).
    """
    share = 1.0 / steps
    for _ in range(steps):
        f = sigmoid(W @ x + U @ h + b)
        h = (h + share * f * A) / (1 + share * (1 / softplus(tau) + f))
    return h
