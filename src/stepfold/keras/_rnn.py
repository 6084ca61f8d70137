"""RNN: Keras's layer around one of its cells, or a stack of them, run by compiled kernels."""

from __future__ import annotations

from typing import Any

import keras

from ._cells import borrowed
from ._layer import CompiledRNN


@keras.saving.register_keras_serializable(package="stepfold")
class RNN(CompiledRNN):
    """`keras.layers.RNN`, with every argument of it, run by compiled kernels where they serve its cell.

    They serve Keras's SimpleRNNCell, LSTMCell and GRUCell, and lists (or StackedRNNCells) of them, each run
    over all timesteps after the one below it. With another cell Keras's own loop runs, and one
    SlowPathWarning says so; write such a cell with `@stepfold.cell` for `Recurrent`.
    """

    def unsupported_reason(self) -> str | None:
        """Return which cell no kernel serves, and why."""
        for cell in _cells(self):
            found = borrowed(cell)
            if found is None:
                return f"its cell is {type(cell).__name__}; write it with @stepfold.cell, for Recurrent"
            reason = found.unsupported_reason()
            if reason is not None:
                return reason
        return None

    def run_kernels(self, sequences: Any, initial_state: list[Any], mask: Any, training: bool) -> Any:
        """Run one cell after the other; returns what `inner_loop` does."""
        cells = _cells(self)
        stacked = type(self.cell) is keras.layers.StackedRNNCells
        states = [_listed(state) for state in initial_state] if stacked else [initial_state]
        outputs, last = sequences, []
        for number, (cell, given) in enumerate(zip(cells, states, strict=True)):
            found = borrowed(cell)
            assert found is not None, "unsupported_reason was asked first"
            feed = found.feed(outputs, given, training)
            below = number + 1 < len(cells)
            outputs, new = self.scan(feed, cell.units, outputs, given, mask, below or self.return_sequences)
            last.append(new)
        flat = [state for new in last for state in new]
        final, outputs, _ = self.as_keras(outputs, last[-1], mask)
        return final, outputs, keras.tree.pack_sequence_as(initial_state, flat) if len(cells) > 1 else flat


def _cells(layer: Any) -> list[Any]:
    cell = layer.cell
    return list(cell.cells) if type(cell) is keras.layers.StackedRNNCells else [cell]


def _listed(state: Any) -> list[Any]:
    return list(state) if isinstance(state, (list, tuple)) else [state]
