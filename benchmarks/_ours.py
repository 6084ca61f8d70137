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
from ._harness import NamedArrays, Side
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
    """Return the executor of the last call ("own threads", "OpenMP", "XLA"), "unknown" without
    `stepfold._native.last_executor`."""
    try:
        native = importlib.import_module("stepfold._native")
    except ModuleNotFoundError:
        return "unknown"
    return str(native.last_executor()) if hasattr(native, "last_executor") else "unknown"


def _with_dropout(p: Problem, mask: Array, threads: int) -> Callable[[], Training]:
    """Return a training step with recurrent dropout, which only the layers offer, by the calls they make."""
    batch, time, _, units = p.shape
    made = recurrence(recurrent_dropout(p.cell.step), units, np.dtype("float32"))
    masks = {recurrent_dropout_leaf(name): mask for name in recurrent_kernels(p.cell.step)}
    schedule = Schedule.of(batch, time)

    def step() -> Training:
        residuals = np.empty(made.kept_size(batch, time), np.float32)
        output = np.empty((batch, time, units), np.float32)
        input_gradient = np.empty_like(p.inputs)
        param_gradients = {name: np.empty_like(value) for name, value in p.params.items()}
        made.forward(
            schedule, p.inputs, p.params, extra=masks, outputs=output, kept=residuals, threads=threads
        )
        made.backward(
            schedule,
            p.inputs,
            p.params,
            residuals,
            extra=masks,
            output_gradient=p.output_gradient,
            inputs_gradient=input_gradient,
            params_gradient=param_gradients,
            threads=threads,
        )
        return output, input_gradient, param_gradients

    return step


def ours(p: Problem, threads: int, *, training: bool) -> Side:
    """stepfold on NumPy arrays."""

    def arrays(result: Any) -> NamedArrays:
        output, input_gradient, param_gradients = result
        return {"output": output, "inputs": input_gradient, **CELLS[p.cell.name].fused(param_gradients)}

    if training:
        return Side(OURS, training_step(p, threads), arrays)
    return Side(OURS, prediction(p, threads), lambda output: {"output": output})
