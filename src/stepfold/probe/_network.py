"""A cell with a dense readout: predictions, and the gradients of the loss."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._cell import Cell
from .._defaults import default_sizes
from .._runtime import Recipe, Run, record, scan
from ..tasks import Task

Array = NDArray[np.float32]
Weights = dict[str, Array]

KERNEL, BIAS = "readout.kernel", "readout.bias"
"""The readout's names among the weights, (width, outputs) and (outputs,); no parameter's name has a dot."""


class Network:
    """A cell over the inputs of a task, and a dense readout of its output at the timesteps of the answers."""

    def __init__(self, cell: Cell, task: Task, threads: int | None = None) -> None:
        self.cell, self.task, self.threads = cell, task, threads

    def init(self, units: int, seed: int) -> Weights:
        """Return initial weights: the cell's as `cell.init` has them, the sizes of other axes by default, the
        readout Glorot-uniform, no bias."""
        random = np.random.default_rng((seed, 1))
        step, sizes = self.cell.step, default_sizes(self.cell, units)
        (width,) = Recipe.of(step, units, {"features": self.task.features, **sizes}).output_shape
        limit = np.sqrt(6.0 / (width + self.task.outputs))
        kernel = random.uniform(-limit, limit, (width, self.task.outputs)).astype(np.float32)
        weights: Weights = self.cell.init(self.task.features, units, seed=seed, **sizes)
        return {**weights, KERNEL: kernel, BIAS: np.zeros(self.task.outputs, np.float32)}

    def of_cell(self, weights: Weights) -> Weights:
        """Return the weights that are the cell's."""
        return {name: weights[name] for name in self.cell.step.parameters}

    def predict(self, inputs: Array, weights: Weights) -> Array:
        """Return what `Task.score` takes: (batch, answers, outputs)."""
        found = scan(
            self.cell,
            inputs,
            self.of_cell(weights),
            return_sequences=self.task.answers > 1,
            threads=self.threads,
        )
        return self._read(self._answering(found), weights)

    def gradients(self, inputs: Array, targets: NDArray[Any], weights: Weights) -> tuple[Array, Weights]:
        """Return the predictions (batch, answers, outputs), and the mean loss's gradient by each weight.

        The loss is the cross-entropy of classes, or the squared error of numbers."""
        run = record(
            self.cell,
            inputs,
            self.of_cell(weights),
            return_sequences=self.task.answers > 1,
            threads=self.threads,
        )
        output = self._answering(run.output)  # (B, answers, H)
        predicted = self._read(output, weights)
        with np.errstate(over="ignore", invalid="ignore"):  # a diverged step is found by its gradient
            by_predicted = self._loss_gradient(predicted, targets)
            by_output = by_predicted @ weights[KERNEL].T
            kernel = np.tensordot(output, by_predicted, ((0, 1), (0, 1)))
        found = run.backward(self._to_all_timesteps(by_output, run))
        return predicted, {**found.params, KERNEL: kernel, BIAS: by_predicted.sum((0, 1))}

    def _answering(self, output: Array) -> Array:
        """The output at the timesteps of the answers: (batch, answers, units)."""
        return output[:, -self.task.answers :] if self.task.answers > 1 else output[:, None]

    def _to_all_timesteps(self, gradient: Array, run: Run) -> Array:
        if self.task.answers == 1:
            return gradient[:, 0]
        full = np.zeros_like(run.output)
        full[:, -self.task.answers :] = gradient
        return full

    def _read(self, output: Array, weights: Weights) -> Array:
        with np.errstate(over="ignore", invalid="ignore"):
            predicted: Array = output @ weights[KERNEL] + weights[BIAS]
        return predicted

    def _loss_gradient(self, predicted: Array, targets: NDArray[Any]) -> Array:
        if not self.task.classes:
            error: Array = predicted - targets[..., None]
            return error * np.float32(2.0 / targets.size)
        powers = np.exp(predicted - predicted.max(-1, keepdims=True))
        shares: Array = powers / powers.sum(-1, keepdims=True)
        shares -= np.eye(self.task.classes, dtype=np.float32)[targets]
        return shares / np.float32(targets.size)
