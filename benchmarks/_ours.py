"""Our sides: the compiled recurrence as an adapter calls it, with new arrays for every call's results."""

from __future__ import annotations

from typing import Any

import numpy as np

from stepfold._scan import Recurrence, Schedule, recurrence
from stepfold._transform import recurrent_dropout, recurrent_dropout_leaf, recurrent_kernels

from ._cells import CELLS
from ._harness import Numbers, Side
from ._problems import Array, Problem
from ._report import OURS


class Fold:
    """A problem made ready to `train` and `infer`; `lengths` (batch,) or None for whole rows."""

    def __init__(self, p: Problem, threads: int, lengths: Array | None = None) -> None:
        batch, time, _, units = p.shape
        step, self._extra = p.cell.step, None
        if p.recurrent_mask is not None:
            self._extra = {recurrent_dropout_leaf(name): p.recurrent_mask for name in recurrent_kernels(step)}
            step = recurrent_dropout(step)
        self._p, self._threads = p, threads
        self._made: Recurrence = recurrence(step, units, "float32")
        self._schedule = Schedule.of(batch, time, lengths=lengths)

    def _forward(self, kept: Array | None) -> Array:
        batch, time, _, units = self._p.shape
        output = np.empty((batch, time, units), np.float32)
        self._made.forward(
            self._schedule,
            self._p.inputs,
            self._p.params,
            extra=self._extra,
            outputs=output,
            kept=kept,
            threads=self._threads,
        )
        return output

    def infer(self) -> Array:
        """Return the output of every timestep."""
        return self._forward(None)

    def train(self) -> tuple[Array, Array, dict[str, Array]]:
        """Return the output, and the gradients of the inputs and of the parameters."""
        p = self._p
        kept = np.empty(self._made.kept_size(*p.shape[:2]), np.float32)
        output = self._forward(kept)
        to_inputs = np.empty_like(p.inputs)
        to_params = {name: np.empty_like(value) for name, value in p.params.items()}
        self._made.backward(
            self._schedule,
            p.inputs,
            p.params,
            kept,
            extra=self._extra,
            output_gradient=p.output_gradient,
            inputs_gradient=to_inputs,
            params_gradient=to_params,
            threads=self._threads,
        )
        return output, to_inputs, to_params


def ours(p: Problem, threads: int, *, training: bool) -> Side:
    """stepfold on NumPy arrays."""
    fold = Fold(p, threads)

    def numbers(result: Any) -> Numbers:
        output, to_inputs, to_params = result
        return {"output": output, "inputs": to_inputs, **CELLS[p.cell.name].fused(to_params)}

    if training:
        return Side(OURS, fold.train, numbers)
    return Side(OURS, fold.infer, lambda output: {"output": output})
