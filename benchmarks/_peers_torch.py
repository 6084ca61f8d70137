"""PyTorch's sides: its own fused layers, and a Python loop over timesteps for any cell."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional

from ._cells import CELLS, HandCell
from ._harness import NamedArrays, Side
from ._problems import Problem

_NN = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "simple_rnn": torch.nn.RNN}


class TorchFunctions:
    """The functions of a step in PyTorch."""

    tanh = staticmethod(torch.tanh)
    sigmoid = staticmethod(torch.sigmoid)

    @staticmethod
    def split(x: Any, parts: int) -> Any:
        return x.chunk(parts, dim=-1)

    @staticmethod
    def layer_norm(x: Any) -> Any:
        return functional.layer_norm(x, x.shape[-1:], eps=1e-3)


def set_threads(threads: int) -> None:
    """Let PyTorch use `threads` threads."""
    torch.set_num_threads(threads)


def has_layer(name: str) -> bool:
    """Whether `torch.nn` has this cell as a layer."""
    return name in _NN


def layer_module(name: str, features: int, units: int, params: Mapping[str, Any]) -> torch.nn.Module:
    """Return the layer of `torch.nn`, inputs (batch, time, features), with a cell's parameters."""
    weights = CELLS[name].fused(params)
    layer = _NN[name](features, units, batch_first=True)
    second_bias = np.zeros_like(weights["bias"])
    if name == "gru":
        order = [1, 0, 2]  # PyTorch: r, z, n; ours: z, r, h
        weights = {k: v if k == "c_h" else _thirds(v, order) for k, v in weights.items()}
        second_bias[2 * units :] = weights["c_h"]
    with torch.no_grad():
        layer.weight_ih_l0.copy_(torch.from_numpy(weights["kernel"]))
        layer.weight_hh_l0.copy_(torch.from_numpy(weights["recurrent"]))
        layer.bias_ih_l0.copy_(torch.from_numpy(weights["bias"]))
        layer.bias_hh_l0.copy_(torch.from_numpy(second_bias))
    return layer


def _thirds(value: Any, order: list[int]) -> Any:
    return np.concatenate([np.split(value, 3)[n] for n in order])


def read_layer(name: str, layer: torch.nn.Module) -> dict[str, Any]:
    """Return the parameters of a layer of `torch.nn`, in the form of `HandCell.fused`."""
    values = [layer.weight_ih_l0, layer.weight_hh_l0, layer.bias_ih_l0, layer.bias_hh_l0]
    return named_weights(name, [value.detach().numpy() for value in values])


def named_weights(name: str, values: Iterable[Any]) -> dict[str, Any]:
    """Return the weights of a layer of `torch.nn` (or their gradients), in its order, as `HandCell.fused`
    does."""
    kernel, recurrent, bias, second = values
    named = {"kernel": kernel, "recurrent": recurrent, "bias": bias}
    if name == "gru":
        named = {key: _thirds(value, [1, 0, 2]) for key, value in named.items()}
        named["c_h"] = second[2 * len(second) // 3 :]
    return named


def layer_side(p: Problem, *, training: bool) -> Side:
    """`torch.nn.LSTM`, `GRU` or `RNN`."""
    layer = layer_module(p.cell.name, p.shape[2], p.shape[3], p.params)
    own = [layer.weight_ih_l0, layer.weight_hh_l0, layer.bias_ih_l0, layer.bias_hh_l0]
    return _side("torch nn", p, lambda x: layer(x)[0], own, lambda g: named_weights(p.cell.name, g), training)


def loop_side(p: Problem, *, training: bool, compiled: bool = False) -> Side:
    """A Python loop over timesteps, the input projected for all of them at once; `compiled`: its step is
    compiled by `torch.compile`."""
    hand = CELLS[p.cell.name]
    weights = {name: torch.from_numpy(value.copy()) for name, value in hand.fused(p.params).items()}
    for value in weights.values():
        value.requires_grad_(training)
    mask = None if p.recurrent_mask is None else torch.from_numpy(p.recurrent_mask)
    step: Callable[..., Any] = torch.compile(hand.step) if compiled else hand.step

    def run(x: torch.Tensor) -> torch.Tensor:
        return _loop(hand, step, x, weights, mask)

    def arrays(gradients: list[Any]) -> NamedArrays:
        return dict(zip(weights, gradients, strict=True))

    name = "torch loop, compiled" if compiled else "torch loop"
    return _side(name, p, run, list(weights.values()), arrays, training)


class LoopLayer(torch.nn.Module):  # type: ignore[misc]  # torch has no types here
    """A Python loop over timesteps as a module: inputs (batch, time, features) → outputs, in a tuple of one.

    Its parameters have the names of `HandCell.fused`.
    """

    def __init__(self, name: str, params: Mapping[str, Any]) -> None:
        super().__init__()
        self.hand = CELLS[name]
        for key, value in self.hand.fused(params).items():
            self.register_parameter(key, torch.nn.Parameter(torch.tensor(value)))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (_loop(self.hand, self.hand.step, x, dict(self.named_parameters()), None),)


def _loop(
    hand: HandCell, step: Callable[..., Any], x: torch.Tensor, w: Mapping[str, torch.Tensor], mask: Any
) -> torch.Tensor:
    projected = functional.linear(x, w["kernel"], None if hand.step_adds_bias else w["bias"])
    zero = x.new_zeros(x.shape[0], w["recurrent"].shape[1])
    states: tuple[torch.Tensor, ...] = (zero,) * hand.states
    outputs = []
    for z in projected.unbind(1):
        h = states[0] if mask is None else states[0] * mask
        states = step(TorchFunctions, z, states, w, h)
        outputs.append(states[0])
    return torch.stack(outputs, 1)


def _side(
    name: str,
    p: Problem,
    forward: Callable[[torch.Tensor], torch.Tensor],
    weights: list[torch.Tensor],
    arrays: Callable[[list[Any]], NamedArrays],
    training: bool,
) -> Side:
    x = torch.from_numpy(p.inputs.copy()).requires_grad_(training)
    output_gradient = torch.from_numpy(p.output_gradient)

    def train() -> Any:
        output = forward(x)
        return output, torch.autograd.grad(output, [x, *weights], output_gradient)

    def train_numbers(result: Any) -> NamedArrays:
        output, (input_gradient, *gradients) = result
        return {
            "output": output.detach().numpy(),
            "inputs": input_gradient.numpy(),
            **arrays([g.numpy() for g in gradients]),
        }

    def infer() -> torch.Tensor:
        with torch.inference_mode():
            return forward(x)

    if training:
        return Side(name, train, train_numbers)
    return Side(name, infer, lambda output: {"output": output.numpy()})
