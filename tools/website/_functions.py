"""The page of the cell language's functions, from their docstrings."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

import stepfold
from stepfold import _language, _ops

_KINDS = {
    "Elementwise": "abs exp log sqrt square sin cos erf floor mod maximum minimum clip",
    "Conditions": "where logical_and logical_or logical_not",
    "Over the elements of a row": "sum mean max logsumexp softmax log_softmax layer_norm",
    "Products": "outer",
    "Parts of a vector, their order": "split concatenate roll shift reverse repeat cumsum",
    "Chance, in training alone": "dropout noise",
}
"""What stands where. Of the others, what a layer takes by name is an activation."""


LANGUAGE = ("stepfold._language", "stepfold._parts", "stepfold._noise")
"""The modules whose functions are those of the cell language."""
_ACTIVATIONS = {function.__name__ for function in _language.ACTIVATIONS.values()} | {"threshold"}


def functions() -> dict[str, Callable[..., Any]]:
    """Return the public functions of the cell language by name."""
    return {
        name: found
        for name in stepfold.__all__
        if inspect.isfunction(found := getattr(stepfold, name)) and found.__module__ in LANGUAGE
    }


def page() -> str:
    """Return the page as Markdown."""
    known = functions()
    groups = {title: names.split() for title, names in _KINDS.items()}
    named = {name for names in groups.values() for name in names}
    if unknown := named - known.keys():
        raise ValueError(f"the cell language has no {', '.join(sorted(unknown))}")
    activations = [name for name in known if name in _ACTIVATIONS and name not in named]
    others = [name for name in known if name not in named and name not in activations]
    parts = [
        "# Functions of the cell language\n",
        "`from stepfold import tanh, where, …`. They take the values of a step, and NumPy arrays too, on "
        "which they compute at once. Every one has a derivative, runs in the kernels, and is written to "
        "ONNX. Operators are Python's: `+ - * / **`, `W @ x` and `U.T @ h`, the comparisons "
        "`< <= > >= == !=`, and `& | ~` of conditions.\n",
    ]
    for title, names in (groups | ({"Others": others} if others else {})).items():
        parts += [f"## {title}\n", _table([known[name] for name in names])]
    parts += [
        "## Activations\n",
        'With Keras\'s names and default parameters; a layer takes them by name, `activation="gelu"`.\n',
        _table([known[name] for name in activations], values=True),
        "## What they are made of\n",
        f"Each is one or several of {len(_ops.TABLE)} operations, the rows of one table: "
        + ", ".join(f"`{name}`" for name in sorted(_ops.TABLE))
        + ".\n",
    ]
    return "\n".join(parts)


def _table(chosen: list[Callable[..., Any]], *, values: bool = False) -> str:
    points = (-2.0, -0.5, 0.5, 2.0)
    head = ["function", "value", *([f"at {point:g}" for point in points] if values else [])]
    rows = [head, ["---", "---", *["---:"] * (len(head) - 2)]]
    for function in chosen:
        row = [
            f"{{py:func}}`{function.__name__}{_short_signature(function)} <stepfold.{function.__name__}>`",
            " ".join((function.__doc__ or "").split("\n\n")[0].split()),
        ]
        if values:
            row += _values(function, points)
        rows.append([cell.replace("|", r"\|") for cell in row])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def _short_signature(function: Callable[..., Any]) -> str:
    parameters = [
        parameter.name if parameter.default is parameter.empty else f"{parameter.name}={parameter.default!r}"
        for parameter in inspect.signature(function).parameters.values()
    ]
    return f"({', '.join(parameters)})"


def _values(function: Callable[..., Any], points: tuple[float, ...]) -> list[str]:
    required = [
        parameter
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default is parameter.empty
    ]
    if len(required) > 1:
        return [""] * len(points)
    return [f"{float(value):.4g}" for value in function(np.array(points))]
