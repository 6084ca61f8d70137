"""What `company` times: one layer's training step alone, and inside a program of other PyTorch operations."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

import stepfold
import stepfold.torch
from stepfold._native import last_executor

from ._cells import CELLS
from ._harness import NamedArrays
from ._peers_torch import LoopLayer, has_layer, layer_module, named_weights
from ._problems import Problem, Shape
from ._report import OURS

VOCABULARY_SIZE, CLASSES = 2_000, 16
WORKERS = 2
NUMPY = f"{OURS} from NumPy"
"""The side without PyTorch."""

Batch = tuple[Tensor, Tensor]
"""Token ids and the class of each token, both (batch, time) int64."""


@dataclass(frozen=True)
class Step:
    """A finished training step: the seconds in the layer, its executor, and the arrays to compare."""

    layer_seconds: float
    executor: str
    arrays: Callable[[], NamedArrays]


@dataclass(frozen=True)
class Layer:
    """A recurrent layer of PyTorch: inputs (batch, time, features) → outputs (batch, time, units).

    `gradients` gives those of the parameters, in the form of `HandCell.fused`, the same on every side.
    """

    name: str
    module: nn.Module
    gradients: Callable[[], NamedArrays]

    def __call__(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.module(x)[0]
        return outputs

    def executor(self) -> str:
        """Return what the last call of this layer ran on, "" for PyTorch's own."""
        return last_executor() if self.name == OURS else ""


def layers(p: Problem) -> tuple[Layer, Layer]:
    """Return stepfold's layer and PyTorch's, of `torch.nn` or a loop over timesteps, with equal weights."""
    name, (features, units) = p.cell.name, p.shape[2:]
    if has_layer(name):
        theirs = layer_module(name, features, units, p.params)
        ours = getattr(stepfold.torch, type(theirs).__name__)(features, units, batch_first=True)
        ours.load_state_dict(theirs.state_dict())

        def drop_in(module: nn.Module) -> Callable[[], NamedArrays]:
            return lambda: named_weights(name, _gradients(module).values())

        label = f"torch.nn.{type(theirs).__name__}"
        return Layer(OURS, ours, drop_in(ours)), Layer(label, theirs, drop_in(theirs))
    ours = stepfold.torch.Recurrent(p.cell, features, units, batch_first=True)
    ours.load_state_dict({f"{key}_l0": torch.from_numpy(value) for key, value in p.params.items()})
    loop = LoopLayer(name, p.params)

    def own() -> NamedArrays:
        return CELLS[name].fused({key.removesuffix("_l0"): g for key, g in _gradients(ours).items()})

    return Layer(OURS, ours, own), Layer("torch loop", loop, lambda: _gradients(loop))


def _gradients(module: nn.Module) -> dict[str, Any]:
    return {name: _array(value.grad) for name, value in module.named_parameters()}


def _array(value: Any) -> Any:
    return value.detach().numpy().copy()  # the next step writes into the same memory


def alone(layer: Layer, p: Problem) -> Callable[[], Step]:
    """Return the layer's training step and nothing else."""
    x, output_gradient = torch.from_numpy(p.inputs), torch.from_numpy(p.output_gradient)

    def step() -> Step:
        layer.module.zero_grad()
        leaf = x.detach().requires_grad_()
        start = time.perf_counter()
        outputs = layer(leaf)
        outputs.backward(output_gradient)
        seconds = time.perf_counter() - start
        return Step(seconds, layer.executor(), lambda: _arrays(layer, outputs, leaf))

    return step


def from_numpy(p: Problem, threads: int) -> Callable[[], Step]:
    """Return the same training step through `stepfold.record`, on arrays of NumPy."""

    def step() -> Step:
        start = time.perf_counter()
        run = stepfold.record(p.cell, p.inputs, p.params, return_sequences=True, threads=threads)
        gradients = run.backward(p.output_gradient)
        seconds = time.perf_counter() - start
        arrays = {"outputs": run.output, "gradient of inputs": gradients.inputs}
        arrays |= CELLS[p.cell.name].fused(gradients.params)
        return Step(seconds, last_executor(), lambda: arrays)

    return step


def _arrays(layer: Layer, outputs: Tensor, inputs: Tensor) -> dict[str, Any]:
    both = {"outputs": _array(outputs), "gradient of inputs": _array(inputs.grad)}
    return {**both, **layer.gradients()}


class Tagger:
    """A user's program around the layer: Embedding → layer → Linear, cross-entropy of each token, Adam.

    `step` makes one training step. Its `layer_seconds` are those of the layer's forward and backward pass;
    the other operations run before, between and after them, on PyTorch's threads.
    """

    def __init__(self, layer: Layer, shape: Shape, batches: Iterator[Batch]) -> None:
        features, units = shape[2:]
        torch.manual_seed(7)
        self.layer, self.batches = layer, batches
        self.embedding, self.head = nn.Embedding(VOCABULARY_SIZE, features), nn.Linear(units, CLASSES)
        modules = (self.embedding, layer.module, self.head)
        self.optimizer = torch.optim.Adam([value for module in modules for value in module.parameters()])

    def step(self) -> Step:
        ids, targets = next(self.batches)
        self.optimizer.zero_grad()
        embedded = self.embedding(ids)
        inputs = embedded.detach().requires_grad_()

        start = time.perf_counter()
        outputs = self.layer(inputs)
        seconds = time.perf_counter() - start

        seen = outputs.detach().requires_grad_()
        loss = functional.cross_entropy(self.head(seen).flatten(0, 1), targets.flatten())
        loss.backward()

        start = time.perf_counter()
        outputs.backward(seen.grad)
        seconds += time.perf_counter() - start
        executor = self.layer.executor()

        embedded.backward(inputs.grad)
        self.optimizer.step()

        def arrays() -> NamedArrays:
            head = {f"gradient of the head's {name}": g for name, g in _gradients(self.head).items()}
            embedding = _array(self.embedding.weight.grad)
            found = _arrays(self.layer, outputs, inputs)
            return {"loss": _array(loss), "gradient of the embedding": embedding, **head, **found}

        return Step(seconds, executor, arrays)


class Reviews(Dataset[Batch]):  # type: ignore[misc]  # torch has no types here
    """Random token ids, the first ones the most common, and a class for each token; without an end."""

    def __init__(self, time_: int) -> None:
        self.time = time_

    def __len__(self) -> int:
        return 10_000_000

    def __getitem__(self, index: int) -> Batch:
        ids = np.random.default_rng(index).zipf(1.2, self.time) % VOCABULARY_SIZE
        return torch.from_numpy(ids), torch.from_numpy(ids % CLASSES)


def batches(shape: Shape, workers: int) -> Iterator[Batch]:
    """Return the batches of a program, made by `workers` processes; without any, the same batch each time."""
    loader = DataLoader(Reviews(shape[1]), shape[0], num_workers=workers)
    if workers:
        return iter(loader)
    one: Batch = next(iter(loader))
    return iter(lambda: one, None)
