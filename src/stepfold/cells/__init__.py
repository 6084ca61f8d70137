"""The built-in cells, each a few lines of maths with its paper. A new one needs nothing but its maths."""

from .._cell import Cell
from ._fast import fast_grnn, fast_rnn
from ._gru import gru, gru_reset_before, gru_with, layer_norm_gru
from ._lstm import carry_lstm, coupled_lstm, layer_norm_lstm, lstm, lstm_with, peephole_lstm
from ._simple import indrnn, irnn, min_gru, simple_rnn, simple_rnn_relu, simple_rnn_with, ugrnn

_all: list[Cell] = [
    simple_rnn,
    simple_rnn_relu,
    lstm,
    gru,
    gru_reset_before,
    carry_lstm,
    peephole_lstm,
    coupled_lstm,
    layer_norm_lstm,
    layer_norm_gru,
    ugrnn,
    irnn,
    indrnn,
    min_gru,
    fast_rnn,
    fast_grnn,
]


def names() -> list[str]:
    """Return the names of all built-in cells."""
    return [cell.name for cell in _all]


def by_name(name: str) -> Cell:
    """Return the cell of that name; ValueError, listing the names, if there is none."""
    for cell in _all:
        if cell.name == name:
            return cell
    raise ValueError(f"there is no cell {name!r}; the cells are {', '.join(names())}")


__all__ = [
    "by_name",
    "carry_lstm",
    "coupled_lstm",
    "fast_grnn",
    "fast_rnn",
    "gru",
    "gru_reset_before",
    "gru_with",
    "indrnn",
    "irnn",
    "layer_norm_gru",
    "layer_norm_lstm",
    "lstm",
    "lstm_with",
    "min_gru",
    "names",
    "peephole_lstm",
    "simple_rnn",
    "simple_rnn_relu",
    "simple_rnn_with",
    "ugrnn",
]
