"""Our sides: `stepfold.record` for a training step, `stepfold.scan` for a prediction."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

import stepfold
from stepfold._scan import Schedule, recurrence
from stepfold._transform import recurrent_dropout, recurrent_dropout_leaf, recurrent_kernels

from ._cells import CELLS
from ._harness import Numbers, Side
from ._problems import Array, Problem
from ._report import OURS

Training = tuple[Array, Array, dict[str, Array]]
"""Output, gradient of the inputs, gradients of the parameters."""


def training_step(p: Problem, threads: int, **options: Any) -> Callable[[], Training]:
    """Return a training step; `options` as in `stepfold.record`."""
    if p.recurrent_mask is not None:
        return _with_dropout(p, p.recurrent_mask, threads)

    def step() -> Training:
        run = stepfold.record(p.cell, p.inputs, p.params, return_sequences=True, threads=threads, **options)
        gradients = run.backward(p.output_gradient)
        return run.output, gradients.inputs, gradients.params

    return step


def prediction(p: Problem, threads: int) -> Callable[[], Array]:
    """Return a prediction of every timestep's output."""
    return lambda: stepfold.scan(p.cell, p.inputs, p.params, return_sequences=True, threads=threads)


def last_executor() -> str:
    """Return what the last call of a kernel ran on ("own threads", "OpenMP", "XLA"), "unknown" if nobody
    tells."""
    try:
        native = importlib.import_module("stepfold._native")
    except ModuleNotFoundError:
        return "unknown"
    return str(native.last_executor()) if hasattr(native, "last_executor") else "unknown"


def _with_dropout(p: Problem, mask: Array, threads: int) -> Callable[[], Training]:
    """Recurrent dropout belongs to the layers, so it is called below `record`, as they call it."""
    batch, time, _, units = p.shape
    made = recurrence(recurrent_dropout(p.cell.step), units, np.dtype("float32"))
    masks = {recurrent_dropout_leaf(name): mask for name in recurrent_kernels(p.cell.step)}
    schedule = Schedule.of(batch, time)

    def step() -> Training:
        kept = np.empty(made.kept_size(batch, time), np.float32)
        output = np.empty((batch, time, units), np.float32)
        to_inputs = np.empty_like(p.inputs)
        to_params = {name: np.empty_like(value) for name, value in p.params.items()}
        made.forward(schedule, p.inputs, p.params, extra=masks, outputs=output, kept=kept, threads=threads)
        made.backward(
            schedule,
            p.inputs,
            p.params,
            kept,
            extra=masks,
            output_gradient=p.output_gradient,
            inputs_gradient=to_inputs,
            params_gradient=to_params,
            threads=threads,
        )
        return output, to_inputs, to_params

    return step


def ours(p: Problem, threads: int, *, training: bool) -> Side:
    """stepfold on NumPy arrays."""

    def numbers(result: Any) -> Numbers:
        output, to_inputs, to_params = result
        return {"output": output, "inputs": to_inputs, **CELLS[p.cell.name].fused(to_params)}

    if training:
        return Side(OURS, training_step(p, threads), numbers)
    return Side(OURS, prediction(p, threads), lambda output: {"output": output})
