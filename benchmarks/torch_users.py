"""The PyTorch modules: the drop-ins, a packed batch of reviews, a user's own cell, second derivatives.

Run it as `python -m benchmarks.torch_users [--quick] [--parts drop-in packed own second]`.

Every side is a training step of a module, forward and backward; outputs and gradients are compared before
anything is timed.
"""

from __future__ import annotations

import random
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

import stepfold.torch
from stepfold import Cell, cell, sigmoid, tanh
from stepfold.data import load_imdb

from . import _report
from ._harness import NamedArrays, Side, check, geometric_mean, time_alternating
from ._problems import SHAPES, Shape

TOLERANCE = 2e-4  # float32 sums in another order, relative to the greatest
PARTS = ("drop-in", "packed", "own", "second")
BARS = {"LSTM": 1.0, "GRU": 3.0, "RNN": 3.0}
"""torch.nn ÷ ours: LSTM at its worst shape, GRU and RNN in the mean."""
PACKED_BAR = 8.0
LONGEST = 500


def training_step(
    name: str, run: Callable[[Tensor], Tensor], module: nn.Module, x: Tensor, output_gradient: Tensor
) -> Side:
    """A side that runs forward and backward: it returns the outputs, and the gradients of the input and of
    the parameters."""
    leaf = x.clone().requires_grad_()
    wanted = {"inputs": leaf, **dict(module.named_parameters())}

    def step() -> tuple[Tensor, tuple[Tensor, ...]]:
        outputs = run(leaf)
        return outputs, torch.autograd.grad(outputs, list(wanted.values()), output_gradient)

    def arrays(result: tuple[Tensor, tuple[Tensor, ...]]) -> NamedArrays:
        outputs, gradients = result
        named = dict(zip(wanted, gradients, strict=True))
        return {"outputs": outputs.detach().numpy()} | {key: g.numpy() for key, g in named.items()}

    return Side(name, step, arrays)


def outputs_of(module: nn.Module, **options: Any) -> Callable[[Tensor], Tensor]:
    """The module as a function from inputs to outputs."""

    def run(x: Tensor) -> Tensor:
        outputs: Tensor = module(x, **options)[0]
        return outputs

    return run


def twins(name: str, features: int, units: int) -> tuple[nn.Module, nn.Module]:
    """Our module and torch.nn's, with the same weights."""
    theirs = getattr(nn, name)(features, units, batch_first=True)
    ours = getattr(stepfold.torch, name)(features, units, batch_first=True)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def drop_in(report: _report.Report, shapes: Sequence[Shape], budget: float) -> None:
    """torch.nn's modules and ours."""
    for name, bar in BARS.items():
        found: list[float] = []
        for batch, steps, features, units in shapes:
            ours, theirs = twins(name, features, units)
            x, output_gradient = torch.randn(batch, steps, features), torch.randn(batch, steps, units) / steps
            sides = [
                training_step(label, outputs_of(module), module, x, output_gradient)
                for label, module in ((_report.OURS, ours), (f"torch.nn.{name}", theirs))
            ]
            differences = check(sides, TOLERANCE)
            times = time_alternating(sides, seconds=budget, min_rounds=3)
            title = f"{name} {(batch, steps, features, units)}"
            found += report.compared(title, times, differences=differences).values()
        if tuple(shapes) == SHAPES:
            if name == "LSTM":
                report.bar("LSTM: torch.nn ÷ ours, least", min(found), bar)
            else:
                report.bar(f"{name}: torch.nn ÷ ours, mean", geometric_mean(found), bar)


def packed(
    report: _report.Report, budget: float, batch: int = 32, features: int = 32, units: int = 32
) -> None:
    """A batch with the lengths of real reviews, cut at `LONGEST`: packed, padded with lengths, padded."""
    chosen = random.Random(7).sample(load_imdb().sequences, batch)
    lengths = torch.tensor([min(len(sequence), LONGEST) for sequence in chosen])
    print(f"\nlengths of {batch} reviews: {lengths.sort().values.tolist()}")
    x = torch.randn(batch, LONGEST, features)
    active = torch.arange(LONGEST) < lengths[:, None]
    for name in BARS:
        ours, theirs = twins(name, features, units)

        def through(module: nn.Module) -> Callable[[Tensor], Tensor]:
            return lambda x: (
                module(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))[0].data
            )

        output_gradient = torch.randn(int(lengths.sum()), units) / LONGEST
        sides = [
            training_step(_report.OURS, through(ours), ours, x, output_gradient),
            training_step(f"torch.nn.{name}, packed", through(theirs), theirs, x, output_gradient),
        ]
        differences = check(sides, TOLERANCE)
        padded = torch.randn(batch, LONGEST, units) / LONGEST * active[..., None]
        beside = [
            training_step("stepfold, lengths", outputs_of(ours, lengths=lengths), ours, x, padded),
            training_step("stepfold, padded", outputs_of(ours), ours, x, padded),
            training_step(f"torch.nn.{name}, padded", outputs_of(theirs), theirs, x, padded),
        ]
        check(beside[1:], TOLERANCE)
        times = time_alternating([*sides, *beside], seconds=budget, min_rounds=3)
        ratios = report.compared(f"{name}, packed reviews, {units} units", times, differences=differences)
        if name == "LSTM":
            report.bar("packed reviews: torch.nn.LSTM ÷ ours", ratios["torch.nn.LSTM, packed"], PACKED_BAR)


