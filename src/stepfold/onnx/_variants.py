"""The cells that ONNX's RNN, LSTM and GRU are with any of their attributes, each under `@cell`."""

from __future__ import annotations

import functools
from typing import Any

from .._cell import Cell, cell
from .._language import clip
from ._activations import Activation


@functools.cache
def rnn_cell(f: Activation, threshold: float | None) -> Cell:
    """The operator RNN: its activation, and what its argument is clipped to (None: nothing)."""

    @cell
    def onnx_rnn(x, h, *, W, U, b):  # type: ignore[no-untyped-def]
        return f(_clipped(W @ x + U @ h + b, threshold))

    return onnx_rnn


@functools.cache
def gru_cell(f: Activation, g: Activation, threshold: float | None, reset_after: bool) -> Cell:
    """The operator GRU: the activations of its gates and of its candidate, `linear_before_reset`."""

    @cell
    def onnx_gru(x, h, *, W_z, U_z, b_z, W_r, U_r, b_r, W_h, U_h, b_h, c_h):  # type: ignore[no-untyped-def]
        z = f(_clipped(W_z @ x + U_z @ h + b_z, threshold))
        r = f(_clipped(W_r @ x + U_r @ h + b_r, threshold))
        n = g(_clipped(W_h @ x + b_h + r * (U_h @ h + c_h), threshold))
        return (1 - z) * n + z * h

    @cell
    def onnx_gru_reset_before(  # type: ignore[no-untyped-def]
        x, h, *, W_z, U_z, b_z, W_r, U_r, b_r, W_h, U_h, b_h
    ):
        z = f(_clipped(W_z @ x + U_z @ h + b_z, threshold))
        r = f(_clipped(W_r @ x + U_r @ h + b_r, threshold))
        n = g(_clipped(W_h @ x + U_h @ (r * h) + b_h, threshold))
        return (1 - z) * n + z * h

    return onnx_gru if reset_after else onnx_gru_reset_before


@functools.cache
def lstm_cell(
    f: Activation, g: Activation, h_: Activation, threshold: float | None, peepholes: bool, coupled: bool
) -> Cell:
    """The operator LSTM: the activations of gates, candidate and output, peepholes, `input_forget`.

    Coupled, the forget gate is 1 - the input gate and has no weights.
    """

    def carried(i: Any, forget: Any, n: Any, c: Any) -> Any:
        i = f(_clipped(i, threshold))
        kept = 1 - i if forget is None else f(_clipped(forget, threshold))
        return kept * c + i * g(_clipped(n, threshold))

    def output(o: Any, c: Any) -> Any:
        return f(_clipped(o, threshold)) * h_(c), c

    @cell
    def onnx_lstm(  # type: ignore[no-untyped-def]
        x, h, c, *, W_i, U_i, b_i, W_f, U_f, b_f, W_c, U_c, b_c, W_o, U_o, b_o
    ):
        i, forget = W_i @ x + U_i @ h + b_i, W_f @ x + U_f @ h + b_f
        return output(W_o @ x + U_o @ h + b_o, carried(i, forget, W_c @ x + U_c @ h + b_c, c))

    @cell
    def onnx_lstm_peepholes(  # type: ignore[no-untyped-def]
        x, h, c, *, W_i, U_i, p_i, b_i, W_f, U_f, p_f, b_f, W_c, U_c, b_c, W_o, U_o, p_o, b_o
    ):
        i, forget = W_i @ x + U_i @ h + p_i * c + b_i, W_f @ x + U_f @ h + p_f * c + b_f
        c = carried(i, forget, W_c @ x + U_c @ h + b_c, c)
        return output(W_o @ x + U_o @ h + p_o * c + b_o, c)

    @cell
    def onnx_lstm_coupled(  # type: ignore[no-untyped-def]
        x, h, c, *, W_i, U_i, b_i, W_c, U_c, b_c, W_o, U_o, b_o
    ):
        c = carried(W_i @ x + U_i @ h + b_i, None, W_c @ x + U_c @ h + b_c, c)
        return output(W_o @ x + U_o @ h + b_o, c)

    @cell
    def onnx_lstm_coupled_peepholes(  # type: ignore[no-untyped-def]
        x, h, c, *, W_i, U_i, p_i, b_i, W_c, U_c, b_c, W_o, U_o, p_o, b_o
    ):
        c = carried(W_i @ x + U_i @ h + p_i * c + b_i, None, W_c @ x + U_c @ h + b_c, c)
        return output(W_o @ x + U_o @ h + p_o * c + b_o, c)

    if coupled:
        return onnx_lstm_coupled_peepholes if peepholes else onnx_lstm_coupled
    return onnx_lstm_peepholes if peepholes else onnx_lstm


def _clipped(value: Any, threshold: float | None) -> Any:
    return value if threshold is None else clip(value, -threshold, threshold)
