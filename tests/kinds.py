"""Cells that have, between them, whatever a cell can have: what is slow to test is tested with these."""

from __future__ import annotations

from stepfold import cells

KINDS = (
    *("simple_rnn", "simple_rnn_relu", "lstm", "gru", "gru_reset_before", "carry_lstm", "peephole_lstm"),
    *(
        "coupled_lstm",
        "layer_norm_lstm",
        "layer_norm_gru",
        "ugrnn",
        "irnn",
        "indrnn",
        "min_gru",
        "slstm",
        "fast_rnn",
    ),
)
"""Every number of states, activation and kind of parameter; reductions; gates within gates; comparisons."""

UNIFORM = [name for name in cells.names() if cells.by_name(name).step.uniform]
"""The built-in cells without sizes of their own; the others are in `tests/axes_cells.py`."""
