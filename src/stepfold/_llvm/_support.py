"""Writing the support kernels: those that know no cell, only index arrays, rows and structs.

Integers are 64 bits wide, but for tokens (32 or 64) and masks (a byte a place)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ._layout import Kernel
from ._signature import Signature
from ._text import Function, Integer, Module, Value

GROUP = (
    "rows", "steps", "work", "shared", "distinct_count", "row_numbers", "counts", "offsets", "slots",
    "positions", "previous", "source", "distinct", "prefix_offsets", "states", "residuals", "row_gradients",
)  # fmt: skip
"""The header of a group of rows: `rows` rows with `work` active steps over `steps` timesteps; `shared`: they
begin from row 0's states, each at its own depth; then addresses of its index arrays and memory, which
`partition` in `_schedule` explains."""
GROUP_INDEX = GROUP[GROUP.index("row_numbers") : GROUP.index("row_gradients")]
"""The fields that are addresses; in residuals, distances from their beginning."""
GROUP_WORDS = 24

STATUS = (
    "code", "row", "step", "value", "limit", "shared", "all_active", "groups", "arriving", "ranks",
    "partial",
)  # fmt: skip
"""What a call has found out about its batch, at the front of its workspace: `code` 0 or what is wrong (see
`ERRORS`), with where it was seen; whether rows share a prefix; whether every step of every row is active; how
many groups there are; where the gradient of outputs lies; how many ranks a cooperative phase has;
`partial` is 1 unless `all_active` is."""
STATUS_WORDS = 16

ERRORS = {
    "token": 1,  # row, step, value, limit: the vocabulary's size
    "length": 2,  # row, value, limit: the timesteps
    "batch_sizes": 3,  # step, value, limit: how many there can be
    "places": 5,  # value: the sum of the batch sizes, limit: the places
    "index": 6,
    "residuals": 4,  # row: the number of the header word, value: found, limit: expected
}


class Struct:
    """A struct of 64-bit words in memory, by the names of its fields."""

    def __init__(self, f: Function, fields: Sequence[str], address: Value) -> None:
        self._f, self._fields, self.address = f, fields, address

    def at(self, field: str) -> Value:
        """The address of a field."""
        return self._f.offset(self.address, self._fields.index(field), "i64")

    def get(self, field: str, type_: str = "i64") -> Value:
        """Load a field."""
        return self._f.load(type_, self.at(field), 8)

    def set(self, field: str, value: Integer) -> None:
        """Store a field."""
        self._f.store(self._f.integer(value), self.at(field), 8)


class SupportKernel:
    """A support kernel being written: its arguments loaded (`a`), index arrays read and written."""

    def __init__(self, name: str, signature: Signature) -> None:
        self.module = Module()
        self.name, self.signature = name, signature
        self.f = Function(self.module, name, [("arguments", "ptr")])
        self.a = {
            argument: self.f.load(type_, self.f.offset(self.f.arguments[0], k, "i64"), 8)
            for k, (argument, type_) in enumerate(signature.items())
        }

    def finish(self) -> Kernel:
        """The finished kernel."""
        self.module.add(self.f)
        return Kernel(self.module.text(), self.name, tuple(self.signature))

    # ---- arrays -------------------------------------------------------------------------------------------

    def array(self, array: str | Value) -> Value:
        """An array by the name of the argument, or as it is."""
        return self.a[array] if isinstance(array, str) else array

    def read(self, array: str | Value, at: Integer) -> Value:
        """An element of an index array."""
        return self.f.load("i64", self.f.offset(self.array(array), at, "i64"), 8)

    def write(self, value: Integer, array: str | Value, at: Integer) -> None:
        """Write an element of an index array."""
        self.f.store(self.f.integer(value), self.f.offset(self.array(array), at, "i64"), 8)

    def fill(self, value: Integer, array: str | Value, count: Integer) -> None:
        """Write the same value to the first elements of an index array."""
        with self.f.loop(0, count) as loop:
            self.write(value, array, loop.index)

    def group(self) -> Struct:
        """The header that the argument `group` points to."""
        return Struct(self.f, GROUP, self.a["group"])

    def status(self) -> Struct:
        """The call's status."""
        return Struct(self.f, STATUS, self.a["status"])

    # ---- integers -----------------------------------------------------------------------------------------

    def both(self, a: Value, b: Value) -> Value:
        """Both conditions hold."""
        return self.f.emit("i1", f"and {a}, {b.name}")

    def no(self, condition: Value) -> Value:
        """The condition does not hold."""
        return self.f.emit("i1", f"xor {condition}, true")

    def one_if(self, condition: Value) -> Value:
        """1 where a condition holds, else 0."""
        return self.f.emit("i64", f"zext {condition} to i64")

    def largest(self, a: Integer, b: Integer) -> Value:
        """The greater of two integers."""
        f = self.f
        return f.select(f.compare("sgt", a, b), f.integer(a), f.integer(b))

    def clamp(self, value: Value, low: Integer, high: Integer) -> Value:
        """The value, or the bound that it lies beyond."""
        return self.f.minimum(self.largest(value, low), high)

    def is_set(self, argument: str) -> Value:
        """Whether an argument is not zero."""
        if self.signature[argument] == "ptr":
            return self.f.emit("i1", f"icmp ne {self.a[argument]}, null")
        return self.f.compare("ne", self.a[argument], 0)

    def bytes_past(self, address: Value, count: Integer) -> Value:
        """The address so many bytes further on."""
        return self.f.offset(address, count, "i8")

    # ---- what more than one kernel does -------------------------------------------------------------------

    def fail(self, error: str, **seen: Integer) -> None:
        """Say in the status what is wrong; the last one to say so is heard."""
        status = self.status()
        for field, value in seen.items():
            status.set(field, value)
        status.set("code", ERRORS[error])

    def checked_token(self, at: Integer, bits: int, row: Integer, step: Integer) -> Value:
        """A token that is certain to lie in the vocabulary: another one is reported, and 0 taken for it."""
        f, kind = self.f, f"i{bits}"
        found = f.load(kind, f.offset(self.a["tokens"], at, kind), bits // 8)
        token = found if bits == 64 else f.emit("i64", f"sext {found} to i64")
        wrong = f.compare("uge", token, self.a["vocabulary_size"])
        with f.when(wrong):
            self.fail("token", row=row, step=step, value=token, limit=self.a["vocabulary_size"])
        return f.select(wrong, f.integer(0), token)

    @contextmanager
    def row_loop(self, rows: Integer, row_numbers: Value) -> Iterator[tuple[Value, Value]]:
        """`with kernel.row_loop(rows, row_numbers) as (row, number):` over a group's rows."""
        with self.f.loop(0, rows) as loop:
            yield loop.index, self.read(row_numbers, loop.index)
