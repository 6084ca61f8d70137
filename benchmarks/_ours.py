"""Our sides: `stepfold.record` for a training step, `stepfold.scan` for a prediction."""

from __future__ import annotations

from typing import Any

import stepfold

from ._cells import CELLS
from ._harness import Numbers, Side
from ._problems import Problem
from ._report import OURS


def ours(p: Problem, threads: int, *, training: bool) -> Side:
    """stepfold on NumPy arrays."""

    def train() -> Any:
        run = stepfold.record(p.cell, p.inputs, p.params, return_sequences=True, threads=threads)
        return run.output, run.backward(p.output_gradient)

    def numbers(result: Any) -> Numbers:
        output, gradients = result
        return {"output": output, "inputs": gradients.inputs, **CELLS[p.cell.name].fused(gradients.params)}

    def infer() -> Any:
        return stepfold.scan(p.cell, p.inputs, p.params, return_sequences=True, threads=threads)

    if training:
        return Side(OURS, train, numbers)
    return Side(OURS, infer, lambda output: {"output": output})
