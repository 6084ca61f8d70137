"""The floating-point mode of a thread, read and set by this processor's own instructions."""

from __future__ import annotations

import ctypes

from stepfold._llvm import Library, target
from stepfold._llvm._compile import compile_text

_X86_64 = """
define i64 @get() {
  %p = alloca i32, align 4
  call void @llvm.x86.sse.stmxcsr(ptr %p)
  %v = load i32, ptr %p, align 4
  %mode = and i32 %v, -64
  %result = zext i32 %mode to i64
  ret i64 %result
}
define void @set(i64 %mode) {
  %p = alloca i32, align 4
  %v = trunc i64 %mode to i32
  store i32 %v, ptr %p, align 4
  call void @llvm.x86.sse.ldmxcsr(ptr %p)
  ret void
}
declare void @llvm.x86.sse.stmxcsr(ptr)
declare void @llvm.x86.sse.ldmxcsr(ptr)
"""
_AARCH64 = """
define i64 @get() {
  %mode = call i64 @llvm.aarch64.get.fpcr()
  ret i64 %mode
}
define void @set(i64 %mode) {
  call void @llvm.aarch64.set.fpcr(i64 %mode)
  ret void
}
declare i64 @llvm.aarch64.get.fpcr()
declare void @llvm.aarch64.set.fpcr(i64)
"""
# Flush denormal numbers to zero, as operands too; round up.
_KNOWN = {"x86_64": (_X86_64, 0x8040, 0x4000), "aarch64": (_AARCH64, 1 << 24, 1 << 22)}


class Mode:
    """The floating-point mode of the calling thread, without what its operations have met: `flush` and `up`
    are added to a mode that rounds to the nearest number and knows denormal ones."""

    def __init__(self) -> None:
        text, self.flush, self.up = _KNOWN[target().architecture]
        self._library = Library(compile_text(text, target()), ["get", "set"])
        found = self._library.addresses
        self.get = ctypes.CFUNCTYPE(ctypes.c_int64)(found["get"])
        self.set = ctypes.CFUNCTYPE(None, ctypes.c_int64)(found["set"])
