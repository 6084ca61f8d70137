"""Instructions on vectors: memory, arithmetic, comparisons, bits, reductions over the lanes."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

from ._text import Function, Integer, Value


class Arithmetic:
    """Writes vector instructions into a function.

    A value is a vector of `lanes` (two or more, a power of two) elements of `bits` (32 or 64) each. Any
    number of lanes compiles for any target; LLVM splits what is wider than a register. Every operation
    treats NaN and infinity as IEEE 754 does.
    """

    def __init__(self, function: Function, bits: int, lanes: int) -> None:
        if bits not in (32, 64):
            raise ValueError(f"a vector has elements of 32 or 64 bits, not of {bits}")
        if lanes < 2 or lanes & (lanes - 1):
            raise ValueError(f"a vector has 2, 4, 8, 16 … lanes, not {lanes}")
        self.function = function
        self.bits = bits
        self.lanes = lanes
        self.element = "float" if bits == 32 else "double"
        self.type = f"<{lanes} x {self.element}>"
        self.integers = f"<{lanes} x i{bits}>"
        self._suffix = f"v{lanes}f{bits}"

    # ---- memory --------------------------------------------------------------------------------------------

    def load(self, address: Value, align: int | None = None, *, constant: bool = False) -> Value:
        """Load a vector; aligned to its elements unless `align` (bytes) promises more."""
        return self.function.load(self.type, address, align or self.bits // 8, constant=constant)

    def store(self, value: Value, address: Value, align: int | None = None) -> None:
        """Store a vector; aligned to its elements unless `align` (bytes) promises more."""
        self.function.store(value, address, align or self.bits // 8)

    def prefetch(self, address: Value, *, write: bool = False, level: int = 1) -> None:
        """Ask for the cache line at an address, which need not be one; to `write` there, or to read; into
        the cache of this `level` and those behind it."""
        self.function.module.declare_void("llvm.prefetch.p0", ["ptr", "i32", "i32", "i32"])
        hints = f"i32 {int(write)}, i32 {4 - level}, i32 1"
        self.function.line(f"call void @llvm.prefetch.p0({address}, {hints})")

    def splat(self, address: Value, *, constant: bool = False) -> Value:
        """Load one element into every lane; LLVM folds it into the instruction that uses it."""
        return self.broadcast(self.function.load(self.element, address, self.bits // 8, constant=constant))

    def broadcast(self, scalar: Value) -> Value:
        """Put one value into every lane."""
        first = self.function.emit(self.type, f"insertelement {self.type} poison, {scalar}, i64 0")
        zeros = f"<{self.lanes} x i32> zeroinitializer"
        return self.function.emit(self.type, f"shufflevector {first}, {self.type} poison, {zeros}")

    def constant(self, value: float) -> Value:
        """A literal: this value, rounded to the element type, in every lane."""
        return Value(f"splat ({self.element} {self._literal(value)})", self.type)

    def _literal(self, value: float) -> str:
        if self.bits == 32 and math.isfinite(value):
            try:
                value = struct.unpack("<f", struct.pack("<f", value))[0]
            except OverflowError:  # too large for a float32
                value = math.copysign(math.inf, value)
        return f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"

    # ---- arithmetic ----------------------------------------------------------------------------------------

    def _binary(self, operation: str, a: Value, b: Value) -> Value:
        return self.function.emit(self.type, f"{operation} {a}, {b.name}")

    def _intrinsic(self, name: str, *arguments: Value) -> Value:
        return self.function.call(f"llvm.{name}.{self._suffix}", self.type, arguments)

    def add(self, a: Value, b: Value) -> Value:
        """`a + b`; may be fused with a product."""
        return self._binary("fadd contract", a, b)

    def subtract(self, a: Value, b: Value) -> Value:
        """`a - b`; may be fused with a product."""
        return self._binary("fsub contract", a, b)

    def multiply(self, a: Value, b: Value) -> Value:
        """`a * b`; may be fused with a sum."""
        return self._binary("fmul contract", a, b)

    def divide(self, a: Value, b: Value) -> Value:
        """`a / b`."""
        return self._binary("fdiv", a, b)

    def negate(self, a: Value) -> Value:
        """`-a`."""
        return self.function.emit(self.type, f"fneg {a}")

    def fma(self, a: Value, b: Value, c: Value) -> Value:
        """`a * b + c`, rounded once where the target has such an instruction, twice elsewhere."""
        return self._intrinsic("fmuladd", a, b, c)

    def polynomial(self, x: Value, coefficients: Sequence[float]) -> Value:
        """`c[0] + c[1] * x + c[2] * x**2 + …`, two or more of them.

        The terms are taken in pairs and the pairs by powers of `x**2`, which for one more product halves
        the time until the result is there; but `c[0]`, usually the greatest, is added last, so that it
        costs no accuracy.
        """
        first, *rest = map(self.constant, coefficients)
        pairs = [self.fma(b, x, a) for a, b in zip(rest[::2], rest[1::2], strict=False)]
        if len(rest) % 2:
            pairs.append(rest[-1])
        result = pairs.pop()
        if pairs:
            square = self.multiply(x, x)
        while pairs:
            result = self.fma(result, square, pairs.pop())
        return self.fma(result, x, first)

    def floor(self, a: Value) -> Value:
        """The greatest integer that is not above `a`."""
        return self._intrinsic("floor", a)

    def absolute(self, a: Value) -> Value:
        """`|a|`."""
        return self._intrinsic("fabs", a)

    def copysign(self, a: Value, sign: Value) -> Value:
        """`|a|` with the sign of `sign`."""
        return self._intrinsic("copysign", a, sign)

    def sqrt(self, a: Value) -> Value:
        """The square root; NaN below zero."""
        return self._intrinsic("sqrt", a)

    def maximum(self, a: Value, b: Value) -> Value:
        """The greater; NaN where either is NaN (as `numpy.maximum`)."""
        return self._extreme("ogt", a, b)

    def minimum(self, a: Value, b: Value) -> Value:
        """The lesser; NaN where either is NaN (as `numpy.minimum`)."""
        return self._extreme("olt", a, b)

    def _extreme(self, how: str, a: Value, b: Value) -> Value:
        # x86's own maximum gives `b` where either is NaN. So if `a` is a literal, it is right as it
        # stands, and else one more selection does it; llvm.maximum would also sort -0 before +0, with more
        # instructions.
        if b.name.startswith("splat"):
            a, b = b, a
        result = self.where(self._compare(how, a, b), a, b)
        return result if a.name.startswith("splat") else self.where(self._compare("uno", a, a), a, result)

    # ---- comparisons ---------------------------------------------------------------------------------------

    def _compare(self, how: str, a: Value, b: Value) -> Value:
        return self.function.emit(f"<{self.lanes} x i1>", f"fcmp {how} {a}, {b.name}")

    def less(self, a: Value, b: Value) -> Value:
        """`a < b`, false for NaN."""
        return self._compare("olt", a, b)

    def less_equal(self, a: Value, b: Value) -> Value:
        """`a <= b`, false for NaN."""
        return self._compare("ole", a, b)

    def greater(self, a: Value, b: Value) -> Value:
        """`a > b`, false for NaN."""
        return self._compare("ogt", a, b)

    def greater_equal(self, a: Value, b: Value) -> Value:
        """`a >= b`, false for NaN."""
        return self._compare("oge", a, b)

    def equal(self, a: Value, b: Value) -> Value:
        """`a == b`, false for NaN."""
        return self._compare("oeq", a, b)

    def not_equal(self, a: Value, b: Value) -> Value:
        """`a != b`, true for NaN."""
        return self._compare("une", a, b)

    def where(self, mask: Value, a: Value, b: Value) -> Value:
        """`a` in the lanes where the mask is true, `b` in the others."""
        return self.function.select(mask, a, b)

    def logical_and(self, a: Value, b: Value) -> Value:
        """Where both masks are true."""
        return self._mask("and", a, b.name)

    def logical_or(self, a: Value, b: Value) -> Value:
        """Where one of two masks is true, or both."""
        return self._mask("or", a, b.name)

    def logical_not(self, a: Value) -> Value:
        """Where a mask is false."""
        return self._mask("xor", a, "splat (i1 true)")

    def first_lanes(self, count: Integer) -> Value:
        """True in the first `count` lanes: none if it is below one, all if it is the lanes or more."""
        f, lanes = self.function, self.lanes
        if isinstance(count, int):
            bits = ", ".join(f"i1 {'true' if i < count else 'false'}" for i in range(lanes))
            return Value(f"<{bits}>", f"<{lanes} x i1>")
        counts = f"<{lanes} x i64>"
        first = f.emit(counts, f"insertelement {counts} poison, {count}, i64 0")
        limit = f.emit(counts, f"shufflevector {first}, {counts} poison, <{lanes} x i32> zeroinitializer")
        lane = Value("<" + ", ".join(f"i64 {i}" for i in range(lanes)) + ">", counts)
        return f.emit(f"<{lanes} x i1>", f"icmp slt {lane}, {limit.name}")

    def _mask(self, operation: str, a: Value, other: str) -> Value:
        return self.function.emit(f"<{self.lanes} x i1>", f"{operation} {a}, {other}")

    # ---- bits ----------------------------------------------------------------------------------------------

    def to_bits(self, a: Value) -> Value:
        """The elements' bits as integers."""
        return self.function.emit(self.integers, f"bitcast {a} to {self.integers}")

    def from_bits(self, a: Value) -> Value:
        """The elements that have these bits."""
        return self.function.emit(self.type, f"bitcast {a} to {self.type}")

    def from_integers(self, a: Value) -> Value:
        """Signed integers as elements."""
        return self.function.emit(self.type, f"sitofp {a} to {self.type}")

    def integer_operation(self, operation: str, a: Value, b: Value | int) -> Value:
        """`add`, `sub`, `shl`, `ashr` … on vectors of integers; a Python int stands for a vector of it."""
        other = f"splat (i{self.bits} {b})" if isinstance(b, int) else b.name
        return self.function.emit(self.integers, f"{operation} {a}, {other}")

    # ---- over the lanes ------------------------------------------------------------------------------------

    def horizontal_sum(self, value: Value) -> Value:
        """The sum of the lanes as one value, in any order."""
        name = f"llvm.vector.reduce.fadd.{self._suffix}"
        self.function.module.declare(name, self.element, [self.element, self.type])
        start = f"{self.element} {self._literal(-0.0)}"
        return self.function.emit(self.element, f"call reassoc {self.element} @{name}({start}, {value})")

    @property
    def group(self) -> int:
        """How many vectors `horizontal_sums` takes: as many as 128 bits have elements."""
        return 128 // self.bits

    def horizontal_sums(self, values: Sequence[Value]) -> Value:
        """The sums of the lanes of each of a `group` of vectors, as one short vector of them."""
        f, lanes, found = self.function, self.lanes, list(values)

        def shuffled(a: Value, b: Value, picked: Sequence[int]) -> Value:
            mask = ", ".join(f"i32 {i}" for i in picked)
            type_, count = f"<{len(picked)} x {self.element}>", len(picked)
            return f.emit(type_, f"shufflevector {a}, {b}, <{count} x i32> <{mask}>")

        def added(a: Value, b: Value) -> Value:
            return f.emit(a.type, f"fadd {a}, {b.name}")

        def halved(a: Value, lanes: int) -> Value:
            half = lanes // 2
            return added(*(shuffled(a, a, range(begin, begin + half)) for begin in (0, half)))

        while lanes > 2 * self.group:
            found, lanes = [halved(value, lanes) for value in found], lanes // 2
        while len(found) > 1:  # neighbours are added, of two vectors at once, within each 128 bits
            pairs = zip(found[::2], found[1::2], strict=True)
            groups = range(0, lanes, self.group)
            inner = range(0, self.group, 2)
            first = [g + side + i for g in groups for side in (0, lanes) for i in inner]
            second = [i + 1 for i in first]
            found = [added(shuffled(a, b, first), shuffled(a, b, second)) for a, b in pairs]
        while lanes > self.group:
            found, lanes = [halved(found[0], lanes)], lanes // 2
        return found[0]

    def horizontal_max(self, value: Value) -> Value:
        """The greatest of the lanes as one value; NaN if any is NaN."""
        half = self.lanes
        while half > 1:
            half //= 2
            lanes = ", ".join(f"i32 {(i + half) % self.lanes}" for i in range(self.lanes))
            rotated = self.function.emit(
                self.type, f"shufflevector {value}, {self.type} poison, <{self.lanes} x i32> <{lanes}>"
            )
            value = self.maximum(value, rotated)
        return self.function.emit(self.element, f"extractelement {value}, i64 0")
