"""The small kernels, which know no cell, by name; those that move numbers end with the bits of one."""

from __future__ import annotations

from collections.abc import Callable

from ._compile import Target
from ._ends import begin_kernel, end_kernel
from ._layout import Kernel
from ._lists import (
    chain_kernel,
    clear_kernel,
    compress_kernel,
    distinct_kernel,
    lay_kernel,
    share_kernel,
)
from ._masked import blank_kernel, gather_kernel, repeat_kernel
from ._moves import add_kernel, move_kernel, turn_kernel

SMALL: dict[str, Callable[[Target], Kernel]] = {
    "chain": lambda on: chain_kernel(),
    "clear": lambda on: clear_kernel(),
    "compress": lambda on: compress_kernel(),
    "lay": lambda on: lay_kernel(),
    "share32": lambda on: share_kernel(32),
    "share64": lambda on: share_kernel(64),
    "distinct32": lambda on: distinct_kernel(32),
    "distinct64": lambda on: distinct_kernel(64),
    "add32": lambda on: add_kernel(32, on.lanes(32)),
    "add64": lambda on: add_kernel(64, on.lanes(64)),
    "move32": lambda on: move_kernel(32, on.lanes(32)),
    "move64": lambda on: move_kernel(64, on.lanes(64)),
    "begin32": lambda on: begin_kernel(32, on.lanes(32)),
    "begin64": lambda on: begin_kernel(64, on.lanes(64)),
    "end32": lambda on: end_kernel(32, on.lanes(32)),
    "end64": lambda on: end_kernel(64, on.lanes(64)),
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
