"""Cells that have, between them, whatever a cell can have: what is slow to test is tested with these."""

from __future__ import annotations

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
