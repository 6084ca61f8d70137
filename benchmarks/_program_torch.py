"""The tutorial's program as a PyTorch user writes it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional

from ._cells import CELLS
from ._peers_torch import TorchFunctions, has_layer, layer_module, read_layer, set_threads
from ._program_task import EMBEDDING_SIZE, UNITS, Task


class TorchProgram:
    """Embedding → recurrent layer → one logit, RMSprop on the binary cross-entropy.

    With a mask, the layers of `torch.nn` get packed sequences; a loop over timesteps does not change the
    state at padding.
    """

    def __init__(self, task: Task, first: dict[str, Any]) -> None:
        set_threads(task.threads)
        self.task, self.first, self.hand = task, first, CELLS[task.cell]
        self.reset()

    def reset(self) -> None:
        first = self.first
        self.embedding = torch.nn.Embedding.from_pretrained(torch.tensor(first["embedding"]), freeze=False)
        if has_layer(self.task.cell):
            self.layer = layer_module(self.task.cell, EMBEDDING_SIZE, UNITS, first["cell"])
            own = list(self.layer.parameters())
        else:
            fused = self.hand.fused(first["cell"])
            self.own = {name: torch.nn.Parameter(torch.tensor(value)) for name, value in fused.items()}
            own = list(self.own.values())
        self.dense = torch.nn.Parameter(torch.tensor(first["dense"]))
        self.bias = torch.nn.Parameter(torch.tensor(first["dense bias"]))
        self.parameters = [self.embedding.weight, *own, self.dense, self.bias]
        self.optimizer = torch.optim.RMSprop(self.parameters, lr=1e-3, alpha=0.9, eps=1e-7)

    def weights(self) -> dict[str, Any]:
        if has_layer(self.task.cell):
            values = read_layer(self.task.cell, self.layer)
        else:
            values = {name: value.detach().numpy() for name, value in self.own.items()}
        values.update(embedding=self.embedding.weight.detach().numpy(), dense=self.dense.detach().numpy())
        values["dense bias"] = self.bias.detach().numpy()
        return {name: np.array(value) for name, value in values.items()}

    def logits(self, ids: torch.Tensor) -> torch.Tensor:
        last = self._layer(ids) if has_layer(self.task.cell) else self._loop(ids)
        return (last @ self.dense + self.bias)[:, 0]

    def _layer(self, ids: torch.Tensor) -> torch.Tensor:
        if self.task.mask:
            lengths = (ids != 0).sum(1)
            rolled = torch.arange(ids.shape[1]) + (ids.shape[1] - lengths)[:, None]
            ids = ids.gather(1, rolled % ids.shape[1])  # padding to the right, as packing expects it
            x: Any = torch.nn.utils.rnn.pack_padded_sequence(
                self.embedding(ids), lengths, batch_first=True, enforce_sorted=False
            )
        else:
            x = self.embedding(ids)
        states = self.layer(x)[1]
        return (states[0] if isinstance(states, tuple) else states)[0]

    def _loop(self, ids: torch.Tensor) -> torch.Tensor:
        w = self.own
        projected = functional.linear(
            self.embedding(ids), w["kernel"], None if self.hand.step_adds_bias else w["bias"]
        )
        states: tuple[torch.Tensor, ...] = (projected.new_zeros(len(ids), UNITS),) * self.hand.states
        active = (ids != 0)[:, :, None].unbind(1)
        for t, z in enumerate(projected.unbind(1)):
            new = self.hand.step(TorchFunctions, z, states, w, states[0])
            states = (
                tuple(torch.where(active[t], n, s) for n, s in zip(new, states, strict=True))
                if self.task.mask
                else new
            )
        return states[0]

    def predict(self, x: Any) -> Any:
        with torch.inference_mode():
            return torch.sigmoid(self.logits(torch.from_numpy(x).long())).numpy()

    def descend(self, x: Any, y: Any, rate: float) -> float:
        return self._step(torch.optim.SGD(self.parameters, lr=rate), torch.from_numpy(x), torch.from_numpy(y))

    def train(self, x: Any, y: Any) -> None:
        ids, labels = torch.from_numpy(x), torch.from_numpy(y)
        size = self.task.batch
        for start in range(0, len(ids), size):
            self._step(self.optimizer, ids[start : start + size], labels[start : start + size])

    def _step(self, optimizer: torch.optim.Optimizer, ids: torch.Tensor, labels: torch.Tensor) -> float:
        optimizer.zero_grad()
        loss = functional.binary_cross_entropy_with_logits(self.logits(ids.long()), labels)
        loss.backward()
        optimizer.step()
        return float(loss.detach())
