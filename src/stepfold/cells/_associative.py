"""Cells whose state is a matrix: associations of keys with values."""

from typing import Any

from .._cell import cell
from .._declared import Scalar
from .._language import elu, exp, layer_norm, log_sigmoid, maximum, outer, relu, sigmoid, silu, sqrt, sum
from .._parts import split


def _unit(v: Any) -> Any:
    """A vector of the length one."""
    return v / sqrt(sum(v * v) + 1e-6)


@cell
def fast_weights(x, h, A: "units units", *, W, U, g, b, decay=0.95, rate=0.5):
    """A matrix that associates past states (Ba et al. 2016, arXiv:1610.06258; Schmidhuber 1992).

    x (features,), h (units,), A (units, units).
    """
    A = decay * A + rate * outer(h, h)
    both = W @ x + U @ h
    return relu(layer_norm(both + A @ relu(both), g, b)), A


@cell
def linear_attention(
    x, S: "units key", z: "key", *, W_q: "key features", W_k: "key features", W_v: "units features"
):
    """Attention with elu + 1 in place of the softmax (Katharopoulos et al. 2020, arXiv:2006.16236).

    x (features,), S (units, key), z (key,); the output (units,).
    """
    q, k, v = elu(W_q @ x) + 1, elu(W_k @ x) + 1, W_v @ x
    S, z = S + outer(v, k), z + k
    return S @ q / (sum(z * q) + 1e-6), S, z


@cell
def retnet(x, S: "units key", *, W_q: "key features", W_k: "key features", W_v: "units features", decay=0.97):
    """Retention, its rotations and its norm left out (Sun et al. 2023, arXiv:2307.08621).

    x (features,), S (units, key); the output (units,).
    """
    S = decay * S + outer(W_v @ x, W_k @ x)
    return S @ (W_q @ x), S


@cell(vectors={"b_a": 4.0})
def gated_linear_attention(
    x,
    S: "units key",
    *,
    W_q: "key features",
    W_k: "key features",
    W_v: "units features",
    W_a: "key features",
    b_a: "key",
    W_r: "units features",
    b_r,
):
    """A decay of its own for each key, from the input (Yang et al. 2024, arXiv:2312.06635).

    One head; the norm of what is read is left out, and W_a has the full rank.

    x (features,), S (units, key); the output (units,).
    """
    S = sigmoid(W_a @ x + b_a) * S + outer(W_v @ x, W_k @ x)
    r = W_r @ x + b_r
    return r * sigmoid(r) * (S @ (W_q @ x)), S


@cell
def delta_net(
    x,
    S: "units key",
    *,
    W_q: "key features",
    W_k: "key features",
    W_v: "units features",
    W_b: "1 features",
    b_b: Scalar,
):
    """The delta rule: what a key returned is replaced (Schlag et al. 2021, arXiv:2102.11174).

    One head; queries and keys have the length one in place of the paper's feature maps.

    x (features,), S (units, key); the output (units,).
    """
    q, k, v = _unit(W_q @ x), _unit(W_k @ x), W_v @ x
    rate = sigmoid(sum(W_b @ x) + b_b)
    S = S + outer(rate * (v - S @ k), k)
    return S @ q, S


@cell(vectors={"b_a": 4.0})
def gated_delta_net(
    x,
    S: "units key",
    *,
    W_q: "key features",
    W_k: "key features",
    W_v: "units features",
    W_a: "1 features",
    b_a: Scalar,
    W_b: "1 features",
    b_b: Scalar,
):
    """The delta rule on a state that decays (Yang, Kautz & Hatamizadeh 2024, arXiv:2412.06464).

    One head; the decay is a sigmoid, and the layer's convolutions, its norm and its output gate are left out.

    x (features,), S (units, key); the output (units,).
    """
    q, k, v = _unit(W_q @ x), _unit(W_k @ x), W_v @ x
    S = sigmoid(sum(W_a @ x) + b_a) * S
    rate = sigmoid(sum(W_b @ x) + b_b)
    S = S + outer(rate * (v - S @ k), k)
    return S @ q, S


@cell(vectors={"b_f": 3.0})
def mlstm(
    x,
    C: "units key",
    n: "key",
    m: Scalar,
    *,
    W_q: "key features",
    b_q: "key",
    W_k: "key features",
    b_k: "key",
    W_v: "units features",
    b_v,
    W_i: "1 features",
    b_i: Scalar,
    W_f: "1 features",
    b_f: Scalar,
    W_o: "units features",
    b_o,
):
    """mLSTM of xLSTM: a matrix memory behind exponential gates (Beck et al. 2024, arXiv:2405.04517).

    One head; the forget gate is a sigmoid, m keeps the exponents small.

    x (features,), C (units, key), n (key,), m one number; the output (units,).
    """
    q, k, v = W_q @ x + b_q, W_k @ x + b_k, W_v @ x + b_v
    k = k / sqrt(sum(0.0 * k + 1.0))
    i, f = sum(W_i @ x) + b_i, log_sigmoid(sum(W_f @ x) + b_f)
    top = maximum(f + m, i)
    keep, write = exp(f + m - top), exp(i - top)
    C, n, m = keep * C + write * outer(v, k), keep * n + write * k, top
    return sigmoid(W_o @ x + b_o) * (C @ q) / maximum(abs(sum(n * q)), exp(-m)), C, n, m


@cell
def delta_product(
    x,
    S: "units key",
    *,
    W_q: "key features",
    W_k: "2*key features",
    W_v: "2*units features",
    W_b: "2 features",
    b_b: "2",
):
    """Two steps of the delta rule a timestep, so that states turn (Siems et al. 2025, arXiv:2502.10297).

    x (features,), S (units, key); W_k (2 · key, features), W_v (2 · units, features): one half a step; the
    output (units,).
    """
    rates = 2 * sigmoid(W_b @ x + b_b)
    keys, values = split(silu(W_k @ x), 2), split(W_v @ x, 2)
    for step, (k, v) in enumerate(zip(keys, values, strict=True)):
        k = _unit(k)
        S = S + outer(rates[step] * (v - S @ k), k)
    return S @ _unit(silu(W_q @ x)), S


@cell
def longhorn(
    x,
    S: "units key",
    *,
    W,
    W_q: "key features",
    W_k: "key features",
    W_b,
    b_b,
):
    """A state that solves an online regression at every timestep (Liu et al. 2024, arXiv:2407.14207).

    x (features,), S (units, key), a key's square kept for itself; the output (units,).
    """
    k, rate = W_k @ x, sigmoid(W_b @ x + b_b)
    step = rate / (1 + rate * sum(k * k))
    S = (1 - outer(step, k * k)) * S + outer(step * (W @ x), k)
    return S @ (W_q @ x), S
