"""Compiling LLVM's text to machine code: the target, the passes, the loader."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import llvmlite.binding as llvm


@functools.cache
def _binding() -> ModuleType:
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
        """The kind of processor, as LLVM calls it: "x86_64", "aarch64"."""
        return triple().split("-")[0]

    def lanes(self, bits: int) -> int:
        """Return how many elements of so many bits one vector register holds."""
        return self.width // bits


@functools.cache
def triple() -> str:
    """Prepare LLVM for this machine, and return LLVM's name of its processor family and system."""
    llvm = _binding()
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return str(llvm.get_process_triple())


@functools.cache
def target(name: str = "host") -> Target:
    """Return the target called `name`: "host" (this processor), "haswell" (AVX2), or "x86-64" (SSE2).

    Raises:
        ValueError: the name is another.
    """
    triple()
    if name == "x86-64":
        return Target("x86-64", "", 128, 16)
    if name == "haswell":
        return Target("haswell", "", 256, 16)
    if name != "host":
        raise ValueError(f"there is no target {name!r}; use one of 'host', 'haswell', 'x86-64'")
    llvm = _binding()
    has = llvm.get_host_cpu_features()
    width, registers = 128, 32 if not triple().startswith("x86_64") else 16
    if has.get("avx512f") and has.get("avx512vl") and has.get("avx512dq"):
        width, registers = 512, 32
    elif has.get("avx2") and has.get("fma"):
        width = 256
    return Target(llvm.get_host_cpu_name(), has.flatten(), width, registers)


@functools.cache
def machine(for_target: Target) -> llvm.TargetMachine:
    """Return LLVM's target machine for a target."""
    llvm = _binding()
    return llvm.Target.from_triple(triple()).create_target_machine(
        cpu=for_target.cpu, features=for_target.features, opt=3, reloc="pic", codemodel="default", jit=True
    )


def compile_text(text: str, for_target: Target) -> bytes:
    """Compile a module's text to an object file."""
    build = machine(for_target)
    module = _optimized(text, build)
    return bytes(build.emit_object(module))


def assembly(text: str, for_target: Target) -> str:
    """Compile a module's text to assembly, which is meant to be read."""
    build = machine(for_target)
    return str(build.emit_assembly(_optimized(text, build)))


def _optimized(text: str, build: llvm.TargetMachine) -> llvm.ModuleRef:
    llvm = _binding()
    module = llvm.parse_assembly(text)
    module.triple = build.triple
    module.data_layout = str(build.target_data)
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=1)
    options.loop_unrolling = False
    builder = llvm.create_pass_builder(build, options)
    passes = llvm.create_new_function_pass_manager()
    passes.add_instruction_combine_pass()
    for function in module.functions:
        if not function.is_declaration:
            passes.run(function, builder)
    return module


class Library:
    """Loaded machine code and the addresses of its functions, which are valid while this object lives."""

    def __init__(self, object_file: bytes, names: list[str]) -> None:
        llvm = _binding()
        self._jit = _lljit()
        builder = llvm.JITLibraryBuilder()
        builder.add_object_img(object_file)
        builder.add_current_process()
        for name in names:
            builder.export_symbol(name)
        self._tracker = builder.link(self._jit, f"stepfold{next(_numbers)}")
        self.addresses: dict[str, int] = {name: int(self._tracker[name]) for name in names}


_numbers = iter(range(1 << 62))


@functools.cache
def _lljit() -> llvm.LLJIT:
    llvm = _binding()
    triple()
    # JITLink places an object's sections side by side. LLVM's older linker places each where there is room,
    # and aborts the process if code and constants are over 2 GiB apart, which happens if little room is left.
    return llvm.create_lljit_compiler(use_jit_link=True)
