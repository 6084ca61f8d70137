"""The views by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from .._step import Step
from ._backward import gradient
from ._code import asm, llvm
from ._flowchart import flowchart
from ._maths import filled, latex, maths

_VIEWS: dict[str, Callable[..., str]] = {
    "maths": maths,
    "latex": latex,
    "graph": flowchart,
    "gradient": gradient,
    "llvm": llvm,
    "asm": asm,
}
_TITLED = ("maths", "gradient")


def show(step: Step, about: str, what: str = "maths", /, **options: Any) -> str:
    """Return a view of a step as text; ValueError for an unknown view, TypeError for an unknown option.

    `about`: the docstring of the cell; its first line, which names the paper, is printed above equations.
    """
    view = _VIEWS.get(what)
    if view is None:
        raise ValueError(f"there is no view {what!r}; choose from {', '.join(_VIEWS)}")
    known = list(inspect.signature(view).parameters)[1:]
    if "sizes" in known:
        known.remove("sizes")
        known += [axis for axis in step.scanned.own_axes if axis != "units"]
    unknown = [name for name in options if name not in known]
    if unknown:
        takes = f"takes {', '.join(known)}" if known else "has no options"
        raise TypeError(f"the view {what!r} has no option {', '.join(unknown)}; it {takes}")
    text = view(step, **options)
    return f"{_title(step, about)}\n\n{text}" if what in _TITLED else text


def _title(step: Step, about: str) -> str:
    first = about.strip().partition("\n")[0]
    return filled(f"{step.name}: {first}" if first else step.name)
