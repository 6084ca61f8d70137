"""The small kernels, which know no cell, by name; those that move numbers end with the bits of one."""

from __future__ import annotations

from collections.abc import Callable

from ._compile import Target
from ._layout import Kernel
from ._lists import compress_kernel, depths_kernel, distinct_kernel, lay_kernel
from ._masked import blank_kernel, gather_kernel, repeat_kernel
from ._moves import add_kernel, turn_kernel

SMALL: dict[str, Callable[[Target], Kernel]] = {
    "compress": lambda on: compress_kernel(),
    "lay": lambda on: lay_kernel(),
    "depths32": lambda on: depths_kernel(32),
    "depths64": lambda on: depths_kernel(64),
    "distinct32": lambda on: distinct_kernel(32),
    "distinct64": lambda on: distinct_kernel(64),
    "add32": lambda on: add_kernel(32, on.lanes(32)),
    "add64": lambda on: add_kernel(64, on.lanes(64)),
    "turn32": lambda on: turn_kernel(32, on.lanes(32)),
    "turn64": lambda on: turn_kernel(64, on.lanes(64)),
    "repeat32": lambda on: repeat_kernel(32, on.lanes(32)),
    "repeat64": lambda on: repeat_kernel(64, on.lanes(64)),
    "gather32": lambda on: gather_kernel(32, on.lanes(32)),
    "gather64": lambda on: gather_kernel(64, on.lanes(64)),
    "blank32": lambda on: blank_kernel(32, on.lanes(32)),
    "blank64": lambda on: blank_kernel(64, on.lanes(64)),
}
"""Each for a target."""
