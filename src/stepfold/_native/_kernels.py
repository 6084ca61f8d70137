"""Machine code of kernels, loaded once a process."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from .._llvm import Kernel, Target, load, support_kernel, target
from .._locks import ForkSafeLock


class CompiledKernel:
    """A kernel's code in memory: `kernel` says what it is called with, `addresses` where what it exports
    lies. The code stays loaded as long as this does: programs hold the kernels that they launch."""

    def __init__(self, kernel: Kernel, library: Any, from_cache: bool) -> None:
        self.kernel, self._library, self.from_cache = kernel, library, from_cache
        self.addresses: dict[str, int] = library.addresses
        self.address = self.addresses[kernel.name]


def compiled(name: str, on: Target, make: Callable[[], Kernel]) -> CompiledKernel:
    """Return a kernel's code, from the cache on disk if it is there; `name` tells it from all others."""
    return CompiledKernel(*load(name, on, make))


_lock = ForkSafeLock(reentrant=True)


@functools.cache
def _support(name: str) -> CompiledKernel:
    on = target()
    return compiled(f"support {name}", on, lambda: support_kernel(name, on))


def support(name: str) -> CompiledKernel:
    """Return a support kernel's code."""
    with _lock.lock:
        return _support(name)
