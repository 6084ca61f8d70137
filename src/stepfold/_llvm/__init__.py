"""From a plan to machine code: LLVM's language as text, vector words, loops, compiling, the cache on disk."""

from ._cache import load
from ._compile import Library, Target, assembly, target
from ._kernels import (
    STREAM_WORDS,
    backward_kernel,
    forward_kernel,
    project_kernel,
    stream_kernel,
    table_kernel,
)
from ._layout import INPUT_BLOCKS, Kernel, Layout, layout_for
from ._stage import Panel

__all__ = [
    "INPUT_BLOCKS",
    "STREAM_WORDS",
    "Kernel",
    "Layout",
    "Library",
    "Panel",
    "Target",
    "assembly",
    "backward_kernel",
    "forward_kernel",
    "layout_for",
    "load",
    "project_kernel",
    "stream_kernel",
    "table_kernel",
    "target",
]
