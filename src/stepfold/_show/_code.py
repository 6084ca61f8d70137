"""The code that a step becomes: LLVM's language, or the machine's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._cell import Cell, checked_dtype
from .._llvm import (
    Kernel,
    Layout,
    assembly,
    backward_kernel,
    forward_kernel,
    layout_for,
    project_kernel,
)
from .._llvm import target as find_target
from .._plan import plan

_KERNELS: dict[str, Callable[[Layout], Kernel]] = {
    "infer": lambda layout: forward_kernel(layout, training=False),
    "train": lambda layout: forward_kernel(layout, training=True),
    "back": backward_kernel,
    "project": project_kernel,
}


def llvm(
    cell: Cell, *, units: int = 32, dtype: Any = "float32", target: str = "host", kernel: str = "infer"
) -> str:
    """Return a kernel in LLVM's language, as it is before LLVM's own passes."""
    return _kernel(cell, units, dtype, target, kernel).text


def asm(
    cell: Cell, *, units: int = 32, dtype: Any = "float32", target: str = "host", kernel: str = "infer"
) -> str:
    """Return a kernel as the target's assembly."""
    return assembly(_kernel(cell, units, dtype, target, kernel).text, find_target(target))


def _kernel(cell: Cell, units: int, dtype: Any, target: str, kernel: str) -> Kernel:
    if kernel not in _KERNELS:
        raise ValueError(f"there is no kernel {kernel!r}; choose from {', '.join(_KERNELS)}")
    cell.parameter_shapes(features=1, units=units)  # says what is wrong with units
    layout = layout_for(plan(cell.step), int(units), checked_dtype(dtype).itemsize * 8, find_target(target))
    return _KERNELS[kernel](layout)
