"""The gallery: one page for each built-in cell, written from its definition and from measured figures."""

from __future__ import annotations

import html
import inspect
import json
import math
import re
import textwrap
from pathlib import Path
from typing import Any

from stepfold import Cell, cells
from stepfold._dims import size_of

from ._markdown import equations, fenced
from ._source import source

FIGURES, LOOPS = Path("docs/figures/cells.json"), Path("docs/figures/torch_loops.json")
"""What `python -m benchmarks.gallery` and `… torch_loops` measured, with the machine and the command."""

_KERAS = {"simple_rnn": "SimpleRNN", "lstm": "LSTM", "gru": "GRU"}
_TORCH = {"simple_rnn": "RNN", "lstm": "LSTM", "gru": "GRU"}
_FEATURES, _UNITS = 64, 128
_SIZES = {"projection": 32, "rank": 16, "key": 32, "order": 16}
_ARXIV = re.compile(r"arXiv:(\d{4}\.\d{4,5}(?:v\d+)?)")


def measured(root: Path) -> dict[str, Any]:
    """Return the stored figures, those beside loops in PyTorch under "loops"; empty where there are none."""

    def stored(path: Path) -> dict[str, Any]:
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}

    return {**stored(root / FIGURES), "loops": stored(root / LOOPS)}


def page(cell: Cell, family: str, figures: dict[str, Any]) -> str:
    """Return a cell's page as Markdown."""
    about = _about(cell)
    states = len(cell.states)
    return "\n".join(
        [
            f"# {cell.name}\n",
            f"{_linked(about[0])}\n",
            *(f"{_linked(more)}\n" for more in about[1:]),
            f"*{family.capitalize()}; {states} state{'s' * (states > 1)}: {', '.join(cell.states)}.*\n",
            "## One timestep\n",
            equations(cell.show("latex")),
            f"{_output(cell)}; `⊙` multiplies element by element.\n",
            fenced(source(cell), "python"),
            "## Parameters\n",
            _parameters(cell),
            *_hyperparameters(cell),
            *_figures(cell, figures),
            "## Use it\n",
            _use(cell),
            "## The backward pass\n",
            "Derived from the step; the kernels compute it.\n",
            f"<details><summary>The equations of one timestep</summary>\n\n"
            f"{fenced(cell.show('gradient').partition(chr(10) * 2)[2])}\n</details>\n",
        ]
    )


def index(figures: dict[str, Any]) -> str:
    """Return the gallery's first page: the cells by family, side by side."""
    lines = [
        "# Gallery\n",
        f"The {len(cells.names())} built-in cells, each a few lines of maths: `stepfold.cells.NAME`, or its "
        "name in layers, estimators and commands. Each page shows the equations, the step as it is written, "
        "the parameters, what it costs and remembers, and how it is used.\n",
    ]
    if "cells" in figures:
        lines.append(
            "*Time* is that of a training step divided by the LSTM's; *loop* says how many times as long the "
            "same cell takes as a loop in PyTorch, eager; *gradient* is how much of it is left after "
            "100 timesteps at initialisation; *lag* is the longest distance over which two symbols were "
            "learnt in order, with the budget that the cell's page names. A place is empty where nothing was "
            "measured yet.\n"
        )
    for family, members in cells.FAMILIES.items():
        lines += [f"## {family.capitalize()}\n", _table(members, figures)]
    return "\n".join(lines) + "\n```{toctree}\n:hidden:\n\n" + "\n".join(cells.names()) + "\n```\n"


