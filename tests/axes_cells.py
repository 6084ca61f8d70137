"""Cells with axes of their own for the tests of every adapter."""

from stepfold import cells
from tests.core import test_core_axes as examples

VECTOR_CELLS = (
    examples.projected,
    examples.low_rank,
    examples.read_out,
    examples.decayed,
    cells.projected_lstm,
    cells.mogrifier_lstm,
    cells.phased_lstm,
    cells.gru_d,
)
MATRIX_CELLS = (examples.fast_weights, examples.selective, cells.mlstm, cells.gated_delta_net, cells.mamba)
