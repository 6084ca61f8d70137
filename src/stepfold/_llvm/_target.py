"""The processors that kernels are compiled for, by architecture."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType


@functools.cache
def binding() -> ModuleType:
    """Load LLVM, which takes as long as the rest of the package: who compiles and runs nothing does not
    wait."""
    import llvmlite.binding

    found: ModuleType = llvmlite.binding
    return found


@dataclass(frozen=True)
class Target:
    """A processor to compile for.

    `cpu` and `features` are LLVM's names; `width` is the size of a vector register in bits, `registers` the
    number of these registers.
    """

    cpu: str
    features: str
    width: int
    registers: int

    @property
    def architecture(self) -> str:
        """The kind of processor: "x86_64", "aarch64", or what LLVM calls another one."""
        return architecture(triple())

    def lanes(self, bits: int) -> int:
        """Return how many elements of so many bits one vector register holds."""
        return self.width // bits


_TARGETS: dict[str, dict[str, Target]] = {
    "x86_64": {
        "haswell": Target("haswell", "", 256, 16),  # AVX2
        "x86-64": Target("x86-64", "", 128, 16),  # SSE2
    },
    "aarch64": {"generic": Target("generic", "", 128, 32)},  # NEON
}
"""The targets besides the host that each architecture has: any other architecture has none."""


@functools.cache
def triple() -> str:
    """Prepare LLVM for this machine, and return LLVM's name of its architecture, system and object format."""
    llvm = binding()
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return object_triple(str(llvm.get_process_triple()), sys.platform)


def object_triple(process: str, system: str) -> str:
    """Return the triple of object files for a process. On Windows they have the format ELF: LLVM's loaders
    do not find the constants that the compiler puts into objects of the format COFF."""
    return f"{process}-elf" if system == "win32" else process


def architecture(of_triple: str) -> str:
    """Return the kind of processor that a triple begins with, under one name on every system."""
    name = of_triple.split("-")[0]
    return {"arm64": "aarch64", "amd64": "x86_64"}.get(name, name)


def system(of_triple: str) -> str:
    """Return the system that a triple names: "linux", "windows", "darwin", or "" for any other."""
    named = of_triple.split("-")[2:3]
    return next((name for name in ("linux", "windows", "darwin") if named and named[0].startswith(name)), "")


def thread_yield() -> str:
    """Return the name of this system's function without arguments that lets other threads run."""
    return "SwitchToThread" if system(triple()) == "windows" else "sched_yield"


def target_names() -> list[str]:
    """Return the names of the targets that this processor's architecture has, the host first."""
    return ["host", *_TARGETS.get(architecture(triple()), {})]


@functools.cache
def target(name: str = "host") -> Target:
    """Return the target called `name`: "host" (this processor), on x86-64 also "haswell" (AVX2) and "x86-64"
    (SSE2), on AArch64 also "generic" (NEON).

    Raises:
        ValueError: this processor's architecture has no target of this name.
    """
    kind = architecture(triple())
    if name == "host":
        llvm = binding()
        has = llvm.get_host_cpu_features()
        width, registers = vectors_of(kind, has)
        return Target(llvm.get_host_cpu_name(), has.flatten(), width, registers)
    found = _TARGETS.get(kind, {}).get(name)
    if found is None:
        names = ", ".join(map(repr, target_names()))
        raise ValueError(f"there is no target {name!r} on {kind}; use one of {names}")
    return found


def vectors_of(kind: str, has: Mapping[str, bool]) -> tuple[int, int]:
    """Return the bits of a vector register and the number of these registers on a processor of an
    architecture, by the features that LLVM says it has."""
    if kind != "x86_64":
        return 128, 32
    if has.get("avx512f") and has.get("avx512vl") and has.get("avx512dq"):
        return 512, 32
    return (256 if has.get("avx2") and has.get("fma") else 128), 16
