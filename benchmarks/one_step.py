"""One timestep a call, in a Python loop: our `LSTMCell`, `GRUCell` and `RNNCell`, and `Recurrent(…).cell` of
the same cells, beside torch.nn's; and `Recurrent(…).cell` of a user's own cell beside the same in torch.

Run it as `python -m benchmarks.one_step [--quick] [--threads 1]`.

Each side runs a loop of `STEPS` calls: in inference, and forward and backward. Outputs and gradients are
compared before anything is timed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

import stepfold.torch
from stepfold import cell, cells, sigmoid, tanh
from stepfold.torch import Recurrent, RecurrentCell

from . import _report
from ._harness import NamedArrays, Side, check, time_alternating

TOLERANCE = 2e-4  # float32 sums in another order, relative to the greatest
STEPS = 20
BATCHES = (1, 32, 128)
UNITS = (32, 128, 256)
PEERS = {"lstm": "LSTMCell", "gru": "GRUCell", "simple_rnn": "RNNCell"}
GATES = {"lstm": ("_i", "_f", "_c", "_o"), "gru": ("_r", "_z", "_h"), "simple_rnn": ("",)}


@cell
def keeper(x, h, *, W_k, U_k, b_k, W_n, U_n, b_n):  # type: ignore[no-untyped-def]
    """A cell that a user might write."""
    keep = sigmoid(W_k @ x + U_k @ h + b_k)
    return keep * h + (1 - keep) * tanh(W_n @ x + U_n @ h + b_n)


class Keeper(nn.Module):  # type: ignore[misc]
    """The same cell in torch, with the parameters of ours."""

    def __init__(self, ours: RecurrentCell) -> None:
        super().__init__()
        self.weights = nn.ParameterDict({name: p.detach().clone() for name, p in ours.named_parameters()})

    def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        """One timestep."""
        w, linear = self.weights, nn.functional.linear
        h = x.new_zeros(x.shape[0], w["U_k"].shape[0]) if h is None else h
        keep = torch.sigmoid(linear(x, w["W_k"], w["b_k"]) + linear(h, w["U_k"]))
        return keep * h + (1 - keep) * torch.tanh(linear(x, w["W_n"], w["b_n"]) + linear(h, w["U_n"]))


def peer(name: str, ours: RecurrentCell) -> nn.Module:
    """torch.nn's cell with our parameters."""
    theirs = getattr(nn, PEERS[name])(ours.input_size, ours.hidden_size)
    with torch.no_grad():
        for parameter, kind in ((theirs.weight_ih, "W"), (theirs.weight_hh, "U"), (theirs.bias_ih, "b")):
            parameter.copy_(torch.cat([getattr(ours, kind + gate) for gate in GATES[name]]))
        theirs.bias_hh.zero_()
        if name == "gru":
            theirs.bias_hh.chunk(3)[2].copy_(ours.c_h)
    return theirs


def pair(name: str, units: int) -> tuple[nn.Module, nn.Module]:
    """Our module and its peer, of as many features as units, with the same parameters."""
    if name.startswith("own"):
        own = Recurrent(keeper, units, units).cell
        return own, Keeper(own)
    if name in PEERS:
        own = Recurrent(cells.by_name(name), units, units).cell
        return own, peer(name, own)
    theirs, ours = (getattr(package, name)(units, units) for package in (nn, stepfold.torch))
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def unroll(module: nn.Module, x: Tensor) -> Tensor:
    """The last output of a loop over x (time, batch, features)."""
    state: Any = None
    for each in x:
        state = module(each, state)
    output: Tensor = state[0] if isinstance(state, tuple) else state
    return output


def inference(name: str, module: nn.Module, x: Tensor) -> Side:
    """A side without gradients."""

    def run() -> Tensor:
        with torch.no_grad():
            return unroll(module, x)

    return Side(name, run, lambda output: {"output": output.numpy()})


def training(name: str, module: nn.Module, x: Tensor) -> Side:
    """A side that runs forward and backward, with the gradients of inputs and weights."""
    leaf = x.clone().requires_grad_()

    def run() -> Tensor:
        leaf.grad = None
        module.zero_grad()
        output = unroll(module, leaf)
        output.sum().backward()
        return output

    def arrays(output: Tensor) -> NamedArrays:
        assert leaf.grad is not None
        return {"output": output.detach().numpy(), "inputs": leaf.grad.numpy()}

    return Side(name, run, arrays)


def main(arguments: Sequence[str]) -> None:
    parser = _report.options(__doc__)
    parser.add_argument("--seconds", type=float, default=None, help="about so long for a comparison")
    chosen = parser.parse_args(arguments)
    report = _report.begin("one_step", chosen)
    torch.set_num_threads(chosen.threads)
    torch.manual_seed(7)
    budget = chosen.seconds or (0.2 if chosen.quick else 1.0)
    kinds: dict[str, Callable[[str, nn.Module, Tensor], Side]] = {
        "inference": inference,
        "training": training,
    }
    rows, least = [], {kind: float("inf") for kind in kinds}
    for name in (*PEERS.values(), *PEERS, "own cell"):
        for units in UNITS[: 1 if chosen.quick else None]:
            for batch in BATCHES:
                ours, theirs = pair(name, units)
                x, row = torch.randn(STEPS, batch, units), [f"{name} {batch} × {units}"]
                for kind, side in kinds.items():
                    sides = [side(_report.OURS, ours, x), side("torch", theirs, x)]
                    differences = check(sides, TOLERANCE)
                    times = time_alternating(sides, seconds=budget, max_rounds=60)
                    title = f"{name}, {kind}, batch {batch}, {units} units, {STEPS} steps"
                    report.compared(title, times, differences=differences)
                    mine, other = (times[each.name].minimum / STEPS * 1e6 for each in sides)
                    row += [f"{mine:.1f}", f"{other:.1f}", f"{other / mine:.2f}"]
                    least[kind] = min(least[kind], other / mine)
                rows.append(row)
    head = ["cell, batch × units", *("ours µs", "torch µs", "÷ ours") * 2]
    print("\nmicroseconds a timestep, the least of all calls: inference, then forward and backward")
    print(_report.table(head, rows))
    for kind, ratio in least.items():
        report.bar(f"one timestep, {kind}: torch ÷ ours, least", ratio, 1.0)
    report.end()


if __name__ == "__main__":
    main(sys.argv[1:])
