"""What people do with models of torch.nn.LSTM: each with torch.nn's module and with ours, to the same end."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize
from torch.optim import swa_utils
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

import stepfold.torch

X = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(0))


class Model(nn.Module):
    """A classifier of sequences."""

    def __init__(self, package: Any) -> None:
        super().__init__()
        self.recurrent = package.LSTM(8, 16, batch_first=True)
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.recurrent(x)[0][:, -1])


class Lower(nn.Module):
    """A parametrisation."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight.tril()


def trained(model: nn.Module, steps: int = 2, **options: Any) -> Tensor:
    """The outputs after some steps."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 1e-2, **options)
    for _ in range(steps):
        optimizer.zero_grad()
        model(X).square().mean().backward()
        optimizer.step()
    return model(X)


def gradients(model: nn.Module, outputs: Tensor) -> list[Tensor | None]:
    outputs.sum().backward()
    return [parameter.grad for parameter in model.parameters()]


def partial_load(model: nn.Module) -> Any:
    state = model.state_dict()
    del state["recurrent.weight_hh_l0"]
    state["more"] = torch.zeros(1)
    found = copy.deepcopy(model).load_state_dict(state, strict=False)
    with pytest.raises(RuntimeError) as error:
        model.load_state_dict(state)
    return found.missing_keys, found.unexpected_keys, str(error.value)


def saved_whole(model: nn.Module) -> Tensor:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)(X)


def on_meta(model: nn.Module) -> Any:
    with torch.device("meta"):
        empty = Model(stepfold.torch if isinstance(model.recurrent, stepfold.torch.LSTM) else nn)
    shape = empty(X.to("meta")).shape
    empty.load_state_dict(model.state_dict(), assign=True)
    return shape, empty(X), model.to("meta")(X.to("meta")).shape


def old_weight_norm(model: nn.Module) -> Any:
    nn.utils.weight_norm(model.recurrent, "weight_hh_l0")
    outputs = trained(model)
    nn.utils.remove_weight_norm(model.recurrent, "weight_hh_l0")
    return outputs, model(X)


def parametrised(model: nn.Module) -> Any:
    parametrize.register_parametrization(model.recurrent, "weight_hh_l0", Lower())
    outputs = trained(model)
    with parametrize.cached():
        again = model(X)
    parametrize.remove_parametrizations(model.recurrent, "weight_hh_l0")
    return outputs, again, model(X), str(model)


def clipped(model: nn.Module) -> Any:
    model(X).sum().backward()
    norm = nn.utils.clip_grad_norm_(model.parameters(), 0.1)
    nn.utils.clip_grad_value_(model.parameters(), 0.01)
    return norm, [parameter.grad for parameter in model.parameters()]


def averaged(model: nn.Module) -> Tensor:
    average = swa_utils.AveragedModel(model, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(0.9))
    for _ in range(2):
        trained(model, 1)
        average.update_parameters(model)
    return average(X)


def in_inference_mode(model: nn.Module) -> Any:
    with torch.inference_mode():
        outputs, made = model(X), X + 1
    return outputs.is_inference(), outputs.clone(), gradients(model, model(made))


def hooked(model: nn.Module) -> Any:
    seen: list[Any] = []
    part = model.recurrent
    part.register_forward_pre_hook(
        lambda _, given, named: seen.append((len(given), list(named))), with_kwargs=True
    )
    part.register_forward_hook(lambda _, given, found: (found[0] * 2, found[1]))
    part.register_full_backward_hook(lambda _, given, found: seen.append((len(given), len(found))))
    part.weight_hh_l0.register_hook(lambda gradient: seen.append(gradient.sum()))
    leaf = X.clone().requires_grad_()
    return model(leaf), gradients(model, model(leaf)), part(input=X, hx=None)[0], seen


def after_each_gradient(model: nn.Module) -> Tensor:
    """Parameters updated while the backward pass runs."""

    def update(parameter: Any) -> None:
        parameter.data.add_(parameter.grad, alpha=-0.1)
        parameter.grad = None

    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(update)
    model(X).sum().backward()
    return model(X)


def saved_elsewhere(model: nn.Module) -> Any:
    with torch.autograd.graph.save_on_cpu():
        outputs = model(X)
    found = gradients(model, outputs)
    model.zero_grad()
    return found, gradients(model, checkpoint(model, X, use_reentrant=False))


def frozen(model: nn.Module) -> Any:
    model.recurrent.weight_ih_l0.requires_grad_(False)
    outputs = trained(model)
    model.recurrent.requires_grad_(False)
    return outputs, trained(model), model.recurrent.bias_ih_l0.grad


def forget_bias(model: nn.Module) -> Tensor:
    for name, parameter in model.recurrent.named_parameters():
        if "bias_ih" in name:
            parameter.data[16:32].fill_(1)
    model.recurrent.weight_hh_l0 = nn.Parameter(torch.eye(64, 16))
    return trained(model)


def scaled(model: nn.Module) -> Any:
    """Mixed precision with a scaler."""
    optimizer, scaler = torch.optim.SGD(model.parameters(), 0.1), torch.amp.GradScaler("cpu")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = model(X)
    scaler.scale(outputs.float().sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    return outputs.dtype


def attributes(model: nn.Module) -> Any:
    part = model.recurrent
    return (
        str(model), [name for name, _ in model.named_modules()], part.mode, part.proj_size,
        part._flat_weights_names,
        [[tuple(w.shape) for w in weights] for weights in part.all_weights], part.flatten_parameters(),
        len(part._flat_weights), [name for name, _ in model.named_buffers()], type(part).__name__,
    )  # fmt: skip


HABITS: dict[str, Callable[[Any], Any]] = {
    "deepcopy": lambda model: trained(copy.deepcopy(model)),
    "partial and strict load": partial_load,
    "save whole": saved_whole,
    "meta": on_meta,
    "weight_norm": old_weight_norm,
    "weight_norm, parametrised": lambda model: (
        parametrizations.weight_norm(model.recurrent, "weight_hh_l0") and trained(model)
    ),
    "parametrised": parametrised,
    "clipped": clipped,
    "averaged": averaged,
    "inference mode": in_inference_mode,
    "hooks": hooked,
    "update in hooks": after_each_gradient,
    "save_on_cpu, checkpoint": saved_elsewhere,
    "frozen": frozen,
    "forget bias": forget_bias,
    "scaler": scaled,
    "attributes": attributes,
    "stateless": lambda model: nn.utils.stateless.functional_call(
        model, {name: p * 0.5 for name, p in model.named_parameters()}, (X,)
    ),
    "fused optimizer": lambda model: trained(model, fused=True),
    "data parallel": lambda model: nn.DataParallel(model)(X),
    "double": lambda model: trained(model.double().float()),
}


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of the old weight_norm and of stateless
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", HABITS)
def test_it_is_the_same_with_ours(name: str) -> None:
    found = []
    for package in (nn, stepfold.torch):
        torch.manual_seed(0)
        model = Model(package)
        torch.manual_seed(1)
        found.append(HABITS[name](model))
    equal(found[1], found[0])


def equal(mine: Any, theirs: Any) -> None:
    if isinstance(theirs, Tensor):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)
    elif isinstance(theirs, (list, tuple)) and not isinstance(theirs, torch.Size):
        assert len(mine) == len(theirs)
        for a, b in zip(mine, theirs, strict=True):
            equal(a, b)
    else:
        assert mine == theirs


@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated")
@pytest.mark.filterwarnings("ignore:.*quantized tensor")
def test_quantize_dynamic_says_that_it_passes_by_and_what_to_do() -> None:
    torch.manual_seed(0)
    model = Model(stepfold.torch)
    quantize = torch.ao.quantization.quantize_dynamic
    with pytest.warns(UserWarning, match=r"not stepfold.torch.LSTM, which stays.*restore\(model\) first"):
        left = quantize(model, {nn.LSTM, nn.Linear}, dtype=torch.qint8)
    assert type(left.recurrent) is stepfold.torch.LSTM
    assert type(left.head) is torch.ao.nn.quantized.dynamic.Linear
    done = quantize(stepfold.torch.restore(model), {nn.LSTM}, dtype=torch.qint8)
    assert type(done.recurrent) is torch.ao.nn.quantized.dynamic.LSTM
    torch.testing.assert_close(done(X), model(X), rtol=0.1, atol=0.05)
    assert not hasattr(stepfold.torch.GRU(3, 4), "qconfig")


def test_flops_are_counted_where_torch_sees_them() -> None:
    """The counter works, and counts what torch computes: the kernels' work is none of it."""
    with FlopCounterMode(display=False) as counter:
        Model(stepfold.torch)(X).sum().backward()
    assert counter.get_total_flops() == 3 * 2 * 3 * 16 * 4  # the head, forward and twice backward
