"""From a plan to machine code: LLVM's language as text, vector words, loops, compiling, the cache on disk."""

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
from ._compile import Library, Target, assembly, target
from ._kernels import KERNELS, STREAM_WORDS, stream_kernel
from ._layout import INPUT_BLOCKS, Kernel, Layout, layout_for
from ._moves import MOVE
from ._small import SMALL
from ._stage import Panel, Shape

__all__ = [
    "CACHE_BOUND",
    "FOLDER_VARIABLE",
    "INPUT_BLOCKS",
    "KERNELS",
    "MOVE",
    "SMALL",
    "STREAM_WORDS",
    "CacheFile",
    "Kernel",
    "Layout",
    "Library",
    "Panel",
    "Shape",
    "Target",
    "UntrustedError",
    "assembly",
    "cache_files",
    "cache_folder",
    "check_folder",
    "clear_folder",
    "layout_for",
    "load",
    "stream_kernel",
    "target",
]
