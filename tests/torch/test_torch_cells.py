"""`RNNCell`, `LSTMCell` and `GRUCell` beside torch.nn's, in a loop and in the habits of their users."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
import torch.fx
from torch import Tensor, nn
from torch_helpers import twins

import stepfold.torch
from stepfold.torch import accelerate, restore

KINDS = ("RNNCell", "LSTMCell", "GRUCell")
kinds = pytest.mark.parametrize("kind", KINDS)


def unroll(cell: nn.Module, x: Tensor, hx: Any = None) -> Tensor:
    """The output after each step of x (time, …)."""
    outputs = []
    for each in x:
        hx = cell(each, hx)
        outputs.append(hx[0] if isinstance(hx, tuple) else hx)
    return torch.stack(outputs)


def answers(cell: nn.Module, x: Tensor, hx: Any = None) -> list[Tensor]:
    """The outputs of a loop, and the gradients of its input and of the weights."""
    x = x.clone().requires_grad_()
    outputs = unroll(cell, x, hx)
    return [outputs.detach(), *torch.autograd.grad(outputs.sin().sum(), [x, *cell.parameters()])]


def served(cell: Any) -> bool:
    return bool(cell._kernels._calls)


@kinds
@pytest.mark.parametrize("units", [4, 9, 16])
@pytest.mark.parametrize("bias", [True, False])
def test_a_loop(kind: str, bias: bool, units: int) -> None:
    theirs, ours = twins(kind, 3, units, bias=bias)
    for x in (torch.randn(6, 2, 3).double(), torch.randn(6, 3).double()):
        torch.testing.assert_close(answers(ours, x), answers(theirs, x))
        state = torch.randn(*x.shape[1:-1], units).double()
        hx = (state, state.cos()) if kind == "LSTMCell" else state
        torch.testing.assert_close(answers(ours, x, hx), answers(theirs, x, hx))
    assert served(ours)
    assert repr(ours) == repr(theirs)
    assert isinstance(ours, getattr(nn, kind))


def test_the_other_activation() -> None:
    theirs, ours = twins("RNNCell", 3, 4, nonlinearity="relu")
    x = torch.randn(4, 2, 3).double()
    torch.testing.assert_close(answers(ours, x), answers(theirs, x))
    with pytest.raises(RuntimeError, match="Unknown nonlinearity: sine"):
        stepfold.torch.RNNCell(3, 4, nonlinearity="sine")(x[0].float())


@kinds
def test_gradients_are_added_up_without_sharing_memory(kind: str) -> None:
    theirs, ours = twins(kind, 3, 8)
    x = torch.randn(4, 2, 3).double()
    for _ in range(2):
        for cell in (theirs, ours):
            unroll(cell, x).sum().backward()
            nn.utils.clip_grad_norm_(cell.parameters(), 0.1)
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad)
    places = [p.grad.data_ptr() for p in ours.parameters() if p.grad is not None]
    assert len(set(places)) == 4


def test_only_the_recurrent_weights_are_trained() -> None:
    theirs, ours = twins("GRUCell", 3, 4)
    for cell in (theirs, ours):
        for name, parameter in cell.named_parameters():
            parameter.requires_grad_(name.endswith("hh"))
        unroll(cell, torch.ones(4, 2, 3).double()).sum().backward()
    assert ours.weight_ih.grad is None
    for name in ("weight_hh", "bias_hh"):
        torch.testing.assert_close(getattr(ours, name).grad, getattr(theirs, name).grad)


def test_many_steps_are_summed_in_several_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepfold.torch._weight_gradients._MOST_ELEMENTS", 500)
    theirs, ours = twins("LSTMCell", 3, 4)
    x = torch.randn(30, 2, 3).double()
    torch.testing.assert_close(answers(ours, x), answers(theirs, x))


@kinds
def test_accelerated_restored_copied_and_saved(kind: str) -> None:
    model = nn.Sequential(nn.Linear(3, 3), getattr(nn, kind)(3, 4))
    x = torch.randn(2, 3)
    expected, plain = model(x), set(vars(model[1]))
    accelerate(model)
    assert type(model[1]) is getattr(stepfold.torch, kind)
    assert model.report.swapped == ["1"]
    torch.testing.assert_close(model(x), expected)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        torch.testing.assert_close(other(x), expected)
    restore(model)
    assert type(model[1]) is getattr(nn, kind)
    assert set(vars(model[1])) == plain
    torch.testing.assert_close(model(x), expected)


@kinds
def test_what_kernels_do_not_serve_torch_does(kind: str) -> None:
    theirs, ours = twins(kind, 3, 4, dtype=torch.bfloat16)
    x = torch.randn(2, 3, dtype=torch.bfloat16)
    torch.testing.assert_close(ours(x), theirs(x))
    ours, theirs = ours.float(), theirs.float()
    with torch.autocast("cpu"):
        torch.testing.assert_close(ours(x.float()), theirs(x.float()))
    empty = torch.zeros(0, 3)
    torch.testing.assert_close(ours(empty), theirs(empty))
    assert not ours._kernels._calls
    for wrong in (torch.zeros(2, 5), torch.zeros(1, 1, 1, 3), torch.zeros(2, 3, dtype=torch.float64)):
        errors = []
        for cell in (theirs, ours):
            with pytest.raises((RuntimeError, ValueError)) as error:
                cell(wrong)
            errors.append(str(error.value))
        assert errors[0] == errors[1]


def test_autocast_of_the_backward_pass_alone() -> None:
    theirs, ours = twins("LSTMCell", 3, 4, dtype=torch.float32)
    x = torch.randn(5, 2, 3)
    mine, other = unroll(ours, x).sum(), unroll(theirs, x).sum()
    with torch.autocast("cpu"):
        mine.backward()
    other.backward()
    torch.testing.assert_close(ours.weight_hh.grad, theirs.weight_hh.grad)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.:DeprecationWarning")
def test_a_script_is_torch_s_module() -> None:
    theirs, ours = twins("GRUCell", 3, 4)
    x = torch.randn(2, 3).double()
    scripted = torch.jit.script(ours)
    assert scripted.original_name == "GRUCell"
    torch.testing.assert_close(scripted(x), theirs(x))


@kinds
def test_examples_side_by_side(kind: str) -> None:
    _, ours = twins(kind, 3, 4)
    x = torch.randn(5, 3).double()

    def loss(weights: Any, row: Tensor) -> Tensor:
        found = torch.func.functional_call(ours, weights, (row,))
        return (found[0] if isinstance(found, tuple) else found).sin().sum()

    weights = {name: p.detach() for name, p in ours.named_parameters()}
    found = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(weights, x)
    for k, row in enumerate(x):
        expected = torch.autograd.grad(loss(dict(ours.named_parameters()), row), list(ours.parameters()))
        for mine, other in zip(found.values(), expected, strict=True):
            torch.testing.assert_close(mine[k], other)


@kinds
def test_a_graph_of_torch_fx_has_it_as_a_leaf(kind: str) -> None:
    theirs, ours = twins(kind, 3, 4)
    graph = torch.fx.symbolic_trace(nn.Sequential(nn.Linear(3, 3).double(), ours))
    assert [node.target for node in graph.graph.nodes if node.op == "call_module"] == ["0", "1"]
    x = torch.randn(2, 3).double()
    torch.testing.assert_close(graph(x), theirs(graph.get_submodule("0")(x)))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit.trace.*:DeprecationWarning")
@kinds
def test_it_is_compiled_and_exported(kind: str) -> None:
    theirs, ours = twins(kind, 3, 4)
    x = torch.randn(2, 3).double()
    compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), theirs(x))
    torch.testing.assert_close(torch.export.export(ours, (x,)).module()(x), theirs(x))
    torch.testing.assert_close(torch.jit.trace(ours, (x,))(x), theirs(x))
