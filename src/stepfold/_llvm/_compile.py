"""Compiling LLVM's text to machine code: the passes, the loader."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING

from ._target import Target, binding, system, target, triple

if TYPE_CHECKING:
    import llvmlite.binding as llvm


@functools.cache
def machine(for_target: Target) -> llvm.TargetMachine:
    """Return LLVM's target machine for a target."""
    llvm = binding()
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
    llvm = binding()
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
        llvm = binding()
        self._jit = _lljit()
        builder = llvm.JITLibraryBuilder()
        builder.add_object_img(object_file)
        builder.add_current_process()
        for name in names:
            builder.export_symbol(name)
        self._tracker = builder.link(self._jit, f"stepfold-{os.urandom(8).hex()}")
        self.addresses: dict[str, int] = {name: int(self._tracker[name]) for name in names}


@functools.cache
def _lljit() -> llvm.LLJIT:
    llvm = binding()
    built = triple()
    # On Windows the loader has to be told of the objects' format, which is not the system's own.
    loads = machine(target()) if system(built) == "windows" else None
    # JITLink places an object's sections side by side. LLVM's older linker places each where there is room,
    # and aborts the process if code and constants are over 2 GiB apart, which happens if little room is left.
    return llvm.create_lljit_compiler(loads, use_jit_link=True)
