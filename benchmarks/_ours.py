"""Our sides: `stepfold.record` for a training step, `stepfold.scan` for a prediction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import stepfold
from stepfold._runtime import Call, Recipe, Threads, engine_for
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


def _with_dropout(p: Problem, mask: Array, threads: int) -> Callable[[], Training]:
    """Return a training step with recurrent dropout, which only the layers offer, by the calls they make."""
    *_, units = p.shape
    step = recurrent_dropout(p.cell.step)
    extra = {recurrent_dropout_leaf(name): mask for name in recurrent_kernels(p.cell.step)}
    recipe = Recipe.of(step, units).but(extra=tuple(extra))
    weights = [p.params[name] for name in step.parameters]
    call = Call(
        engine_for(step, units, np.dtype("float32")),
        recipe,
        p.inputs,
        weights,
        extra=list(extra.values()),
        threads=Threads.own(threads),
    )

    def training() -> Training:
        found = call.forward(outputs=True, training=True)
        assert found.residuals is not None
        back = call.backward(
            found.residuals,
            output_gradient=p.output_gradient,
            last_gradients=[None for _ in step.states],
        )
        assert found.outputs is not None
        assert back.inputs is not None
        params = {n: g for n, g in zip(step.parameters, back.weights, strict=True) if g is not None}
        return found.outputs, back.inputs, params

    return training


def ours(p: Problem, threads: int, *, training: bool) -> Side:
    """stepfold on NumPy arrays."""

    def arrays(result: Any) -> NamedArrays:
        output, input_gradient, param_gradients = result
        return {"output": output, "inputs": input_gradient, **CELLS[p.cell.name].fused(param_gradients)}

    if training:
        return Side(OURS, training_step(p, threads), arrays)
    return Side(OURS, prediction(p, threads), lambda output: {"output": output})
