"""PyTorch's own table of module inputs: the numbers, gradients, pickles and representations of torch.nn's."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, vmap
from torch.nn.utils.rnn import PackedSequence
from torch.testing._internal.common_modules import ModuleInput, module_db
from torch.utils import _pytree as pytree

import stepfold.torch

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*dropout option adds dropout after all but last recurrent layer"),
    pytest.mark.filterwarnings("ignore:.*is not supported with oneDNN"),
]
NAMES = ("RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell")
OURS = {getattr(nn, name): getattr(stepfold.torch, name) for name in NAMES}


def rows() -> Iterator[Any]:
    """Every row of the table for the modules, in both dtypes, for inference and training."""
    for info in module_db:
        if info.module_cls not in OURS:
            continue
        for dtype in (torch.float32, torch.float64):
            for training in (False, True):
                found = info.module_inputs_func(
                    info, device="cpu", dtype=dtype, requires_grad=True, training=training
                )
                for number, each in enumerate(found):
                    kind = f"{info.name}-{str(dtype)[6:]}-{'train' if training else 'infer'}-{number}"
                    quick = dtype == torch.float64 and training
                    marks = [] if quick else [pytest.mark.slow]
                    yield pytest.param(info.module_cls, each, dtype, training, id=kind, marks=marks)


ROWS = list(rows())


def built(cls: Any, row: ModuleInput, dtype: torch.dtype, training: bool) -> tuple[nn.Module, nn.Module]:
    """torch.nn's module and ours of a row, with the same weights."""
    given = row.constructor_input
    torch.manual_seed(0)
    options = {**given.kwargs, "dtype": dtype}
    theirs, ours = cls(*given.args, **options), OURS[cls](*given.args, **options)
    ours.load_state_dict(theirs.state_dict())
    return theirs.train(training), ours.train(training)


def tensors(tree: Any) -> list[torch.Tensor]:
    leaves = [leaf.data if isinstance(leaf, PackedSequence) else leaf for leaf in pytree.tree_leaves(tree)]
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor) and leaf.is_floating_point()]


def run(module: nn.Module, row: ModuleInput) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """The results, and the gradients of inputs and parameters."""
    args, kwargs = copy.deepcopy((row.forward_input.args, row.forward_input.kwargs))
    results = tensors(module(*args, **kwargs))
    leaves = [t for t in tensors((args, kwargs)) if t.requires_grad] + list(module.parameters())
    total = torch.stack([(r.sin() * r).sum() for r in results]).sum()
    return results, list(torch.autograd.grad(total, leaves, allow_unused=True))


def test_the_table_has_rows() -> None:
    assert {row.values[0] for row in ROWS} == set(OURS)
    assert len(ROWS) > 50


@pytest.mark.parametrize(("cls", "row", "dtype", "training"), ROWS)
def test_numbers_gradients_and_representations(
    cls: Any, row: ModuleInput, dtype: torch.dtype, training: bool
) -> None:
    theirs, ours = built(cls, row, dtype, training)
    # gradients are sums over the batch and time, in another order than torch's
    loose = {"rtol": 1e-3, "atol": 1e-4} if dtype == torch.float32 else {"rtol": 1e-9, "atol": 1e-10}
    expected, found = run(theirs, row), run(ours, row)
    for mine, own in zip(found, expected, strict=True):
        for a, b in zip(mine, own, strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                torch.testing.assert_close(a, b, **loose)
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for other in (pickle.loads(pickle.dumps(ours)), copy.deepcopy(ours)):
        torch.testing.assert_close(run(other, row)[0], found[0], rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cls", "row", "dtype", "training"), [row for row in ROWS if "float64-train" in str(row.id)]
)
def test_functional_transforms(cls: Any, row: ModuleInput, dtype: torch.dtype, training: bool) -> None:
    theirs, ours = built(cls, row, dtype, training)
    args, kwargs = row.forward_input.args, row.forward_input.kwargs
    if isinstance(args[0], PackedSequence):
        pytest.skip("torch.nn's modules take no PackedSequence under vmap either")

    def loss(params: Any, module: nn.Module, x: torch.Tensor) -> torch.Tensor:
        results = functional_call(module, params, (x, *args[1:]), kwargs)
        return torch.stack([(r.sin() * r).sum() for r in tensors(results)]).sum()

    many = torch.stack([args[0], args[0] * 0.5]).detach()
    params = {name: value.detach() for name, value in ours.named_parameters()}
    found = vmap(grad(lambda p, x: loss(p, ours, x)), in_dims=(None, 0))(params, many)
    for k in range(2):
        expected = grad(lambda p, x: loss(p, theirs, x))(params, many[k])
        for name, value in expected.items():
            torch.testing.assert_close(found[name][k], value, rtol=1e-8, atol=1e-9)
