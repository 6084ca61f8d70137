"""`RecurrentCell` in a loop on plain tensors, where kernels run without the operator, beside nn.LSTMCell."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.utils import parametrizations
from torch.nn.utils.prune import l1_unstructured
from torch.utils.checkpoint import checkpoint

from stepfold import cell, tanh
from stepfold.torch import RecurrentCell

GATES = ("i", "f", "c", "o")
States = tuple[Tensor, Tensor]


class _Theirs(nn.Module):
    """torch.nn.LSTMCell with the parameters of ours."""

    def __init__(self, ours: RecurrentCell) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(ours.input_size, ours.hidden_size, dtype=ours.W_i.dtype)
        self.load(ours)

    def load(self, ours: RecurrentCell) -> None:
        with torch.no_grad():
            self.cell.weight_ih.copy_(joined(ours, "W"))
            self.cell.weight_hh.copy_(joined(ours, "U"))
            self.cell.bias_ih.copy_(joined(ours, "b"))
            self.cell.bias_hh.zero_()

    def forward(self, x: Tensor, hx: Any = None) -> Any:
        return self.cell(x, hx)

    def gradients(self) -> list[Tensor | None]:
        return [self.cell.weight_ih.grad, self.cell.weight_hh.grad, self.cell.bias_ih.grad]


def joined(module: nn.Module, kind: str) -> Tensor:
    return torch.cat([getattr(module, f"{kind}_{gate}") for gate in GATES])


def gradients(module: nn.Module) -> list[Tensor]:
    return [torch.cat([getattr(module, f"{kind}_{gate}").grad for gate in GATES]) for kind in "WUb"]


def pair(dtype: torch.dtype = torch.float64) -> tuple[RecurrentCell, _Theirs]:
    torch.manual_seed(0)
    ours = RecurrentCell("lstm", 3, 4, dtype=dtype)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return ours, _Theirs(ours)


def unroll(cell: nn.Module, x: Tensor, hx: Any = None) -> Tensor:
    """x (batch, time, features), whose steps are views with gaps between their rows."""
    outputs = []
    for t in range(x.shape[1]):
        hx = cell(x[:, t], hx)
        outputs.append(hx[0])
    return torch.stack([*outputs, hx[1]])


def sequence(requires_grad: bool = True) -> Tensor:
    return torch.randn(2, 5, 3, dtype=torch.float64).requires_grad_(requires_grad)


def start() -> States:
    h, c = torch.randn(2, 2, 4, dtype=torch.float64).requires_grad_()
    return h, c


def served(cell: RecurrentCell) -> bool:
    """Whether kernels ran without the operator."""
    return bool(cell._kernels._calls)


@pytest.mark.parametrize("given", [True, False])
def test_gradients_of_a_loop(given: bool) -> None:
    ours, theirs = pair()
    x, hx = sequence(), start() if given else None
    mine, other = unroll(ours, x, hx), unroll(theirs, x, hx)
    torch.testing.assert_close(mine, other)
    assert served(ours)
    leaves = [x, *(hx or ())]
    for _ in range(2):  # a graph that is kept, and gradients that are added
        found = torch.autograd.grad(mine.sin().sum(), leaves, retain_graph=True)
        mine.sin().sum().backward(retain_graph=True)
        expected = torch.autograd.grad(other.sin().sum(), leaves, retain_graph=True)
        other.sin().sum().backward(retain_graph=True)
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(gradients(ours), theirs.gradients())


@pytest.mark.parametrize("trained", ["U_f", "b_o", None])
def test_some_parameters_are_trained(trained: str | None) -> None:
    ours, theirs = pair()
    for name, parameter in ours.named_parameters():
        parameter.requires_grad_(name == trained)
    x = sequence(trained is None)
    unroll(ours, x).square().sum().backward()
    mine = {name: p.grad for name, p in ours.named_parameters() if p.grad is not None}
    assert list(mine) == ([] if trained is None else [trained])
    other, theirs_x = unroll(theirs, x.detach().requires_grad_()), x.grad
    other.square().sum().backward()
    if trained is None:
        again = x.detach().requires_grad_()
        unroll(theirs, again).square().sum().backward()
        torch.testing.assert_close(theirs_x, again.grad)
    else:
        expected = dict(zip("WUb", theirs.gradients(), strict=True))[trained[0]]
        assert expected is not None
        torch.testing.assert_close(mine[trained], expected.chunk(4)[GATES.index(trained[-1])])


def test_a_pass_that_wants_no_gradients_of_weights_leaves_none_behind() -> None:
    ours, theirs = pair()
    x = sequence()
    mine, other = unroll(ours, x).sin().sum(), unroll(theirs, x).sin().sum()
    torch.autograd.grad(mine, x, retain_graph=True)
    assert not ours._kernels._loop.gradients._sums
    mine.backward()
    other.backward()
    torch.testing.assert_close(gradients(ours), theirs.gradients())


def test_two_losses_of_one_loop_of_weights() -> None:
    ours, theirs = pair()
    x, y = sequence(), sequence()
    losses = [[unroll(module, each).cos().sum() for each in (x, y)] for module in (ours, theirs)]
    for first, second in losses:
        threads = [threading.Thread(target=loss.backward) for loss in (first, second)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
    torch.testing.assert_close(gradients(ours), theirs.gradients())


def test_weights_written_through_data_are_seen() -> None:
    ours, theirs = pair()
    x = sequence()
    unroll(ours, x).sum().backward()
    for parameter in ours.parameters():
        parameter.data.mul_(0.5)
    theirs.load(ours)
    torch.testing.assert_close(unroll(ours, x), unroll(theirs, x))
    with torch.no_grad():
        ours.U_i.data = torch.zeros_like(ours.U_i)
        theirs.load(ours)
        torch.testing.assert_close(unroll(ours, x), unroll(theirs, x))
        ours.U_i.data = torch.randn(4, 4, dtype=torch.float64).T  # not contiguous
        theirs.load(ours)
        torch.testing.assert_close(unroll(ours, x), unroll(theirs, x))


def test_weights_changed_between_forward_and_backward() -> None:
    ours, _ = pair()
    loss = unroll(ours, sequence()).sum()
    with torch.no_grad():
        ours.U_f.add_(1)
    with pytest.raises(
        RuntimeError, match=r"modified by an inplace operation: weight \d+, of shape \(4, 4\)"
    ):
        loss.backward()
    loss = unroll(ours, sequence()).sum()
    ours.U_f.data = torch.zeros(2, 2, dtype=torch.float64)
    with pytest.raises((RuntimeError, ValueError), match=r"weight \d+.*\(2, 2\)"):
        loss.backward()


def test_a_state_changed_in_place() -> None:
    ours, _ = pair()
    h, c = ours(sequence()[:, 0])
    after = ours(sequence()[:, 1], (h, c))[0]
    h.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        after.sum().backward()


@pytest.mark.filterwarnings("ignore::stepfold.torch.SlowPathWarning")
def test_second_derivatives_and_batched_gradients() -> None:
    ours, theirs = pair()
    found = []
    for each in (ours, theirs):
        x = sequence().detach().fill_(0.3).requires_grad_()
        outputs = unroll(each, x).sin()
        (first,) = torch.autograd.grad(outputs.sum(), x, create_graph=True)
        first.square().sum().backward()
        assert x.grad is not None
        found.append([x.grad, *(gradients(each) if each is ours else theirs.gradients())])
        (rows,) = torch.autograd.grad(
            unroll(each, x)[-1], x, torch.eye(8).double().reshape(8, 2, 4), is_grads_batched=True
        )
        found[-1].append(rows)
    torch.testing.assert_close(*found)


@pytest.mark.filterwarnings("ignore::stepfold.torch.SlowPathWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_transforms() -> None:
    ours, theirs = pair()
    x = sequence(False)
    torch.testing.assert_close(vmap(lambda row: ours(row)[0])(x[:, 0]), theirs(x[:, 0])[0])
    one = dict(ours.named_parameters())
    by_func = grad(lambda params: functional_call(ours, params, (x[:, 0],))[0].sum())(one)
    ours(x[:, 0])[0].sum().backward()
    torch.testing.assert_close(by_func, {name: p.grad for name, p in one.items()})
    _, tangent = torch.func.jvp(lambda v: theirs(v)[0], (x[:, 0],), (x[:, 1],))
    torch.testing.assert_close(torch.func.jvp(lambda v: ours(v)[0], (x[:, 0],), (x[:, 1],))[1], tangent)


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpoints(reentrant: bool) -> None:
    ours, theirs = pair()
    x = sequence()
    for each in (ours, theirs):
        middle = checkpoint(lambda v: unroll(each, v)[:-1], x, use_reentrant=reentrant)  # noqa: B023
        middle.sin().sum().backward()
    torch.testing.assert_close(gradients(ours), theirs.gradients())


def test_hooks_copies_and_modes() -> None:
    ours, theirs = pair()
    x, seen = sequence(), []
    ours.U_i.register_hook(lambda gradient: seen.append(gradient.clone()))
    ours.U_i.register_post_accumulate_grad_hook(lambda p: seen.append(p.grad.clone()))
    unroll(ours, x).sum().backward()
    assert len(seen) == 2
    torch.testing.assert_close(*seen)
    other = copy.deepcopy(ours)
    expected = unroll(theirs, x)
    torch.testing.assert_close(unroll(other, x), expected)
    with torch.no_grad():
        torch.testing.assert_close(unroll(ours, x), expected.detach())
        assert not unroll(ours, x).requires_grad
    with torch.inference_mode():
        assert unroll(ours, x).is_inference()
        torch.testing.assert_close(unroll(ours, x).clone(), expected.detach())
    torch.testing.assert_close(unroll(ours, x), expected)


def test_a_cell_that_changes_its_dtype() -> None:
    ours, theirs = pair()
    unroll(ours, sequence()).sum().backward()
    ours.zero_grad()
    ours.float()
    single = sequence(False).float()
    unroll(ours, single).sum().backward()
    unroll(theirs, single.double()).sum().backward()
    for mine, other in zip(gradients(ours), theirs.gradients(), strict=True):
        torch.testing.assert_close(mine.double(), other, rtol=1e-4, atol=1e-5)
    with pytest.raises((RuntimeError, ValueError), match=r"float64|Double|double"):
        ours(torch.zeros(1, 3, dtype=torch.float64))


@pytest.mark.parametrize(
    "change",
    [
        lambda cell: parametrizations.weight_norm(cell, "U_i"),
        lambda cell: l1_unstructured(cell, "U_i", 0.5),
        lambda cell: parametrizations.orthogonal(cell, "U_o"),
    ],
)
def test_parametrisations_and_pruning(change: Callable[[nn.Module], Any]) -> None:
    ours, theirs = pair()
    change(ours)
    x = sequence()
    theirs.load(ours)
    torch.testing.assert_close(unroll(ours, x), unroll(theirs, x))
    unroll(ours, x).sum().backward()
    assert all(p.grad is not None for p in ours.parameters())


@cell
def running_sum(x, h):  # type: ignore[no-untyped-def]
    return h + tanh(h) * 0.5


def test_a_cell_without_parameters() -> None:
    module, h = RecurrentCell(running_sum, 4, 4), torch.randn(2, 4, requires_grad=True)
    x = torch.zeros(2, 4)
    found = module(x, module(x, h))
    once = h + h.tanh() * 0.5
    expected = once + once.tanh() * 0.5
    torch.testing.assert_close(found, expected)
    mine, theirs = (torch.autograd.grad(each.sin().sum(), h)[0] for each in (found, expected))
    torch.testing.assert_close(mine, theirs)
