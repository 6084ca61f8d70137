"""What the tests of the PyTorch adapter share: runs whose values and gradients are compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stepfold import _warn
from stepfold.torch import SlowPathWarning


def flat(result: Any) -> list[Tensor]:
    """Every tensor of what a recurrent module returned: outputs, then the last states."""
    outputs, last = result
    states = list(last) if isinstance(last, tuple) else [last]
    return [outputs.data if isinstance(outputs, nn.utils.rnn.PackedSequence) else outputs, *states]


def values_and_gradients(
    module: nn.Module, run: Callable[..., Any], *leaves: Tensor, seed: int = 0
) -> list[Tensor]:
    """What `run(*leaves)` gives, and the gradients of leaves and parameters under random cotangents."""
    module.zero_grad()
    mine = [leaf.detach().clone().requires_grad_() for leaf in leaves]
    results = flat(run(*mine))
    random = torch.Generator().manual_seed(seed)
    cotangents = [torch.randn(r.shape, generator=random, dtype=r.dtype) for r in results]
    torch.autograd.backward(results, cotangents)
    gradients = [tensor.grad for tensor in [*mine, *module.parameters()]]
    assert all(g is not None for g in gradients)
    return [r.detach() for r in results] + [g.clone() for g in gradients if g is not None]


def assert_same(found: list[Tensor], expected: list[Tensor], **tolerances: float) -> None:
    """Every tensor equal to its counterpart; float64 unless told otherwise."""
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, **(tolerances or {"rtol": 1e-9, "atol": 1e-10}))


def twins(name: str, *arguments: Any, **options: Any) -> tuple[nn.Module, nn.Module]:
    """torch.nn's module and ours of the same name, with the same random weights, through a state_dict."""
    import stepfold.torch

    options.setdefault("dtype", torch.float64)
    theirs = getattr(nn, name)(*arguments, **options)
    ours = getattr(stepfold.torch, name)(*arguments, **options)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def initial(module: nn.Module, rows: int, seed: int = 1) -> list[Tensor]:
    """Random initial states of one of torch.nn's modules."""
    random = torch.Generator().manual_seed(seed)
    count = module.num_layers * (2 if module.bidirectional else 1)
    widths = [module.proj_size or module.hidden_size]
    widths += [module.hidden_size] if module.mode == "LSTM" else []
    return [torch.randn(count, rows, w, generator=random, dtype=torch.float64) for w in widths]


def as_hx(module: nn.Module, states: tuple[Tensor, ...]) -> Any:
    """States as the module takes them."""
    return None if not states else tuple(states) if module.mode == "LSTM" else states[0]


@pytest.fixture
def fresh_warnings(monkeypatch: pytest.MonkeyPatch) -> type[SlowPathWarning]:
    """A process in which no slow path was mentioned yet."""
    monkeypatch.setattr(_warn, "_said", set())
    return SlowPathWarning