def own_cell(constant: float) -> Cell:
    """Return a cell that no cache holds, since its constant is new."""

    @cell
    def keeper(x, h, *, W_k, U_k, b_k, W_n, U_n, b_n):  # type: ignore[no-untyped-def]
        keep = sigmoid(W_k @ x + U_k @ h + b_k) * constant
        return keep * h + (1 - keep) * tanh(W_n @ x + U_n @ ((1 - keep) * h) + b_n)

    return keeper


def by_hand(step: Callable[..., Tensor], w: dict[str, Tensor], constant: float) -> Callable[[Tensor], Tensor]:
    """The layer as a loop of torch over a step."""

    def run(x: Tensor) -> Tensor:
        z_k = nn.functional.linear(x, w["W_k_l0"], w["b_k_l0"]).unbind(1)
        z_n = nn.functional.linear(x, w["W_n_l0"], w["b_n_l0"]).unbind(1)
        h, outputs = x.new_zeros(x.shape[0], w["U_k_l0"].shape[0]), []
        for a, b in zip(z_k, z_n, strict=True):
            h = step(a, b, h, w["U_k_l0"], w["U_n_l0"], constant)
            outputs.append(h)
        return torch.stack(outputs, 1)

    return run


def torch_step(z_k: Tensor, z_n: Tensor, h: Tensor, u_k: Tensor, u_n: Tensor, constant: float) -> Tensor:
    """One timestep of `own_cell` in torch, its input already projected."""
    keep = torch.sigmoid(z_k + h @ u_k.T) * constant
    return keep * h + (1 - keep) * torch.tanh(z_n + ((1 - keep) * h) @ u_n.T)


def own(report: _report.Report, shapes: Sequence[Shape], budget: float) -> None:
    """A user's own cell: fused, as a loop of torch, and as a loop over a compiled step; with the times to
    compile."""
    for batch, steps, features, units in shapes:
        torch._dynamo.reset()
        constant = 1.0 - 1e-9 * (time.time_ns() % 1_000_000)
        module = stepfold.torch.Recurrent(own_cell(constant), features, units, batch_first=True)
        w = dict(module.named_parameters())
        x, output_gradient = torch.randn(batch, steps, features), torch.randn(batch, steps, units) / steps
        runs = {
            _report.OURS: outputs_of(module),
            "torch loop": by_hand(torch_step, w, constant),
            "torch loop, compiled step": by_hand(torch.compile(torch_step), w, constant),
        }
        sides = [training_step(name, run, module, x, output_gradient) for name, run in runs.items()]
        first = {}
        for side in sides:
            start = time.perf_counter()
            side.run()
            first[side.name] = time.perf_counter() - start
        differences = check(sides, TOLERANCE)
        times = time_alternating(sides, seconds=budget, min_rounds=3)
        title = f"a user's own cell {(batch, steps, features, units)}"
        report.compared(title, times, differences=differences, first_call=first)
        print("first call, with compilation: " + ", ".join(f"{name} {s:.2f} s" for name, s in first.items()))


def second(report: _report.Report, shapes: Sequence[Shape], budget: float) -> None:
    """Second derivatives, the gradient of a gradient's square: by a loop of torch operations here, by torch's
    own loop there."""
    for name in BARS:
        for batch, steps, features, units in shapes:
            ours, theirs = twins(name, features, units)
            x = torch.randn(batch, steps, features)
            sides = [
                second_derivative(label, module, x)
                for label, module in ((_report.OURS, ours), (f"torch.nn.{name}", theirs))
            ]
            differences = check(sides, TOLERANCE)
            times = time_alternating(sides, seconds=budget, min_rounds=3)
            title = f"{name}, second derivatives {(batch, steps, features, units)}"
            report.compared(title, times, differences=differences)


def second_derivative(name: str, module: nn.Module, x: Tensor) -> Side:
    """A side that derives the square of the gradient of the inputs."""
    leaf = x.clone().requires_grad_()

    def run() -> tuple[Tensor, ...]:
        (first,) = torch.autograd.grad(module(leaf)[0].square().sum(), leaf, create_graph=True)
        return tuple(torch.autograd.grad(first.square().sum(), list(module.parameters())))

    names = [key for key, _ in module.named_parameters()]
    return Side(name, run, lambda found: {key: g.numpy() for key, g in zip(names, found, strict=True)})


def main(arguments: Sequence[str]) -> None:
    parser = _report.options(__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--seconds", type=float, default=None, help="about so long for a comparison")
    chosen = parser.parse_args(arguments)
    report = _report.begin("torch_users", chosen)
    torch.set_num_threads(chosen.threads)
    torch.manual_seed(7)
    shapes = (SHAPES[0], SHAPES[2]) if chosen.quick else SHAPES
    budget = chosen.seconds or (1.0 if chosen.quick else 4.0)
    if "drop-in" in chosen.parts:
        drop_in(report, shapes, budget)
    if "packed" in chosen.parts:
        packed(report, budget)
    if "own" in chosen.parts:
        own(report, shapes[:1] if chosen.quick else (SHAPES[0], SHAPES[2]), budget)
    if "second" in chosen.parts:
        warnings.simplefilter("ignore", stepfold.torch.SlowPathWarning)
        second(report, [(32, 100, 32, 32)], budget)
    report.end()


if __name__ == "__main__":
    main(sys.argv[1:])