def _table(members: tuple[Cell, ...], figures: dict[str, Any]) -> str:
    found, loops = figures.get("cells", {}), figures.get("loops", {}).get("cells", {})
    head = ["cell", "year", "what it is", "states", *(["time", "loop", "gradient", "lag"] if found else [])]
    rows = [head, ["---", "---", "---", *["---:"] * (len(head) - 3)]]
    for cell in members:
        first = (cell.__doc__ or "").partition("\n")[0]
        year = re.search(r"(?:19|20)\d\d", first)
        row = [
            f"[{cell.name}]({cell.name}.md)",
            year[0] if year else "",
            _short(first),
            str(len(cell.states)),
        ]
        if found:
            figure = found.get(cell.name, {})
            row += [
                f"{figure['ratio']:.2f}" if "ratio" in figure else "",
                f"{loops[cell.name]['torch loop']:.0f} ×" if cell.name in loops else "",
                _power(figure["gradient"]) if "gradient" in figure else "",
                _lag(figure["lag"], figures["most_lag"]) if "lag" in figure else "",
            ]
        rows.append(row)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def _about(cell: Cell) -> list[str]:
    """The paragraphs of a cell's docstring without the one that lists shapes, which the table has."""
    parts = re.split(r"\n\s*\n", inspect.cleandoc(cell.__doc__ or ""))
    kept = [" ".join(part.split()) for part in parts if not re.match(r"x \(features,\)", part)]
    return [html.escape(part, quote=False).replace("*", r"\*") for part in kept]


def _linked(text: str) -> str:
    return _ARXIV.sub(lambda match: f"[arXiv:{match[1]}](https://arxiv.org/abs/{match[1]})", text)


def _output(cell: Cell) -> str:
    if cell.step.output:
        return "The output is no state"
    return f"`{cell.states[0]}` after the timestep is also the output"


def _short(first: str) -> str:
    text = re.sub(r"\s*\([^()]*\d{4}[^()]*\)", "", first).rstrip(".")
    return html.escape(text, quote=False).replace("|", r"\|").replace("*", r"\*")


def _parameters(cell: Cell) -> str:
    shapes = cell.parameter_shapes(features=_FEATURES, units=_UNITS, **_sizes(cell))
    text = cell.show("maths")
    table = re.search(r"^Parameters\n(.*?)\n\n", text, re.DOTALL | re.MULTILINE)
    total = sum(math.prod(shape) for shape in shapes.values())
    told = [f"{_FEATURES} features", f"{_UNITS} units", *(f"{a} {size}" for a, size in _sizes(cell).items())]
    return (
        fenced(textwrap.dedent(table[1])) if table else ""
    ) + f"\nWith {', '.join(told[:-1])} and {told[-1]}: {total:,} numbers.\n"


def _sizes(cell: Cell) -> dict[str, int]:
    """Sizes of the axes that a cell has besides units and features, for examples."""
    return {axis: _SIZES.get(axis, 32) for axis in cell.step.own_axes if axis not in ("units", "features")}


def _inputs(cell: Cell) -> dict[str, int]:
    """How many elements each input has in an example, by its name."""
    named = {name: _count(cell, dims) for name, dims in cell.step.inputs.items()}
    return ({"inputs": _FEATURES} if cell.step.takes_features else {}) | named


def _count(cell: Cell, dims: tuple[str, ...]) -> int:
    """How many elements a value with these axes has in an example."""
    every = {"units": _UNITS, "features": _FEATURES, **_sizes(cell)}
    return math.prod(size_of(axis, every) for axis in dims)


def _hyperparameters(cell: Cell) -> list[str]:
    if not cell.hyperparameters:
        return []
    values = ", ".join(f"`{name}={value!r}`" for name, value in cell.hyperparameters.items())
    name = next(iter(cell.hyperparameters))
    return [
        f"Hyper-parameters: {values}; `stepfold.cells.{cell.name}.replace({name}=…)` is the cell with "
        "another value.\n"
    ]


