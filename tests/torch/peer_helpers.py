"""What the comparisons with other packages share: one problem, computed by both, forward and backward."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from stepfold import Cell
from stepfold.torch import run

Params = Mapping[str, Tensor]
Peer = Callable[..., Tensor]
FEATURES, UNITS, BATCH, TIME = 3, 5, 2, 7
SINGLE = torch.float32
"""What some packages compute in, whatever they are given."""
TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-4}
"""Of the greatest value of each output and each gradient."""


def rows(params: Params, prefix: str, names: Sequence[str]) -> Tensor:
    """The parameters prefix_name one below the other, as packages keep the gates of a layer."""
    return torch.cat([params[f"{prefix}_{name}"] for name in names])


def linears(p: Params, x: Tensor, *names: str) -> list[Tensor]:
    """W_name @ x, with the bias b_name where there is one."""
    return [linear(x, p[f"W_{name}"], p.get(f"b_{name}")) for name in names]


def over_time(step: Callable[..., Any], x: Tensor, *states: Tensor) -> Tensor:
    """The first of the states after each timestep; `step(x, *states)` returns the new ones."""
    outputs = []
    for at in x.unbind(1):
        states = step(at, *states)
        outputs.append(states[0])
    return torch.stack(outputs, 1)


def zeros(x: Tensor, units: int = UNITS) -> Tensor:
    """A state of zeros for a batch."""
    return x.new_zeros((len(x), units))


def call(module: nn.Module, weights: Params, *arguments: Any, **options: Any) -> Any:
    """The module's result with these weights, through which gradients flow to whatever made them."""
    return torch.func.functional_call(module, dict(weights), arguments, options)


def file_of(package: str, path: str) -> ModuleType:
    """A file of an installed package without the package's own imports, which need a GPU's compiler or more.

    A folder's `__init__.py` brings the files beside it. Skips the test if the package is not there.
    """
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        pytest.skip(f"{package} is not installed")
    whole = Path(next(iter(found.submodule_search_locations))) / path
    name = f"{package}_{path.removesuffix('.py').replace('/', '_')}"
    spec = importlib.util.spec_from_file_location(name, whole)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
    return module


def assert_same(
    cell: Cell,
    peer: Peer,
    *,
    dtype: torch.dtype = torch.float64,
    given: Callable[[dict[str, Tensor]], Params] = dict,
    inputs: Sequence[Tensor] | None = None,
    constant: Sequence[int] = (),
    features: int = FEATURES,
    scale: float = 0.5,
    **sizes: int,
) -> None:
    """Assert that `peer(params, *inputs)` gives the cell's outputs, and the same gradients of a weighted sum.

    `given` makes the parameters of both from the leaves that are drawn, where the peer has a part of the
    cell's freedom alone; `constant` inputs have no gradient.
    """
    random = torch.Generator().manual_seed(7)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random, dtype=torch.float64).to(dtype)

    shapes = cell.parameter_shapes(features=features, units=UNITS, **sizes)
    leaves = {name: (scale * drawn(*shape)).requires_grad_() for name, shape in shapes.items()}
    values = inputs or [drawn(BATCH, TIME, features)]
    xs = [x.clone().requires_grad_(k not in constant) for k, x in enumerate(values)]
    weights: Tensor | None = None
    results = []
    for compute in (lambda p: run(cell, tuple(xs) if len(xs) > 1 else xs[0], p)[0], lambda p: peer(p, *xs)):
        output = compute(given(leaves))
        weights = drawn(*output.shape) if weights is None else weights
        every = {f"input {k}": x for k, x in enumerate(xs) if k not in constant} | leaves
        found = torch.autograd.grad((output * weights).sum(), list(every.values()), allow_unused=True)
        gradients = {name: g for name, g in zip(every, found, strict=True) if g is not None}
        results.append({"output": output.detach(), **gradients})
    ours, theirs = results
    reached = {name for name, value in ours.items() if value.abs().max() > 0}
    assert "output" in reached
    assert len(reached) > 2
    for name in reached | {name for name, value in theirs.items() if value.abs().max() > 0}:
        difference, size = (ours[name] - theirs[name]).abs().max(), theirs[name].abs().max()
        assert difference <= TOLERANCES[dtype] * max(size, 1e-6), (
            f"{cell.name}: {name} differs by {difference}"
        )
