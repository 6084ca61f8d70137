"""Errors of a step that cannot be traced: they begin with the line where the user wrote it."""

from __future__ import annotations

import sys
from types import FrameType

_PACKAGE = __name__.partition(".")[0]
_NAMES = {
    "absolute": "abs", "fabs": "abs", "amax": "max", "add": "+", "matmul": "@", "dot": "@",
}  # fmt: skip
"""NumPy's names of what is called otherwise in the cell language."""
_CALLERS = ("numpy", "jax", "jaxlib", "torch", "keras", "tensorflow")
"""Packages whose functions a user may call on a value of the step."""


class CellError(TypeError):
    """A step that cannot be traced as a cell; the message names the line, what is wrong and the cure."""

    __module__ = _PACKAGE  # where users find it


def user_location() -> str:
    """Return the line, file:line, of the innermost frame outside this package or in a built-in cell."""
    frame: FrameType = sys._getframe(1)
    while frame.f_back is not None and _is_internal(frame):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def line_of(error: BaseException) -> str:
    """Return the line, file:line, of the innermost of the user's frames that an error passed."""
    found, trace = "", error.__traceback__
    while trace is not None:
        if not _is_internal(trace.tb_frame):
            found = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found


def _is_internal(frame: FrameType) -> bool:
    module = str(frame.f_globals.get("__name__", ""))
    package = module.partition(".")[0]
    return package in _CALLERS or (package == _PACKAGE and not module.startswith(f"{_PACKAGE}.cells"))


def error_here(text: str) -> CellError:
    """Return an error that begins with the user's line."""
    return CellError(f"{user_location()}: {text}")


def function_error(package: str, name: str) -> CellError:
    """Return the error of another package's function that was called on a value of the step."""
    return error_here(
        f"{package}.{name} cannot take a value of the step; use stepfold's functions ({suggestion(name)})"
    )


def suggestion(name: str) -> str:
    """Return the function of the cell language that the NumPy function of this name corresponds to."""
    name = _NAMES.get(name, name)
    if name in ("+", "@"):
        return name
    public = sys.modules[_PACKAGE]
    return f"stepfold.{name}" if name in getattr(public, "__all__", ()) else "stepfold.tanh, …"
