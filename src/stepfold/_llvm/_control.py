"""Functions with a result, variables in memory, endless loops, atomic operations and waiting: what the code
that runs programs needs beyond `_text`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from ._target import thread_yield
from ._text import Function, Integer, Module, Value

_PATIENCE = 1023  # turns of waiting, less one a power of two, after which another thread may run


class Routine(Function):
    """A function of a module with other functions: it may have a result, and be called by them."""

    def __init__(
        self,
        module: Module,
        name: str,
        arguments: Sequence[tuple[str, str]],
        *,
        result: str = "void",
        local: bool = False,
    ) -> None:
        super().__init__(module, name, arguments)
        self.result = result
        self._head = self._head.replace("define void", f"define {'internal ' * local}{result}", 1)
        self._returned = ""
        self.name = name

    def text(self) -> str:
        """Return the function's whole text."""
        end = self._returned or "  ret void"
        return "\n".join([self._head + " nounwind {", "entry:", *self._lines, end, "}"]) + "\n"

    def give(self, value: Value) -> None:
        """End the function with its result."""
        self._returned = f"  ret {value}"

    def finish(self) -> None:
        """Add the function to its module."""
        self.module.add(self)

    # ---- calls --------------------------------------------------------------------------------------------

    def invoke(self, function: str | Value, *arguments: Value) -> None:
        """Call a function of this module by name, or one by its address, without a result."""
        name = f"@{function}" if isinstance(function, str) else function.name
        self.line(f"call void {name}({', '.join(map(str, arguments))})")

    def ask(self, function: str | Value, result: str, *arguments: Value) -> Value:
        """Call a function of this module by name, or one by its address, with a result."""
        name = f"@{function}" if isinstance(function, str) else function.name
        return self.emit(result, f"call {result} {name}({', '.join(map(str, arguments))})")

    # ---- memory -------------------------------------------------------------------------------------------

    def stack(self, words: int) -> Value:
        """Memory for so many words on the stack; to be asked for before any loop."""
        return self.emit("ptr", f"alloca [{words} x i64], align 16")

    def to_integer(self, address: Value) -> Value:
        """An address as an integer."""
        return self.emit("i64", f"ptrtoint {address} to i64")

    def to_address(self, value: Value) -> Value:
        """An integer as an address."""
        return self.emit("ptr", f"inttoptr {value} to ptr")

    def atomic_load(self, address: Value) -> Value:
        """Load what other threads write; what they wrote before is seen too."""
        return self.emit("i64", f"load atomic i64, {address} seq_cst, align 8")

    def atomic_store(self, value: Integer, address: Value) -> None:
        """Store what other threads read, after all that was written before."""
        self.line(f"store atomic {self.integer(value)}, {address} seq_cst, align 8")

    def atomic_add(self, address: Value, value: Integer) -> Value:
        """Add, and return what was there."""
        return self.emit("i64", f"atomicrmw add {address}, {self.integer(value)} seq_cst")

    def atomic_exchange(self, address: Value, value: Integer) -> Value:
        """Store, and return what was there."""
        return self.emit("i64", f"atomicrmw xchg {address}, {self.integer(value)} seq_cst")

    def atomic_claim(self, address: Value, expected: Integer, value: Integer) -> Value:
        """Store if the expected value is there; returns whether it was."""
        a, b = self.integer(expected), self.integer(value)
        pair = self.emit("{ i64, i1 }", f"cmpxchg {address}, {a}, {b} seq_cst seq_cst")
        return self.emit("i1", f"extractvalue {pair}, 1")

    # ---- control ------------------------------------------------------------------------------------------

    @contextmanager
    def forever(self) -> Iterator[Callable[[Value], None]]:
        """`with f.forever() as leave:` a loop that ends where `leave(condition)` finds its condition true."""
        body, done = self.new_label("again"), self.new_label("done")
        self.line(f"br label %{body}")
        self.label(body)

        def leave(condition: Value) -> None:
            on = self.new_label("on")
            self.line(f"br {condition}, label %{done}, label %{on}")
            self.label(on)

        yield leave
        self.line(f"br label %{body}")
        self.label(done)

    @contextmanager
    def either(self, condition: Value) -> Iterator[Callable[[], None]]:
        """`with f.either(condition) as otherwise:` a branch with an else, which begins at `otherwise()`."""
        then, other, after = map(self.new_label, ("then", "else", "after"))
        self.line(f"br {condition}, label %{then}, label %{other}")
        self.label(then)

        def otherwise() -> None:
            self.line(f"br label %{after}")
            self.label(other)

        yield otherwise
        self.line(f"br label %{after}")
        self.label(after)


def pause(f: Function, architecture: str) -> None:
    """Tell the processor that the thread is waiting."""
    if architecture == "x86_64":
        f.module.declare_void("llvm.x86.sse2.pause", [])
        f.line("call void @llvm.x86.sse2.pause()")
    elif architecture == "aarch64":
        f.module.declare_void("llvm.aarch64.hint", ["i32"])
        f.line("call void @llvm.aarch64.hint(i32 1)")


def wait(f: Function, ready: Callable[[], Value], architecture: str) -> None:
    """Wait until `ready()`, a condition without branches, holds: spin, now and then let another thread
    run."""
    let_others_run = thread_yield()
    f.module.declare(let_others_run, "i32", [])
    entry, again, late, done = f.block, *map(f.new_label, ("wait", "late", "done"))
    tired = f.new_label("tired")
    f.line(f"br label %{again}")
    f.label(again)
    turns, following = f.fresh("i64"), f.fresh("i64")
    counter = f.reserve()
    f.line(f"br {ready()}, label %{done}, label %{late}")
    f.label(late)
    pause(f, architecture)
    f.line(f"{following.name} = add i64 {turns.name}, 1")
    yields = f.compare("eq", f.emit("i64", f"and {following}, {_PATIENCE}"), 0)
    f.line(f"br {yields}, label %{tired}, label %{again}")
    f.label(tired)
    f.line(f"call i32 @{let_others_run}()")
    f.line(f"br label %{again}")
    arrivals = f"[ 0, %{entry} ], [ {following.name}, %{late} ], [ {following.name}, %{tired} ]"
    f.fill(counter, f"{turns.name} = phi i64 {arrivals}")
    f.label(done)