def _figures(cell: Cell, figures: dict[str, Any]) -> list[str]:
    outside = re.search(r"Computed outside the time loop.*?(?=\n\n|\Z)", cell.show("maths"), re.DOTALL)
    lines = []
    if outside:
        count = len(outside[0].splitlines()) - 1
        lines.append(
            f"{count} product{'s' * (count > 1)} of the input {'are' if count > 1 else 'is'} computed "
            "outside the time loop, for many timesteps at once; the rest runs in one kernel call.\n"
        )
    lines += _beside_loops(cell, figures.get("loops", {}))
    found = figures.get("cells", {}).get(cell.name)
    if found:
        lines.append(
            "\n".join(
                [
                    "| measured | |",
                    "|---|---:|",
                    f"| training step, {figures['shape']} | {found['milliseconds']:.1f} ms |",
                    f"| beside the LSTM's | {found['ratio']:.2f} × |",
                    f"| one timestep of a stream, {_UNITS} units | {found['stream_microseconds']:.1f} µs |",
                    f"| gradient left after 100 timesteps, at initialisation | {_power(found['gradient'])} |",
                    f"| longest lag learnt, temporal order, {figures['lag_steps']} steps | "
                    f"{_lag(found['lag'], figures['most_lag'])} |",
                    "",
                    f"`{figures['command']}`, processor time on {figures['machine']}. The lag is "
                    "what was *learnt* with few steps of training and one seed, not the most that the cell "
                    "can hold: [](../memory.md).\n",
                ]
            )
        )
    return ["## What it costs and what it remembers\n", *lines] if lines else []


def _beside_loops(cell: Cell, loops: dict[str, Any]) -> list[str]:
    found = loops.get("cells", {}).get(cell.name)
    if not found:
        return []
    return [
        f"A training step of {loops['shape']} takes {found['milliseconds']:.1f} ms; the same cell as a loop "
        f"in PyTorch {found['torch loop']:.0f} times that, with its body under `torch.compile` "
        f"{found['torch.compile']:.0f} times (`{loops['command']}`, {loops['machine']}).\n"
    ]


def _power(value: float) -> str:
    return "0" if value == 0 else f"{value:.1e}" if value < 0.01 or value >= 1000 else f"{value:.2g}"


def _lag(value: int, most: int) -> str:
    return "none" if value == 0 else f"≥\N{NO-BREAK SPACE}{value:,}" if value >= most else f"{value:,}"


def _use(cell: Cell) -> str:
    name = cell.name
    sizes = "".join(f", {axis}={size}" for axis, size in _sizes(cell).items())
    keras = f"{_KERAS[name]}(32)" if name in _KERAS else f'Recurrent("{name}", 32{sizes})'
    torch = f"{_TORCH[name]}(64, 128)" if name in _TORCH else f'Recurrent("{name}", 64, 128{sizes})'
    first = "h" if len(cell.states) == 1 else "states"
    inputs = _inputs(cell)
    arrays = "\n".join(
        f'{each} = np.zeros((8, 100, {size}), "float32")  # (batch, time, {size})'
        for each, size in inputs.items()
    )
    given = f"({', '.join(inputs)})" if len(inputs) > 1 else next(iter(inputs))
    if list(inputs) == ["inputs"]:
        arrays = arrays.replace(f"time, {_FEATURES})", "time, features)")
    width = _count(cell, cell.step.dims_of(cell.step.states[0]))
    code = f"""
import numpy as np
import stepfold

cell = stepfold.cells.{name}
params = cell.init(features=64, units=128{sizes}, seed=0)
{arrays}
outputs = stepfold.scan(cell, {given}, params, return_sequences=True)  # (8, 100, {width})
"""
    keras_code = f"""
from stepfold.keras import {keras.partition("(")[0]}

layer = {keras}  # in a Keras model
"""
    torch_code = f"""
from stepfold.torch import {torch.partition("(")[0]}

module = {torch}  # output, {first} = module({given if len(inputs) > 1 else "input"})
"""
    train = f"stepfold train imdb --cell {name}\n" if list(inputs) == ["inputs"] else ""
    shell = f"{train}stepfold show {name} gradient\n"
    return "\n".join(
        [
            fenced(code.strip(), "python"),
            fenced(keras_code.strip(), "python"),
            fenced(torch_code.strip(), "python"),
            fenced(shell, "sh"),
        ]
    )
