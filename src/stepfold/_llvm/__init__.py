"""From a plan to machine code: LLVM IR as text, vector functions, loops, compiling, the cache on disk.

`_kernels` are those of a cell; the support kernels (`_support_kernels`) know no cell: active steps and groups
of rows (`_schedule`, `_groups`), their residuals (`_residuals`), rows and copies (`_rows`, `_copies`),
running programs (`_program`), threads (`_workers`), the handler for XLA (`_xla`)."""

from ._cache import load
from ._cache_folder import (
    CACHE_BOUND,
    FOLDER_VARIABLE,
    CacheFile,
    UntrustedError,
    cache_files,
    cache_folder,
    check_folder,
    clear_folder,
)
from ._compile import Library, assembly
from ._copies import COPY
from ._kernels import KERNELS
from ._layout import INPUT_BLOCKS, Kernel, Layout, layout_for
from ._program import ARGUMENT, CALL, MOST_ARGUMENTS, POOL, POOL_BLOCKS, PROGRAM
from ._residuals import CHECKED, HEADER, HEADER_WORDS
from ._signature import ROWS, STREAM
from ._sizes import Sizes
from ._support import ERRORS, GROUP, GROUP_WORDS, STATUS, STATUS_WORDS
from ._support_kernels import support_kernel, support_names
from ._target import Target, target, target_names
from ._timestep import TIMESTEP_KERNELS
from ._timestep_arrays import Timestep
from ._workers import PROCESSOR_WORDS, SYSTEM_CALLS, WORKER, WORKERS
from ._xla import ENTRY, MOST_SLOTS, PROBES, TABLE_SIZE, XLA

__all__ = [
    "ARGUMENT",
    "CACHE_BOUND",
    "CALL",
    "CHECKED",
    "COPY",
    "ENTRY",
    "ERRORS",
    "FOLDER_VARIABLE",
    "GROUP",
    "GROUP_WORDS",
    "HEADER",
    "HEADER_WORDS",
    "INPUT_BLOCKS",
    "KERNELS",
    "MOST_ARGUMENTS",
    "MOST_SLOTS",
    "POOL",
    "POOL_BLOCKS",
    "PROBES",
    "PROCESSOR_WORDS",
    "PROGRAM",
    "ROWS",
    "STATUS",
    "STATUS_WORDS",
    "STREAM",
    "SYSTEM_CALLS",
    "TABLE_SIZE",
    "TIMESTEP_KERNELS",
    "WORKER",
    "WORKERS",
    "XLA",
    "CacheFile",
    "Kernel",
    "Layout",
    "Library",
    "Sizes",
    "Target",
    "Timestep",
    "UntrustedError",
    "assembly",
    "cache_files",
    "cache_folder",
    "check_folder",
    "clear_folder",
    "layout_for",
    "load",
    "support_kernel",
    "support_names",
    "target",
    "target_names",
]
