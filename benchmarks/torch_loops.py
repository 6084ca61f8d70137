"""Every built-in cell: its training step beside the same cell as a loop in PyTorch.

Run it as `python -m benchmarks.torch_loops [--quick] [--cells lstm mlstm …] [--compile] [--page FILE]`.

`--page docs/figures/torch_loops.json` writes the figures of the gallery in the documents.
The loop is what an experienced user writes: products with the input for all timesteps at once, then a Python
loop over the rest, and PyTorch's own derivative; with `--compile` the body of that loop goes through
`torch.compile`. Both sides run in one process with PyTorch's default threads; outputs and gradients are
compared before anything is timed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stepfold import Cell, cells
from stepfold._interpret import interpret, stages
from stepfold.torch import Recurrent
from stepfold.torch._loop import TORCH

from . import _figures, _report
from ._harness import NamedArrays, Side, check, geometric_mean, time_alternating

SHAPE = (32, 200, 64, 64)
"""Batch, timesteps, features, units."""
SIZES = {"projection": 32, "rank": 8, "key": 32, "order": 16}
"""Of the other axes."""
BAR, LEAST = 5.0, 2.0
TOLERANCE = 1e-3  # float32 sums in another order, relative to the greatest


class Loop:
    """A cell as a Python loop over PyTorch's operations, with the parameters of a module."""

    def __init__(self, cell: Cell, module: Recurrent, sizes: dict[str, int], *, compiled: bool) -> None:
        self.step, self.sizes = cell.step, sizes
        self.params = {name: getattr(module, f"{name}_l0") for name in cell.step.parameters}
        self.fixed, self.early, self.late = stages(cell.step)
        read = {id(n) for n in (*self.step.outputs, *(i for n in self.late for i in n.inputs))}
        self.arriving = [n for n in self.early if id(n) in read]
        self.advance = torch.compile(self._advance) if compiled else self._advance

    def _computed(self, nodes: Any, leaves: Any, known: dict[int, Tensor]) -> dict[int, Tensor]:
        return interpret(nodes, leaves, TORCH, lambda v, shape: torch.full(shape, v), self.sizes, known)

    def _advance(self, states: list[Tensor], of_step: Sequence[Tensor], ready: list[Tensor]) -> list[Tensor]:
        known = {id(n): v for n, v in zip(self.arriving, of_step, strict=True)}
        known |= {id(n): v for n, v in zip(self.fixed, ready, strict=True)}
        leaves = {("state", name): v for name, v in zip(self.step.states, states, strict=True)}
        values = self._computed(self.late, leaves, known)
        return [values[id(n)].expand_as(s) for n, s in zip(self.step.outputs, states, strict=True)]

    def __call__(self, inputs: tuple[Tensor, ...], states: list[Tensor]) -> Tensor:
        """Return the outputs (time, batch, size) for inputs (time, batch, …)."""
        names = [""] * self.step.takes_features + list(self.step.inputs)
        leaves = {("input", name): value for name, value in zip(names, inputs, strict=True)}
        leaves |= {("parameter", name): value for name, value in self.params.items()}
        ready = self._computed([*self.fixed, *self.early], leaves, {})
        fixed = [ready[id(n)] for n in self.fixed]
        # taken apart at once: an index a timestep would derive to as many sequences of zeros
        by_step = list(zip(*(ready[id(n)].unbind(0) for n in self.arriving), strict=True))
        outputs = []
        for t in range(len(inputs[0])):
            states = self.advance(states, by_step[t], fixed)
            outputs.append(states[0])
        return torch.stack(outputs)


