"""Choosing a view."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from .._cell import Cell
from ._code import asm, llvm
from ._loop import loop
from ._maths import latex, maths
from ._way_back import gradient

_VIEWS: dict[str, Callable[..., str]] = {
    "maths": maths,
    "latex": latex,
    "graph": loop,
    "gradient": gradient,
    "llvm": llvm,
    "asm": asm,
}


def show(cell: Cell, what: str = "maths", **options: Any) -> str:
    """Return a view of a cell as text; ValueError for an unknown view, TypeError for an unknown option."""
    view = _VIEWS.get(what)
    if view is None:
        raise ValueError(f"there is no view {what!r}; choose from {', '.join(_VIEWS)}")
    known = list(inspect.signature(view).parameters)[1:]
    unknown = [name for name in options if name not in known]
    if unknown:
        takes = f"takes {', '.join(known)}" if known else "has no options"
        raise TypeError(f"the view {what!r} has no option {', '.join(unknown)}; it {takes}")
    return view(cell, **options)
