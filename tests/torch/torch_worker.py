"""Trains a model in one of several processes, in every way that PyTorch has, for `test_torch_processes.py`.

    python torch_worker.py FILE RANK RANKS STORE

RANK's file says, for each way, the largest difference from training in one process, and what is sharded.
"""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

import stepfold.torch

BATCH, STEPS = 8, 3


class Network(nn.Module):
    """Tokens, a stack in both directions, a cell of any kind, and a cell that is called step by step."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 4)
        self.stack = stepfold.torch.LSTM(4, 6, num_layers=2, bidirectional=True, batch_first=True)
        self.recurrent = stepfold.torch.Recurrent("layer_norm_lstm", 12, 5, batch_first=True)
        self.cell = stepfold.torch.GRUCell(5, 3)
        self.head = nn.Linear(3, 1)

    def forward(self, ids: Tensor) -> Tensor:
        """(batch, time) → (batch, 1)."""
        sequences, _ = self.recurrent(self.stack(self.embedding(ids))[0])
        state = None
        for inputs in sequences.unbind(1):
            state = self.cell(inputs, state)
        return self.head(state)


def train(network: nn.Module, rows: slice = slice(None)) -> None:
    random = torch.Generator().manual_seed(1)
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.5)
    for _ in range(STEPS):
        ids = torch.randint(20, (BATCH, 7), generator=random)
        targets = torch.randn(BATCH, 1, generator=random)
        optimizer.zero_grad()
        nn.functional.mse_loss(network(ids[rows]), targets[rows]).backward()
        optimizer.step()


def sharded(network: nn.Module) -> nn.Module:
    mesh = init_device_mesh("cpu", (distributed.get_world_size(),))
    for part in (network.stack, network.recurrent, network.cell):
        fully_shard(part, mesh=mesh)
    return fully_shard(network, mesh=mesh)


WAYS: dict[str, Callable[[nn.Module], Any]] = {
    "ddp": DistributedDataParallel,
    "fsdp": sharded,
    "compiled ddp": lambda network: torch.compile(DistributedDataParallel(network)),
    "compiled fsdp": lambda network: torch.compile(sharded(network)),
}


def main(file: str, rank: int, ranks: int, store: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=ranks, timeout=timedelta(seconds=120)
    )
    torch.manual_seed(0)
    begin, found = Network().double(), {}
    alone = copy.deepcopy(begin)
    train(alone)
    for way, wrap in WAYS.items():
        network = copy.deepcopy(begin)
        train(wrap(network), slice(rank * BATCH // ranks, (rank + 1) * BATCH // ranks))
        weights = list(network.parameters())
        whole = [w.full_tensor() if isinstance(w, DTensor) else w for w in weights]
        found[way] = {
            "difference": max(
                float((w - a).abs().max()) for w, a in zip(whole, alone.parameters(), strict=True)
            ),
            "moved": min(float((w - b).abs().max()) for w, b in zip(whole, begin.parameters(), strict=True)),
            "sharded": all(isinstance(w, DTensor) for w in weights),
        }
    distributed.barrier()
    distributed.destroy_process_group()
    Path(file).write_text(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
