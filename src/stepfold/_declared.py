"""Axes that a step's function declares for a parameter, as the annotation of its argument."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, get_args, get_origin

from ._graph import KERNEL, RECURRENT_KERNEL, SCALAR, UNITS, Dims

Scalar = Annotated[Any, ""]
"""The annotation of a parameter of one number: `def step(x, h, *, W, U, alpha: Scalar)`."""

KINDS: dict[Dims, str] = {
    SCALAR: "a scalar",
    UNITS: "a vector (units,)",
    KERNEL: "a kernel (units, features)",
    RECURRENT_KERNEL: "a recurrent kernel (units, units)",
}
"""What a parameter of these axes is called."""


def declared_axes(function: Callable[..., Any], name: str, annotation: Any) -> Dims | None:
    """Return the axes that an annotation declares, None if it is about something else (`np.ndarray`, `Any`).

    A declaration is `Scalar`, or the names of the axes as jaxtyping and einops write them: "" (a scalar),
    "units", "units features", "units units"; alone, in `Annotated[Any, "units"]`, or in one of jaxtyping's
    own, `Float[Array, "units"]`. ValueError, naming the parameter, for axes that no parameter can have.
    """
    text = _text(function, annotation)
    if text is None:
        return None
    axes = tuple(text.split())
    if axes not in KINDS:
        kinds = ", ".join(f"{' '.join(dims)!r}" for dims in KINDS)
        raise ValueError(
            f"parameter {name} is declared as {text!r}; the axes of a parameter are one of {kinds}"
        )
    return axes


def _text(function: Callable[..., Any], annotation: Any) -> str | None:
    """The axes as text; an annotation that is text may be axes, or code that was not evaluated."""
    if isinstance(annotation, str) and not _is_axes(annotation):
        try:
            annotation = eval(annotation, function.__globals__, _closure(function))
        except Exception:  # a name that only a type checker knows
            return annotation if _WORDS.fullmatch(annotation) else None
        if isinstance(annotation, str):
            return annotation
    if isinstance(annotation, str):
        return annotation
    if get_origin(annotation) is Annotated:
        return next((a for a in get_args(annotation)[1:] if isinstance(a, str) and _is_axes(a)), None)
    found = getattr(annotation, "dim_str", None)  # jaxtyping
    return found if isinstance(found, str) else None


_WORDS = re.compile(r"[a-z_]+( [a-z_]+)*")


def _is_axes(text: str) -> bool:
    return tuple(text.split()) in KINDS


def _closure(function: Callable[..., Any]) -> dict[str, Any]:
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    return {name: cell.cell_contents for name, cell in cells}
