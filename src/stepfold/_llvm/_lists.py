"""Small kernels over lists of whole numbers: which row works where, and which tokens it meets there.

They do in microseconds, at every batch, what would take NumPy longer than a small network's arithmetic. Whole
numbers are 64 bits wide, but for tokens; a mask has a byte a place."""

from __future__ import annotations

from ._layout import Kernel
from ._text import Function, Integer, Module, Value

COMPRESS_WORDS = ("mask", "batch", "time", "row_place", "time_place", "reverse", "counts", "positions")
LAY_WORDS = (
    "steps",
    "rows",
    "joined",
    "counts",
    "stride",
    "positions",
    "lines",
    "starts",
    "offsets",
    "slots",
    "places",
    "previous",
)
DEPTHS_WORDS = ("batch", "time", "row_place", "time_place", "tokens", "depths")
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
    "joined",
    "width",
    "start_row",
    "blocks",
    "columns",
    "source_block",
    "source_column",
    "target_block",
    "target_row",
}


class Lists:
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

    def token(self, at: Integer, bits: int) -> Value:
        """A token, of so many bits."""
        kind = f"i{bits}"
        found = self.f.load(kind, self.f.offset(self.w["tokens"], at, kind), bits // 8)
        return found if bits == 64 else self.f.emit("i64", f"sext {found} to i64")

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
    lists = Lists("compress", COMPRESS_WORDS)
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
    """A group's work as one list, timestep after timestep: where each begins and where its states lie, the
    place of each piece of work, and where the states before it lie.

    `counts` says how many timesteps each row works, falling: the first ones, or (`joined`) the last ones.
    """
    lists = Lists("lay", LAY_WORDS)
    f, w = lists.f, lists.w
    joined = f.compare("ne", w["joined"], 0)
    with f.loop(0, f.add(w["steps"], 1)) as steps:
        lists.write(0, "slots", steps.index)
    with f.loop(0, w["rows"]) as rows:  # how many rows begin or end at each timestep, in `slots` for now
        count = lists.read("counts", rows.index)
        at = f.select(joined, f.sub(w["steps"], count), count)
        lists.write(f.add(lists.read("slots", at), 1), "slots", at)
    lists.write(0, "offsets", 0)
    first = f.select(joined, f.integer(0), w["rows"])
    with f.loop(0, w["steps"], 1, [first, f.integer(0)]) as steps:
        working, offset = steps.carried
        change = lists.read("slots", steps.index)
        working = f.select(joined, f.add(working, change), f.sub(working, change))
        lists.write(f.add(offset, working), "offsets", f.add(steps.index, 1))
        steps.next([working, f.add(offset, working)])
    lists.write(0, "slots", 0)
    with f.loop(0, w["steps"], 1, [w["rows"]]) as steps:
        lists.write(steps.carried[0], "slots", f.add(steps.index, 1))
        # the states after a timestep are those of the rows that worked or that work next
        begin, end = lists.read("offsets", steps.index), lists.read("offsets", f.add(steps.index, 1))
        following = lists.read("offsets", f.minimum(f.add(steps.index, 2), w["steps"]))
        now, then = f.sub(end, begin), f.sub(following, end)
        most = f.select(f.compare("sgt", now, then), now, then)
        steps.next([f.add(steps.carried[0], most)])
    with f.loop(0, w["steps"]) as steps:
        begin = lists.read("offsets", steps.index)
        count = f.sub(lists.read("offsets", f.add(steps.index, 1)), begin)
        before = lists.read("slots", steps.index)
        with f.loop(0, count) as rows:
            line = lists.read("lines", rows.index)
            at = f.add(f.add(f.mul(line, w["stride"]), lists.read("starts", line)), steps.index)
            n = f.add(begin, rows.index)
            lists.write(lists.read("positions", at), "places", n)
            lists.write(f.add(before, rows.index), "previous", n)
    return lists.finish()


def depths_kernel(bits: int) -> Kernel:
    """For each row of tokens of so many bits, how many times its first one stands at its front."""
    lists = Lists(f"depths{bits}", DEPTHS_WORDS)
    f, w = lists.f, lists.w
    with f.loop(0, w["batch"]) as rows:
        line = f.mul(rows.index, w["row_place"])
        first = lists.token(line, bits)
        with f.loop(0, w["time"], 1, [f.integer(0), f.integer(1)]) as steps:
            depth, so_far = steps.carried
            token = lists.token(f.add(line, f.mul(steps.index, w["time_place"])), bits)
            same = f.emit("i64", f"zext {f.compare('eq', token, first)} to i64")
            so_far = f.emit("i64", f"and {so_far}, {same.name}")
            steps.next([f.add(depth, so_far), so_far])
        lists.write(steps.results[0], "depths", rows.index)
    return lists.finish()


def distinct_kernel(bits: int) -> Kernel:
    """The tokens at some places: each new one joins `distinct`, and `source` says which of them each place
    has.

    `index` holds a number a word, -1 for one not met yet; `found` how many there are, before and after.
    """
    lists = Lists(f"distinct{bits}", DISTINCT_WORDS)
    f, w = lists.f, lists.w
    with f.loop(0, w["count"], 1, [lists.read("found", 0)]) as loop:
        token = lists.token(lists.read("places", loop.index), bits)
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
