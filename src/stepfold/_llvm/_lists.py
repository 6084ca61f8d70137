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
SHARE_WORDS = (
    "batch",
    "time",
    "row_place",
    "time_place",
    "tokens",
    "index",
    "leaders",
    "total",
    "longest",
    "begins",
    "joins",
    "rows_in_order",
    "counts",
    "saved",
)
CHAIN_WORDS = ("count", "calls")
CLEAR_WORDS = ("target", "bytes")
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
    "bytes",
    "state_row",
    "ring",
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


def share_kernel(bits: int) -> Kernel:
    """Which rows of tokens (of so many bits) share their start: those that begin with a run of the token by
    which most work is saved.

    Written: `joins`, for each row how long its run of that token is, or 0; `rows_in_order`, those with the
    shortest first; `counts`, how many timesteps each of these has left; `saved`, the sum of all runs but the
    longest. `leaders`, `total`, `longest` (batch) and `begins` (time + 2) are to work in; `index` holds -1
    for every word, before and after.
    """
    lists = Lists(f"share{bits}", SHARE_WORDS)
    f, w = lists.f, lists.w
    with f.loop(0, w["batch"]) as rows:
        line, row = f.mul(rows.index, w["row_place"]), rows.index
        first = lists.token(line, bits)
        with f.loop(0, w["time"], 1, [f.integer(0)]) as steps:
            token = lists.token(f.add(line, f.mul(steps.index, w["time_place"])), bits)
            same = f.compare("eq", token, first)
            steps.next([f.add(steps.carried[0], f.emit("i64", f"zext {same} to i64"))], same)
        depth = steps.results[0]
        known = lists.read("index", first)
        new = f.compare("slt", known, 0)
        leader = f.select(new, row, known)  # the first row that begins with this token
        lists.write(leader, "index", first)
        lists.write(0, "total", row)
        lists.write(0, "longest", row)
        lists.write(f.add(lists.read("total", leader), depth), "total", leader)
        longest = lists.read("longest", leader)
        lists.write(f.select(f.compare("sgt", depth, longest), depth, longest), "longest", leader)
        lists.write(leader, "leaders", row)
        lists.write(depth, "joins", row)
    with f.loop(0, w["batch"], 1, [f.integer(0), f.integer(-1)]) as rows:
        row, (best, saved) = rows.index, rows.carried
        saves = f.sub(lists.read("total", row), lists.read("longest", row))
        leads = f.compare("eq", lists.read("leaders", row), row)
        better = f.emit("i1", f"and {leads}, {f.compare('sgt', saves, saved).name}")
        rows.next([f.select(better, row, best), f.select(better, saves, saved)])
    best, saved = rows.results
    lists.write(saved, "saved", 0)
    with f.loop(0, f.add(w["time"], 2)) as steps:
        lists.write(0, "begins", steps.index)
    with f.loop(0, w["batch"]) as rows:  # how many rows join one timestep before each, for now
        row = rows.index
        lists.write(-1, "index", lists.token(f.mul(row, w["row_place"]), bits))
        chosen = f.compare("eq", lists.read("leaders", row), best)
        depth = f.select(chosen, lists.read("joins", row), f.integer(0))
        lists.write(depth, "joins", row)
        after = f.add(depth, 1)
        lists.write(f.add(lists.read("begins", after), 1), "begins", after)
    with f.loop(0, w["time"]) as steps:
        after = f.add(steps.index, 1)
        lists.write(f.add(lists.read("begins", steps.index), lists.read("begins", after)), "begins", after)
    with f.loop(0, w["batch"]) as rows:
        depth = lists.read("joins", rows.index)
        at = lists.read("begins", depth)
        lists.write(f.add(at, 1), "begins", depth)
        lists.write(rows.index, "rows_in_order", at)
        lists.write(f.sub(w["time"], depth), "counts", at)
    return lists.finish()


def distinct_kernel(bits: int) -> Kernel:
    """The tokens at some places: each new one joins `distinct`, and `source` says which of them each place
    has.

    `index` holds -1 for every word, before and after; `found` is how many different ones there are.
    """
    lists = Lists(f"distinct{bits}", DISTINCT_WORDS)
    f, w = lists.f, lists.w
    with f.loop(0, w["count"], 1, [f.integer(0)]) as loop:
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
    with f.loop(0, loop.results[0]) as loop:
        lists.write(-1, "index", lists.read("distinct", loop.index))
    return lists.finish()


def chain_kernel() -> Kernel:
    """Call kernels one after the other: `calls` are pairs of a kernel's address and that of its block of
    words."""
    lists = Lists("chain", CHAIN_WORDS)
    f, w = lists.f, lists.w
    with f.loop(0, w["count"]) as loop:
        pair = f.offset(w["calls"], f.mul(loop.index, 2), "ptr")
        kernel, block = f.load("ptr", pair, 8), f.load("ptr", f.offset(pair, 1, "ptr"), 8)
        f.line(f"call void {kernel.name}({block})")
    return lists.finish()


def clear_kernel() -> Kernel:
    """Write zeros."""
    lists = Lists("clear", CLEAR_WORDS)
    f, w = lists.f, lists.w
    f.module.declare_void("llvm.memset.p0.i64", ["ptr", "i8", "i64", "i1"])
    f.line(f"call void @llvm.memset.p0.i64({w['target']}, i8 0, {w['bytes']}, i1 false)")
    return lists.finish()