def sides(cell: Cell, *, compiled: bool) -> list[Side]:
    """The training step of a cell, by kernels and as a loop."""
    batch, time, features, units = SHAPE
    others: dict[str, Any] = {axis: SIZES[axis] for axis in cell.step.axes if axis in SIZES}
    sizes = {"units": units, "features": features, **others}
    torch.manual_seed(0)
    module = Recurrent(cell, features, units, **others)
    named = {name: [1 if a == "1" else sizes[a] for a in dims] for name, dims in cell.step.inputs.items()}
    inputs = [torch.randn(time, batch, features)] if cell.step.takes_features else []
    inputs += [torch.randn(time, batch, *of).abs() for of in named.values()]
    wide = [[1 if a == "1" else sizes[a] for a in cell.step.dims_of(s)] for s in cell.step.states]
    loops = {"torch loop": Loop(cell, module, sizes, compiled=False)}
    if compiled:
        torch.compiler.reset()  # its limit counts a function's code, whichever cell it runs
        loops["torch.compile"] = Loop(cell, module, sizes, compiled=True)
    for value in inputs:
        value.requires_grad_()
    floats = [*inputs, *module.parameters()]
    to_outputs = torch.randn(time, batch, *wide[0])

    def side(name: str, outputs: Callable[[], Tensor]) -> Side:
        def run() -> tuple[Tensor, tuple[Tensor, ...]]:
            found = outputs()
            return found, torch.autograd.grad(found, floats, to_outputs, allow_unused=True)

        def arrays(result: Any) -> NamedArrays:
            found, gradients = result
            named = {f"gradient {k}": g for k, g in enumerate(gradients) if g is not None}
            return {key: value.detach().numpy() for key, value in {"outputs": found, **named}.items()}

        return Side(name, run, arrays)

    given = tuple(inputs) if len(inputs) > 1 else inputs[0]
    found = [side("stepfold", lambda: module(given)[0])]
    for name, loop in loops.items():

        def outputs(loop: Loop = loop) -> Tensor:
            return loop(tuple(inputs), [torch.zeros(batch, *of) for of in wide])

        found.append(side(name, outputs))
    return found


def main() -> int:
    parser = _report.options(__doc__)
    parser.add_argument("--cells", nargs="+", choices=cells.names(), default=cells.names(), metavar="NAME")
    parser.add_argument("--compile", action="store_true", help="compile the loop's body as well")
    parser.add_argument("--page", type=Path, help="a file for the figures that the documents show")
    chosen = parser.parse_args()
    report = _report.begin("torch_loops", chosen)
    ratios: dict[str, list[float]] = {}
    rows = []
    for name in chosen.cells:
        all_sides = sides(cells.by_name(name), compiled=chosen.compile)
        check(all_sides, TOLERANCE)
        times = time_alternating(all_sides, seconds=1.0 if chosen.quick else 4.0, min_rounds=5)
        mine = times["stepfold"].median
        row: dict[str, Any] = {"cell": name, "milliseconds": 1e3 * mine}
        for side in all_sides[1:]:
            row[side.name] = times[side.name].median / mine
            ratios.setdefault(side.name, []).append(row[side.name])
        rows.append(row)
        told = "  ".join(f"{side.name} {row[side.name]:6.1f} ×" for side in all_sides[1:])
        print(f"{name:24} {1e3 * mine:7.1f} ms   {told}", flush=True)
    if chosen.page:
        batch, timesteps, features, units = SHAPE
        about = {
            "command": f"python -m benchmarks.torch_loops --compile{' --quick' if chosen.quick else ''}",
            "machine": f"two cores of an {_figures.processor(report.machine)}",
            "shape": f"{batch} sequences of {timesteps} timesteps, {features} features, {units} units",
        }
        figures = {row["cell"]: {k: float(f"{v:.3g}") for k, v in row.items() if k != "cell"} for row in rows}
        _figures.keep(chosen.page, about, figures)
    for name, values in ratios.items():
        print(f"{name}: {geometric_mean(values):.1f} × in the mean, {min(values):.1f} × at least")
        report.bar(f"{name}, mean", geometric_mean(values), BAR)
        report.bar(f"{name}, least", min(values), LEAST)
    report.results.append({"title": f"training step at {SHAPE}", "cells": rows})
    report.check_load()
    report.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
