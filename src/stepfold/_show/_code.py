"""The code that a step becomes: LLVM's language, or the machine's."""

from __future__ import annotations

from typing import Any

from .._cell import Cell, checked_dtype
from .._llvm import KERNELS, Kernel, assembly, layout_for
from .._llvm import target as find_target
from .._plan import plan


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
    if kernel not in KERNELS:
        raise ValueError(f"there is no kernel {kernel!r}; choose from {', '.join(KERNELS)}")
    cell.parameter_shapes(features=1, units=units)  # says what is wrong with units
    layout = layout_for(plan(cell.step), int(units), checked_dtype(dtype).itemsize * 8, find_target(target))
    return KERNELS[kernel](layout)
