"""The cells as an experienced user of PyTorch or JAX writes them: one fused matrix for all gates.

Each cell is written once, over the `Functions` of a framework. Weights have the names of `fused`, and
gradients are compared in that form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Weights = Mapping[str, Any]
States = tuple[Any, ...]


class Functions(Protocol):
    """The functions of a framework that a step calls, beyond arithmetic."""

    def tanh(self, x: Any) -> Any: ...
    def sigmoid(self, x: Any) -> Any: ...
    def split(self, x: Any, parts: int) -> Any: ...
    def layer_norm(self, x: Any) -> Any: ...


@dataclass(frozen=True)
class HandCell:
    """A handwritten cell.

    `gates` name the rows of the fused matrices, in order (the suffixes of a cell's parameters W, U and b);
    `vectors` are the prefixes of further parameters that gates have; `unfused` are the parameters that stay
    as they are; with `step_adds_bias` the step adds the bias itself.

    `step(functions, projected, states, weights, h)` returns the new states: `projected` (batch, gates·units)
    is the kernel times the input (plus the bias), `h` (batch, units) the previous output after recurrent
    dropout, the operand of the recurrent kernel.
    """

    gates: tuple[str, ...]
    step: Callable[[Functions, Any, States, Weights, Any], States]
    states: int = 2
    vectors: tuple[str, ...] = ()
    unfused: tuple[str, ...] = ()
    step_adds_bias: bool = False

    def fused(self, params: Mapping[str, Array]) -> dict[str, Array]:
        """Concatenate a cell's parameters (or their gradients) over the gates: kernel, recurrent, bias,
        and the others."""
        weights = {
            name: np.concatenate([params[letter + gate] for gate in self.gates])
            for name, letter in (("kernel", "W"), ("recurrent", "U"), ("bias", "b"))
        }
        for prefix in self.vectors:
            weights[prefix] = np.stack(
                [params[prefix + gate] for gate in self.gates if prefix + gate in params]
            )
        weights.update({name: params[name] for name in self.unfused})
        return weights


def _simple_rnn(m: Functions, z: Any, states: States, w: Weights, h: Any) -> States:
    return (m.tanh(z + h @ w["recurrent"].T),)


def _gru(m: Functions, z: Any, states: States, w: Weights, h: Any) -> States:
    from_x = m.split(z, 3)
    from_h = m.split(h @ w["recurrent"].T, 3)
    update = m.sigmoid(from_x[0] + from_h[0])
    reset = m.sigmoid(from_x[1] + from_h[1])
    new = m.tanh(from_x[2] + reset * (from_h[2] + w["c_h"]))
    return (new + update * (states[0] - new),)


def _lstm(m: Functions, z: Any, states: States, w: Weights, h: Any) -> States:
    i, f, g, o = m.split(z + h @ w["recurrent"].T, 4)
    c = m.sigmoid(f) * states[1] + m.sigmoid(i) * m.tanh(g)
    return m.sigmoid(o) * m.tanh(c), c


def _peephole_lstm(m: Functions, z: Any, states: States, w: Weights, h: Any) -> States:
    i, f, g, o = m.split(z + h @ w["recurrent"].T, 4)
    p_i, p_f, p_o = w["p"]
    c = m.sigmoid(f + p_f * states[1]) * states[1] + m.sigmoid(i + p_i * states[1]) * m.tanh(g)
    return m.sigmoid(o + p_o * c) * m.tanh(c), c


def _carry_lstm(m: Functions, z: Any, states: States, w: Weights, h: Any) -> States:
    out, i, f, k = m.split(z + h @ w["recurrent"].T, 4)
    output = m.tanh(out + states[1] @ w["V"].T)
    return output, m.sigmoid(i) * m.tanh(k) + states[1] * m.sigmoid(f)


def _layer_norm_lstm(m: Functions, z: Any, states: States, w: Weights, h: Any) -> States:
    batch, units = states[1].shape
    gates = m.layer_norm((z + h @ w["recurrent"].T).reshape(batch, 4, units))
    gates = gates * w["g"] + w["bias"].reshape(4, units)
    i, f, g, o = (gates[:, n] for n in range(4))
    c = m.sigmoid(f) * states[1] + m.sigmoid(i) * m.tanh(g)
    return m.sigmoid(o) * m.tanh(m.layer_norm(c) * w["g_s"] + w["b_s"]), c


_IFCO = ("_i", "_f", "_c", "_o")

CELLS: dict[str, HandCell] = {
    "simple_rnn": HandCell(("",), _simple_rnn, states=1),
    "gru": HandCell(("_z", "_r", "_h"), _gru, states=1, unfused=("c_h",)),
    "lstm": HandCell(_IFCO, _lstm),
    "peephole_lstm": HandCell(_IFCO, _peephole_lstm, vectors=("p",)),
    "carry_lstm": HandCell(("", "_i", "_f", "_k"), _carry_lstm, unfused=("V",)),
    "layer_norm_lstm": HandCell(
        _IFCO, _layer_norm_lstm, vectors=("g",), unfused=("g_s", "b_s"), step_adds_bias=True
    ),
}
