"""Small kernels over lists of whole numbers: which row works where, and which tokens it meets there.

They do in microseconds, at every batch, what would take NumPy longer than a small network's arithmetic. All
numbers are 64 bits wide; a mask has a byte a place."""

from __future__ import annotations

from ._layout import Kernel
from ._text import Function, Integer, Module, Value

COMPRESS_WORDS = ("mask", "batch", "time", "row_place", "time_place", "reverse", "counts", "positions")
LAY_WORDS = ("steps", "offsets", "slots", "stride", "positions", "lines", "starts", "places", "previous")
TURN_WORDS = (
    "rows",
    "columns",
    "source",
    "source_row",
    "source_column",
    "target",
    "target_row",
    "target_column",
)
DISTINCT_WORDS = ("count", "places", "tokens", "index", "distinct", "source", "found")
_NUMBERS = {
    "batch",
    "time",
    "row_place",
    "time_place",
    "reverse",
    "steps",
    "stride",
    "count",
    "rows",
    "columns",
    "source_row",
    "source_column",
    "target_row",
    "target_column",
}
_BLOCK = 16  # numbers to a side: what is read across stays in the cache until it is read down


class _Lists:
    """A kernel being written over lists of whole numbers."""

    def __init__(self, name: str, words: tuple[str, ...]) -> None:
        self.module = Module()
        self.f = Function(self.module, name, [("words", "ptr")])
        self._about = name, words
        self.w = {
            word: self.f.load(
                "i64" if word in _NUMBERS else "ptr", self.f.offset(self.f.arguments[0], k, "i64"), 8
            )
            for k, word in enumerate(words)
        }

    def read(self, word: str, at: Integer) -> Value:
        """A number of a list."""
        return self.f.load("i64", self.f.offset(self.w[word], at, "i64"), 8)

    def write(self, value: Integer, word: str, at: Integer) -> None:
        """Write a number of a list."""
        self.f.store(self.f.integer(value), self.f.offset(self.w[word], at, "i64"), 8)

    def finish(self) -> Kernel:
        """The finished kernel."""
        self.module.add(self.f)
        return Kernel(self.module.text(), *self._about)


def compress_kernel() -> Kernel:
    """For each row of a mask [batch][time] the places that work, in order, at the front of its line of
    `positions`."""
    lists = _Lists("compress", COMPRESS_WORDS)
    f, w = lists.f, lists.w
    backwards = f.compare("ne", w["reverse"], 0)
    with f.loop(0, w["batch"]) as rows:
        line = f.mul(rows.index, w["time"])
        place = f.mul(rows.index, w["row_place"])
        with f.loop(0, w["time"], 1, [f.integer(0)]) as steps:
            t = f.select(backwards, f.sub(f.sub(w["time"], 1), steps.index), steps.index)
            works = f.load("i8", f.offset(w["mask"], f.add(line, t), "i8"), 1)
            # written in any case, and written over unless it works: no branch
            lists.write(f.add(place, f.mul(t, w["time_place"])), "positions", f.add(line, steps.carried[0]))
            steps.next([f.add(steps.carried[0], f.emit("i64", f"zext {works} to i64"))])
        lists.write(steps.results[0], "counts", rows.index)
    return lists.finish()


def lay_kernel() -> Kernel:
    """A group's work as one list, timestep after timestep: its places, and where the states before it lie."""
    lists = _Lists("lay", LAY_WORDS)
    f, w = lists.f, lists.w
    with f.loop(0, w["steps"]) as steps:
        first = lists.read("offsets", steps.index)
        count = f.sub(lists.read("offsets", f.add(steps.index, 1)), first)
        before = lists.read("slots", steps.index)
        with f.loop(0, count) as rows:
            line = lists.read("lines", rows.index)
            at = f.add(f.add(f.mul(line, w["stride"]), lists.read("starts", line)), steps.index)
            n = f.add(first, rows.index)
            lists.write(lists.read("positions", at), "places", n)
            lists.write(f.add(before, rows.index), "previous", n)
    return lists.finish()


def distinct_kernel() -> Kernel:
    """The tokens at some places: each new one joins `distinct`, and `source` says which of them each place
    has.

    `index` holds a number a word, -1 for one not met yet; `found` how many there are, before and after.
    """
    lists = _Lists("distinct", DISTINCT_WORDS)
    f, w = lists.f, lists.w
    with f.loop(0, w["count"], 1, [lists.read("found", 0)]) as loop:
        token = lists.read("tokens", lists.read("places", loop.index))
        known = lists.read("index", token)
        new = f.compare("slt", known, 0)
        number = loop.carried[0]
        with f.when(new):
            lists.write(number, "index", token)
            lists.write(token, "distinct", number)
        lists.write(f.select(new, number, known), "source", loop.index)
        loop.next([f.add(number, f.emit("i64", f"zext {new} to i64"))])
    lists.write(loop.results[0], "found", 0)
    return lists.finish()


def turn_kernel(bits: int) -> Kernel:
    """Copy a matrix of numbers of so many bits between any two layouts, block by block; strides count
    numbers."""
    lists = _Lists(f"turn{bits}", TURN_WORDS)
    f, w, kind = lists.f, lists.w, f"i{bits}"

    def address(word: str, row: Integer, column: Integer) -> Value:
        at = f.add(f.mul(row, w[f"{word}_row"]), f.mul(column, w[f"{word}_column"]))
        return f.offset(w[word], at, kind)

    with f.loop(0, w["rows"], _BLOCK) as tall, f.loop(0, w["columns"], _BLOCK) as wide:
        below = f.minimum(f.add(tall.index, _BLOCK), w["rows"])
        right = f.minimum(f.add(wide.index, _BLOCK), w["columns"])
        with f.loop(tall.index, below) as row, f.loop(wide.index, right) as column:
            number = f.load(kind, address("source", row.index, column.index), bits // 8)
            f.store(number, address("target", row.index, column.index), bits // 8)
    return lists.finish()


LISTS = {
    "turn32": lambda: turn_kernel(32),
    "turn64": lambda: turn_kernel(64),
    "compress": compress_kernel,
    "lay": lay_kernel,
    "distinct": distinct_kernel,
}
"""The kernels by name."""
