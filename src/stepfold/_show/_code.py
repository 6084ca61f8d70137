"""The code of a step's kernels: LLVM IR or assembly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._dtype import checked_dtype
from .._llvm import KERNELS, Kernel, assembly, layout_for
from .._llvm import target as find_target
from .._plan import plan
from .._step import Step


def llvm(
    step: Step,
    *,
    units: int = 32,
    dtype: Any = "float32",
    target: str = "host",
    kernel: str = "infer",
    **sizes: int,
) -> str:
    """Return a kernel's LLVM IR before optimisation; `sizes`: those of the step's other axes."""
    return _kernel(step, units, dtype, target, kernel, sizes).text


def asm(
    step: Step,
    *,
    units: int = 32,
    dtype: Any = "float32",
    target: str = "host",
    kernel: str = "infer",
    **sizes: int,
) -> str:
    """Return a kernel as the target's assembly; `sizes`: those of the step's other axes."""
    return assembly(_kernel(step, units, dtype, target, kernel, sizes).text, find_target(target))


def _kernel(step: Step, units: int, dtype: Any, target: str, kernel: str, sizes: Mapping[str, int]) -> Kernel:
    if kernel not in KERNELS:
        raise ValueError(f"there is no kernel {kernel!r}; choose from {', '.join(KERNELS)}")
    step = step.scanned
    step.parameter_shapes(**{"features": 1, "units": units, **sizes})  # checks the sizes
    bits = checked_dtype(dtype).itemsize * 8
    layout = layout_for(plan(step), int(units), bits, find_target(target), sizes.items())
    return KERNELS[kernel](layout)
