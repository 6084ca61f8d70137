"""LLVM IR as text: values, loops and branches, independent of what is computed.

Text is some ten times faster to write than the objects of a builder, can be read, and is the same on
every run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType


@dataclass(frozen=True, slots=True)
class Value:
    """A value of the function being written: its name in the text (or a literal) and its type."""

    name: str
    type: str

    def __str__(self) -> str:
        return f"{self.type} {self.name}"


Integer = int | Value


class Module:
    """The text of one module: functions, and the external functions (intrinsics) that they call."""

    def __init__(self) -> None:
        self._declarations: dict[str, str] = {}
        self._globals: dict[str, str] = {}
        self._functions: list[str] = []

    def declare(self, name: str, result: str, arguments: Sequence[str]) -> None:
        """Declare an external function once."""
        self._declarations[name] = f"declare {result} @{name}({', '.join(arguments)})"

    def declare_void(self, name: str, arguments: Sequence[str]) -> None:
        """Declare an external function without a result once."""
        self.declare(name, "void", arguments)

    def table(self, name: str, type_: str, literal: str) -> Value:
        """Add a private constant table and return its address."""
        self._globals[name] = f"@{name} = private unnamed_addr constant {type_} {literal}, align 64"
        return Value(f"@{name}", "ptr")

    def variable(self, name: str, size: int) -> Value:
        """Add memory of so many bytes, zeros at first, that other code finds by name; return its address."""
        self._globals[name] = f"@{name} = global [{size} x i8] zeroinitializer, align 64"
        return Value(f"@{name}", "ptr")

    def add(self, function: Function) -> None:
        """Add a finished function."""
        self._functions.append(function.text())

    def text(self) -> str:
        """Return the module's whole text."""
        return "\n".join([*self._globals.values(), *self._declarations.values(), *self._functions]) + "\n"


class Function:
    """The text of one function `void name(arguments)`, written from the top to the bottom.

    Integers are `i64`, addresses are `ptr`; a Python int stands wherever an integer value may.
    """

    def __init__(self, module: Module, name: str, arguments: Sequence[tuple[str, str]]) -> None:
        self.module = module
        taken = ", ".join(f"{type_} noundef %{argument}" for argument, type_ in arguments)
        self._head = f"define void @{name}({taken})"
        self._lines: list[str] = []
        self._count = 0
        self._block = "entry"
        self.arguments = [Value(f"%{argument}", type_) for argument, type_ in arguments]

    def text(self) -> str:
        """Return the function's whole text."""
        return "\n".join([self._head + " nounwind {", "entry:", *self._lines, "  ret void", "}"]) + "\n"

    # ---- plain instructions -------------------------------------------------------------------------------

    def emit(self, type_: str, instruction: str) -> Value:
        """Write an instruction that has a result of this type."""
        self._count += 1
        name = f"%v{self._count}"
        self._lines.append(f"  {name} = {instruction}")
        return Value(name, type_)

    def line(self, instruction: str) -> None:
        """Write an instruction without a result."""
        self._lines.append(f"  {instruction}")

    def call(self, name: str, result: str, arguments: Sequence[Value]) -> Value:
        """Call an external function or intrinsic, declaring it."""
        self.module.declare(name, result, [value.type for value in arguments])
        return self.emit(result, f"call {result} @{name}({', '.join(map(str, arguments))})")

    def integer(self, value: Integer) -> Value:
        """Return a Python int as an `i64`."""
        return Value(str(value), "i64") if isinstance(value, int) else value

    def _binary(self, operation: str, a: Integer, b: Integer) -> Value:
        a, b = self.integer(a), self.integer(b)
        return self.emit(a.type, f"{operation} {a}, {b.name}")

    def add(self, a: Integer, b: Integer) -> Value:
        """Integer sum."""
        return self._binary("add nsw", a, b)

    def sub(self, a: Integer, b: Integer) -> Value:
        """Integer difference."""
        return self._binary("sub nsw", a, b)

    def mul(self, a: Integer, b: Integer) -> Value:
        """Integer product."""
        if isinstance(a, int) and isinstance(b, int):
            return self.integer(a * b)
        return self._binary("mul nsw", a, b)

    def minimum(self, a: Integer, b: Integer) -> Value:
        """The lesser of two integers."""
        return self.select(self.compare("slt", a, b), self.integer(a), self.integer(b))

    def maximum(self, a: Integer, b: Integer) -> Value:
        """The greater of two integers."""
        return self.select(self.compare("sgt", a, b), self.integer(a), self.integer(b))

    def compare(self, how: str, a: Integer, b: Integer) -> Value:
        """Compare two integers: `slt`, `sge`, `eq` …."""
        a, b = self.integer(a), self.integer(b)
        return self.emit("i1", f"icmp {how} {a}, {b.name}")

    def select(self, condition: Value, a: Value, b: Value) -> Value:
        """`a` where the condition holds, `b` elsewhere."""
        return self.emit(a.type, f"select {condition}, {a}, {b}")

    # ---- memory -------------------------------------------------------------------------------------------

    def offset(self, address: Value, index: Integer, element: str) -> Value:
        """The address `index` elements further on."""
        if self.integer(index).name == "0":
            return address
        return self.emit("ptr", f"getelementptr {element}, {address}, {self.integer(index)}")

    def load(self, type_: str, address: Value, align: int, *, constant: bool = False) -> Value:
        """Load; `constant` promises that nothing writes there while the function runs."""
        note = ", !invariant.load !{}" if constant else ""
        return self.emit(type_, f"load {type_}, {address}, align {align}{note}")

    def store(self, value: Value, address: Value, align: int) -> None:
        """Store."""
        self.line(f"store {value}, {address}, align {align}")

    # ---- control ------------------------------------------------------------------------------------------

    def label(self, name: str) -> None:
        """Begin a block."""
        self._lines.append(f"{name}:")
        self._block = name

    def new_label(self, prefix: str) -> str:
        """Return a fresh block name."""
        self._count += 1
        return f"{prefix}{self._count}"

    @property
    def block(self) -> str:
        """The name of the block that is being written."""
        return self._block

    def reserve(self) -> int:
        """Leave a line open, to be written by `fill` once its values are known."""
        self._lines.append("")
        return len(self._lines) - 1

    def fill(self, line: int, text: str) -> None:
        """Write a line left open by `reserve`."""
        self._lines[line] = f"  {text}"

    def fresh(self, type_: str) -> Value:
        """Return a name for a value that a filled line will define."""
        self._count += 1
        return Value(f"%v{self._count}", type_)

    def loop(self, start: Integer, stop: Integer, step: Integer = 1, carried: Sequence[Value] = ()) -> Loop:
        """`with f.loop(0, n) as loop:` a counted loop; see `Loop`."""
        return Loop(self, start, stop, step, carried)

    def when(self, condition: Value) -> When:
        """`with f.when(condition):` a branch without an else."""
        return When(self, condition)


