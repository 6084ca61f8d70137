"""From a plan to machine code: LLVM's language as text, vector words, loops, compiling, the cache on disk."""

from ._cache import load
from ._compile import Library, Target, assembly, target
from ._copies import COPY
from ._groups import CHECKED, HEADER, HEADER_WORDS
from ._kernels import KERNELS, stream_kernel
from ._layout import INPUT_BLOCKS, Kernel, Layout, layout_for
from ._program import ARGUMENT, CALL, LAUNCH, MOST_ARGUMENTS, PHASE, POOL, POOL_BLOCKS, PROGRAM
from ._signature import STREAM
from ._stage import Panel, Shape
from ._support import ERRORS, GROUP, GROUP_WORDS, STATUS, STATUS_WORDS
from ._support_kernels import support_kernel
from ._workers import PROCESSOR_WORDS, SYSTEM_CALLS, WORKER, WORKERS
from ._xla import ENTRY, MOST_SLOTS, PROBES, TABLE_SIZE, XLA

__all__ = [
    "ENTRY",
    "MOST_SLOTS",
    "PROBES",
    "TABLE_SIZE",
    "XLA",
    "ARGUMENT",
    "CALL",
    "CHECKED",
    "COPY",
    "ERRORS",
    "GROUP",
    "GROUP_WORDS",
    "HEADER",
    "HEADER_WORDS",
    "INPUT_BLOCKS",
    "KERNELS",
    "LAUNCH",
    "MOST_ARGUMENTS",
    "PHASE",
    "POOL",
    "POOL_BLOCKS",
    "PROCESSOR_WORDS",
    "PROGRAM",
    "STATUS",
    "STATUS_WORDS",
    "STREAM",
    "SYSTEM_CALLS",
    "WORKER",
    "WORKERS",
    "Kernel",
    "Layout",
    "Library",
    "Panel",
    "Shape",
    "Target",
    "assembly",
    "layout_for",
    "load",
    "stream_kernel",
    "support_kernel",
    "target",
]
