"""PyTorch around the modules: compile, export, functional_call, checkpoint, autocast, two processes."""

from __future__ import annotations

import io
import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint
from torch_helpers import assert_same, flat, values_and_gradients

from stepfold.torch import GRU, LSTM, RNN, Recurrent

MODULES = {
    "lstm": lambda: LSTM(3, 6, 2, bidirectional=True),
    "projected": lambda: LSTM(3, 6, proj_size=2),
    "gru": lambda: GRU(3, 6, layer_norm=True),
    "rnn": lambda: RNN(3, 6, bias=False),
    "recurrent": lambda: Recurrent("carry_lstm", 3, 6, 2),
}
# what torch's own compiler says of itself
quiet = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
F32 = {"rtol": 1e-5, "atol": 1e-6}


@pytest.fixture(params=MODULES)
def module(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    return MODULES[request.param]()


@quiet
def test_compiled_without_a_graph_break(module: nn.Module) -> None:
    torch._dynamo.reset()
    compiled = torch.compile(module, fullgraph=True, dynamic=True, backend="aot_eager")
    for time_, batch in ((5, 4), (9, 2)):
        x, lengths = torch.randn(time_, batch, 3), torch.randint(0, time_ + 1, (batch,))
        assert_same(values_and_gradients(module, compiled, x), values_and_gradients(module, module, x), **F32)
        found, expected = (
            values_and_gradients(module, lambda x, f=f, n=lengths: f(x, lengths=n), x)
            for f in (compiled, module)
        )
        assert_same(found, expected, **F32)


@quiet
@pytest.mark.slow
def test_compile_time_does_not_grow_with_the_timesteps() -> None:
    module = Recurrent("gru", 3, 6, recurrent_dropout=0.1, zoneout=0.1)
    seconds, graphs = [], []
    for time_ in (2, 3, 1000):  # the first one also loads the compiler; each is a graph of its own
        torch._dynamo.reset()
        start = time.perf_counter()
        torch.compile(module, fullgraph=True, dynamic=False)(torch.randn(time_, 2, 3))[0].sum().backward()
        seconds.append(time.perf_counter() - start)
        graphs.append(torch._dynamo.explain(module)(torch.randn(time_, 2, 3)).op_count)
    assert graphs[1] == graphs[2]
    assert seconds[2] < 3 * seconds[1] + 1


@quiet
@pytest.mark.parametrize("strict", [False, True])
def test_exported_saved_and_loaded(module: nn.Module, strict: bool) -> None:
    module.eval()
    steps, rows = torch.export.Dim("time", min=1, max=1000), torch.export.Dim("rows", min=1, max=1000)
    program = torch.export.export(
        module, (torch.randn(5, 4, 3),), dynamic_shapes=({0: steps, 1: rows},), strict=strict
    )
    calls = [node for node in program.graph.nodes if "stepfold.scan" in str(node.target)]
    assert len(calls) == (4 if isinstance(module, LSTM) and module.bidirectional else module.num_layers)
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    loaded = torch.export.load(file).module()
    x = torch.randn(11, 3, 3)
    torch.testing.assert_close(loaded(x), module(x))


def test_functional_call(module: nn.Module) -> None:
    x = torch.randn(5, 4, 3)
    others = {name: torch.randn_like(p).requires_grad_() for name, p in module.named_parameters()}
    loss = functional_call(module, others, (x,))[0].square().sum()
    gradients = torch.autograd.grad(loss, list(others.values()))
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(others[name])
    module(x)[0].square().sum().backward()
    assert_same(list(gradients), [p.grad for p in module.parameters()], **F32)


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointed(module: nn.Module, reentrant: bool) -> None:
    x = torch.randn(5, 4, 3)

    def through(x: Tensor) -> Any:
        # the reentrant kind follows only tensors side by side
        outputs, *last = checkpoint(lambda x: tuple(flat(module(x))), x, use_reentrant=reentrant)
        return outputs, tuple(last)

    assert_same(values_and_gradients(module, through, x), values_and_gradients(module, module, x), **F32)


def test_autocast_runs_in_the_dtype_of_the_weights(module: nn.Module) -> None:
    x = torch.randn(5, 4, 3).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        outputs, last = module(x)
        again, _ = module(x, last)
    assert outputs.dtype == again.dtype == torch.bfloat16
    outputs.sum().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in module.parameters())
    if getattr(module, "num_layers", 1) == 1:
        torch.testing.assert_close(outputs, module(x.float())[0].bfloat16(), rtol=0, atol=0)


class Classifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.recurrent = LSTM(3, 6, 2, batch_first=True)
        self.own = Recurrent("ugrnn", 6, 5, batch_first=True)
        self.head = nn.Linear(5, 1)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        outputs, _ = self.recurrent(x, lengths=lengths)
        return self.head(self.own(outputs, lengths=lengths)[1][-1])


def _batch() -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(5)
    x = torch.randn(8, 6, 3, generator=random)
    return x, torch.randint(1, 7, (8,), generator=random), torch.randn(8, 1, generator=random)


def _train(model: nn.Module, rows: slice) -> None:
    x, lengths, y = (part[rows] for part in _batch())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(5):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x, lengths), y).backward()
        optimizer.step()


def _worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=2)
    torch.manual_seed(rank)  # DDP hands the first one's weights to the other
    model = Classifier()
    if rank == 0:
        torch.manual_seed(0)
        model = Classifier()
    parallel = nn.parallel.DistributedDataParallel(model)
    _train(parallel, slice(4 * rank, 4 * rank + 4))
    torch.save(model.state_dict(), f"{folder}/{rank}")
    del parallel
    torch.distributed.barrier()  # one that leaves early can take the other's threads by surprise
    torch.distributed.destroy_process_group()


@pytest.mark.slow
@quiet
def test_two_processes_train_as_one(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_worker, args=(rank, str(tmp_path))) for rank in range(2)]
    for worker in workers:
        worker.start()
    torch.manual_seed(0)
    alone = Classifier()
    _train(alone, slice(None))
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    first, second = (torch.load(os.path.join(tmp_path, str(rank)), weights_only=True) for rank in range(2))
    for name, weight in alone.state_dict().items():
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], weight, rtol=1e-4, atol=1e-5)