class Loop:
    """A counted loop, tested at its end behind a guard; `step` may be negative if it is a Python int.

    `index` is the counter, `carried` the values that go from one iteration to the next (give the new ones
    to `next`), `results` their values after the loop (the first ones if it did not run)."""

    def __init__(
        self, f: Function, start: Integer, stop: Integer, step: Integer, carried: Sequence[Value]
    ) -> None:
        self._f = f
        self._start, self._stop, self._step = f.integer(start), f.integer(stop), step
        self._always = isinstance(start, int) and isinstance(stop, int) and start < stop
        self._down = isinstance(step, int) and step < 0
        self._first = list(carried)
        self._next: list[Value] = list(carried)
        self._again: Value | None = None
        self.results: list[Value] = []

    def __enter__(self) -> Loop:
        f = self._f
        self._guard = f.block
        self._body, self._exit = f.new_label("body"), f.new_label("exit")
        if self._always:
            f.line(f"br label %{self._body}")
        else:
            go = f.compare("sgt" if self._down else "slt", self._start, self._stop)
            f.line(f"br {go}, label %{self._body}, label %{self._exit}")
        f.label(self._body)
        self.index = f.fresh("i64")
        self.carried = [f.fresh(value.type) for value in self._first]
        self._lines = [f.reserve() for _ in range(1 + len(self._first))]
        return self

    def next(self, values: Sequence[Value], again: Value | None = None) -> None:
        """Give the values that the next iteration starts from; there is none unless `again` holds."""
        self._next, self._again = list(values), again

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            return
        f = self._f
        after = f.add(self.index, self._step)
        go = f.compare("sgt" if self._down else "slt", after, self._stop)
        if self._again is not None:
            go = f.emit("i1", f"and {go}, {self._again.name}")
        latch = f.block
        f.line(f"br {go}, label %{self._body}, label %{self._exit}")
        pairs = [(self.index, self._start, after), *zip(self.carried, self._first, self._next, strict=True)]
        for line, (value, first, following) in zip(self._lines, pairs, strict=True):
            before, again = f"[ {first.name}, %{self._guard} ]", f"[ {following.name}, %{latch} ]"
            f.fill(line, f"{value.name} = phi {value.type} {before}, {again}")
        f.label(self._exit)
        for first, following in zip(self._first, self._next, strict=True):
            guard = "" if self._always else f"[ {first.name}, %{self._guard} ], "
            self.results.append(f.emit(first.type, f"phi {first.type} {guard}[ {following.name}, %{latch} ]"))


class When:
    """A branch that is taken if a condition holds."""

    def __init__(self, f: Function, condition: Value) -> None:
        self._f, self._condition = f, condition

    def __enter__(self) -> None:
        self._then, self._after = self._f.new_label("then"), self._f.new_label("after")
        self._f.line(f"br {self._condition}, label %{self._then}, label %{self._after}")
        self._f.label(self._then)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._f.line(f"br label %{self._after}")
        self._f.label(self._after)
