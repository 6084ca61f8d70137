"""The text of a built-in cell as a reader can type it."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable
from typing import Any

import stepfold
from stepfold import Cell


def source(cell: Cell) -> str:
    """Return the text of a cell's function, with all that it needs: an import, helpers of its module, and the
    functions that it was given (`tanh` for `activation`) in place of their names."""
    signature = cell._signature
    if signature is None:
        raise ValueError(f"{cell.name} has no function")
    function = signature.function
    found = inspect.getclosurevars(function)
    text = _text(function)
    for name, given in found.nonlocals.items():
        text = re.sub(rf"\b{name}\b", given.__name__, text)
    if not text.startswith("@"):
        text = "@cell\n" + re.sub(r"^def \w+", f"def {cell.name}", text)
    helpers = [given for name, given in found.globals.items() if name.startswith("_")]
    parts = [*map(_text, helpers), text]
    return "\n\n".join([f"from stepfold import {', '.join(_imported(chr(10).join(parts)))}\n", *parts])


def _text(function: Callable[..., Any]) -> str:
    """A function without its docstring and its types, which say nothing here."""
    text = textwrap.dedent(inspect.getsource(function)).replace(": Any", "").replace(" -> Any", "")
    return re.sub(r'\n(\s+)""".*?"""', "", text, count=1, flags=re.DOTALL)


def _imported(text: str) -> list[str]:
    """The names of the package that a text calls or declares with."""
    called = set(re.findall(r"(?<![.\w])([A-Za-z]\w*)(?=\()", text))
    declared = {"cell", *re.findall(r": ([A-Z]\w*)", text)}
    return sorted((called | declared) & set(stepfold.__all__), key=lambda name: (name.islower(), name))
