"""The built-in cells, each a few lines of maths with its paper. A new one needs nothing but its maths."""

from .._cell import Cell
from ._associative import (
    delta_net,
    delta_product,
    fast_weights,
    gated_delta_net,
    gated_linear_attention,
    linear_attention,
    longhorn,
    mlstm,
    retnet,
)
from ._axes import gru_d, low_rank_rnn, ltc, mogrifier_lstm, phased_lstm, projected_lstm
from ._deep import rhn
from ._dynamics import cfc, co_rnn, leaky_rnn, lem, unicornn
from ._fast import fast_grnn, fast_rnn
from ._gru import gru, gru_reset_before, gru_with, layer_norm_gru, mut3
from ._linear import min_gru, min_lstm, qrnn, rwkv, sru, t_rnn
from ._lstm import carry_lstm, coupled_lstm, layer_norm_lstm, lstm, lstm_with, peephole_lstm
from ._lstm_variants import multiplicative_lstm, nas, original_lstm, ran, slstm
from ._minimal import atr, brc, janet, li_gru, mgu, mi_rnn, minimal_rnn, nbrc, scrn, star
from ._ordered import lmu, on_lstm
from ._rotations import antisymmetric_rnn, hgrn, lru
from ._simple import indrnn, irnn, simple_rnn, simple_rnn_relu, simple_rnn_with, ugrnn
from ._state_space import mamba, s4d

FAMILIES: dict[str, tuple[Cell, ...]] = {
    "without gates": (simple_rnn, simple_rnn_relu, irnn, indrnn, mi_rnn, fast_rnn, scrn, low_rank_rnn),
    "long short-term memory": (
        lstm,
        original_lstm,
        peephole_lstm,
        coupled_lstm,
        layer_norm_lstm,
        multiplicative_lstm,
        carry_lstm,
        ran,
        nas,
        projected_lstm,
        mogrifier_lstm,
        on_lstm,
        slstm,
    ),
    "gated recurrent units": (gru, gru_reset_before, layer_norm_gru, mut3),
    "one or two gates": (ugrnn, mgu, janet, li_gru, minimal_rnn, star, atr, brc, nbrc, fast_grnn),
    "linear in the state": (min_gru, min_lstm, t_rnn, qrnn, sru, rwkv, lru, hgrn, lmu),
    "with a matrix as its state": (
        fast_weights,
        linear_attention,
        retnet,
        gated_linear_attention,
        delta_net,
        gated_delta_net,
        delta_product,
        longhorn,
        mlstm,
        s4d,
        mamba,
    ),
    "for missing values and uneven times": (gru_d, phased_lstm),
    "differential equations": (leaky_rnn, antisymmetric_rnn, co_rnn, unicornn, lem, cfc, ltc),
    "several layers a timestep": (rhn,),
}
"""The built-in cells by what they have in common."""

_by_name = {cell.name: cell for family in FAMILIES.values() for cell in family}


def names() -> list[str]:
    """Return the names of all built-in cells, family by family."""
    return list(_by_name)


def by_name(name: str) -> Cell:
    """Return the cell of that name; ValueError, listing the names, those nearest last, if there is none."""
    try:
        return _by_name[name]
    except KeyError:
        import difflib  # for this message alone; the core imports it nowhere else

        near = difflib.get_close_matches(str(name).lower(), _by_name)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise ValueError(f"there is no cell {name!r}; the cells are {', '.join(_by_name)}{hint}") from None


def as_cell(given: object) -> Cell:
    """Return a cell: one itself, the built-in one of a name, or one from the JSON text of its graph.

    Raises:
        TypeError: anything else, such as a function without ``@stepfold.cell``.
        ValueError: no built-in cell has the name, or the text is no cell's.
    """
    if isinstance(given, Cell):
        return given
    if not isinstance(given, str):
        raise TypeError(
            f"cell must be a stepfold cell, the name of one, or its JSON text, not {type(given).__name__}; "
            "put @stepfold.cell above the function"
        )
    return Cell.from_json(given) if given.lstrip().startswith("{") else by_name(given)


__all__ = [
    "FAMILIES",
    "antisymmetric_rnn",
    "as_cell",
    "atr",
    "brc",
    "by_name",
    "carry_lstm",
    "cfc",
    "co_rnn",
    "coupled_lstm",
    "delta_net",
    "delta_product",
    "fast_grnn",
    "fast_rnn",
    "fast_weights",
    "gated_delta_net",
    "gated_linear_attention",
    "gru",
    "gru_d",
    "gru_reset_before",
    "gru_with",
    "hgrn",
    "indrnn",
    "irnn",
    "janet",
    "layer_norm_gru",
    "layer_norm_lstm",
    "leaky_rnn",
    "lem",
    "li_gru",
    "linear_attention",
    "lmu",
    "longhorn",
    "low_rank_rnn",
    "lru",
    "lstm",
    "lstm_with",
    "ltc",
    "mamba",
    "mgu",
    "mi_rnn",
    "min_gru",
    "min_lstm",
    "minimal_rnn",
    "mlstm",
    "mogrifier_lstm",
    "multiplicative_lstm",
    "mut3",
    "names",
    "nas",
    "nbrc",
    "on_lstm",
    "original_lstm",
    "peephole_lstm",
    "phased_lstm",
    "projected_lstm",
    "qrnn",
    "ran",
    "retnet",
    "rhn",
    "rwkv",
    "s4d",
    "scrn",
    "simple_rnn",
    "simple_rnn_relu",
    "simple_rnn_with",
    "slstm",
    "sru",
    "star",
    "t_rnn",
    "ugrnn",
    "unicornn",
]
