"""Machine code, memory and threads; nothing here knows a batch.

A kernel is compiled and loaded once (`_kernels`). A `Program` is a list of launches, recorded for shapes and
run with addresses in one native call (`_program`), its tasks on the threads of an executor: our own, or those
that the host lends (`_executor`). Weights are packed for the kernels by copies that are planned once
(`_copy_plan`, `_packing`). Working memory comes out of bounded pools (`_buffers`)."""

from ._buffers import FRESH, Array, acquire, address, aligned, release_unused
from ._copy_plan import Copy
from ._executor import Executor, calling_thread, openmp_of, own_threads, thread_cap
from ._kernels import CompiledKernel, compiled, support
from ._packing import Packing, Pieces, Sources, backward_sizes, forward_sizes, sources_of
from ._program import (
    SLOTS,
    Argument,
    Launches,
    Phase,
    Program,
    Recorder,
    Status,
    last_executor,
    status_of,
)

__all__ = [
    "FRESH",
    "SLOTS",
    "Argument",
    "Array",
    "CompiledKernel",
    "Copy",
    "Executor",
    "Launches",
    "Packing",
    "Phase",
    "Pieces",
    "Program",
    "Recorder",
    "Sources",
    "Status",
    "acquire",
    "address",
    "aligned",
    "backward_sizes",
    "calling_thread",
    "compiled",
    "forward_sizes",
    "last_executor",
    "openmp_of",
    "own_threads",
    "release_unused",
    "sources_of",
    "status_of",
    "support",
    "thread_cap",
]
