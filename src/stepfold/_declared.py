"""Axes that a step's function declares for an argument, as its annotation."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, get_args, get_origin

import numpy as np

from ._axes import AXIS, is_plain, names_in, parsed, text_of
from ._dims import axes_text
from ._graph import FEATURES, SCALAR, Dims

Scalar = Annotated[Any, ""]
"""The annotation of an argument that is one number: `def step(x, h, *, W, U, alpha: Scalar)`."""

_AXES = re.compile(rf"{AXIS}( {AXIS})*")
_RESERVED = ("batch", "time", "seed", "dtype", "vocabulary_size")
"""Words that mean something else wherever sizes are given."""
_MOST_AXES = {"input": 1, "state": 2, "parameter": 2}


def kind_of(dims: Dims) -> str:
    """Return what a parameter of these axes is called."""
    if len(dims) < 2:
        return f"a vector {axes_text(dims)}" if dims else "a scalar"
    kind = "a kernel" if dims[1:] == FEATURES else "a recurrent kernel" if dims[0] == dims[1] else "a matrix"
    return f"{kind} {axes_text(dims)}"


def declared_axes(
    function: Callable[..., Any], name: str, annotation: Any, role: str = "parameter"
) -> Dims | None:
    """Return the axes that an annotation declares, None if it is about something else (`np.ndarray`, `Any`).

    A declaration is `Scalar`, or the names of the axes as jaxtyping and einops write them: "" (a scalar),
    "units", "units features", "rank units"; a name that is an integer is a fixed size. They stand alone, in
    `Annotated[Any, "units"]`, or in one of jaxtyping's own, `Float[Array, "units"]`. `role`: "input", "state"
    or "parameter". ValueError, naming the argument, for axes that it cannot have.
    """
    text = _text(function, annotation)
    if text is None:
        return None
    axes = tuple(text.split())
    told = f"{role} {name} is declared as {text!r}"
    if axes and not _AXES.fullmatch(" ".join(axes)):
        raise ValueError(f"{told}; an axis is a lower-case name, or an integer: 'rank units', '1'")
    for axis in axes:
        _check_axis(axis, role, told)
    if len(axes) > _MOST_AXES[role]:
        most = "one axis" if _MOST_AXES[role] == 1 else "two axes"
        raise ValueError(f"{told}; a {role} has at most {most}".replace("a input", "an input"))
    return axes


def _check_axis(axis: str, role: str, told: str) -> None:
    """ValueError, which begins with `told`, for an axis that an argument of this role cannot have."""
    try:
        names, written = names_in([axis]), text_of(parsed(axis))
    except ValueError as error:
        raise ValueError(f"{told}; {error}") from None
    reserved = [name for name in names if name in _RESERVED]
    if reserved:
        raise ValueError(f"{told}; an axis cannot be called {reserved[0]!r}, give it another name")
    if written != axis:
        raise ValueError(f"{told}; write {axis!r} as {written!r}")
    if role == "input" and not (is_plain(axis) or axis.isdecimal()):
        raise ValueError(f"{told}; an input's size is that of its array: give its axis a name of its own")


def is_axis(text: str) -> bool:
    """Whether a text can be the name of an axis."""
    try:
        return text_of(parsed(text)) == text and text != "0" and not set(names_in([text])) & {*_RESERVED}
    except ValueError:
        return False


def value_axes(dims: Dims) -> Dims:
    """Return the axes of what a step computes with: a state or an input of one number has one element."""
    return dims if dims != SCALAR else ("1",)


def is_integer(function: Callable[..., Any], annotation: Any) -> bool:
    """Whether an annotation declares an integer: `int`, `numpy.int64`, or jaxtyping's `Int[Array, ""]`."""
    if isinstance(annotation, str):
        try:
            annotation = _evaluated(function, annotation)
        except Exception:
            return False
    if isinstance(annotation, type) and issubclass(annotation, (int, np.integer)):
        return annotation is not bool
    kinds = getattr(annotation, "dtypes", ())  # jaxtyping
    named = isinstance(kinds, (tuple, list)) and bool(kinds)
    whole = named and all(str(kind).lstrip("u").startswith("int") for kind in kinds)
    return whole and getattr(annotation, "dim_str", None) == ""


def _evaluated(function: Callable[..., Any], annotation: str) -> Any:
    return eval(annotation, function.__globals__, _closure(function)) if annotation else annotation


def _text(function: Callable[..., Any], annotation: Any) -> str | None:
    """The axes as text; an annotation that is text may be axes, or code that was not evaluated."""
    if isinstance(annotation, str):
        try:
            found = _evaluated(function, annotation)
        except Exception:  # axes, or a name that only a type checker knows
            return annotation if _AXES.fullmatch(annotation) else None
        if isinstance(found, str):
            return found
        declares = isinstance(found, type) or get_origin(found) is not None or hasattr(found, "dim_str")
        if not declares and _AXES.fullmatch(annotation):  # a variable or function is called like an axis
            return annotation
        annotation = found
    if get_origin(annotation) is Annotated:
        return next((a for a in get_args(annotation)[1:] if isinstance(a, str) and _is_axes(a)), None)
    found = getattr(annotation, "dim_str", None)  # jaxtyping
    return found if isinstance(found, str) else None


def _is_axes(text: str) -> bool:
    return not text or _AXES.fullmatch(text) is not None


def _closure(function: Callable[..., Any]) -> dict[str, Any]:
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    return {name: cell.cell_contents for name, cell in cells}
