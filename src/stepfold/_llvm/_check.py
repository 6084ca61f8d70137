"""A kernel that checks a group's index arrays as they come out of residuals: whatever memory holds there,
nothing outside the batch is touched. The headers, which say where they lie and how long they are, carry a
digest."""

from __future__ import annotations

from ._layout import Kernel
from ._signature import CHECK_GROUP
from ._support import SupportKernel
from ._text import Function, Integer, Value


class _Finding:
    """Whether everything was right so far: an i64 that becomes 1 with the first mistake."""

    def __init__(self, k: SupportKernel) -> None:
        self.k = k
        self.value: Value = k.f.integer(0)

    def _below(self, value: Value, bound: Integer) -> Value:
        return self.k.one_if(self.k.f.compare("uge", value, bound))

    def all_below(self, array: Value, count: Integer, bound: Integer) -> None:
        """The first elements of an array lie in [0, bound)."""
        f = self.k.f
        with f.loop(0, count, 1, [self.value]) as loop:
            wrong = self._below(self.k.read(array, loop.index), bound)
            loop.next([_either(f, loop.carried[0], wrong)])
        (self.value,) = loop.results


def _either(f: Function, a: Value, b: Value) -> Value:
    return f.emit("i64", f"or {a}, {b.name}")


def check_group_kernel() -> Kernel:
    """Check that rows, positions, slots and tokens lie where they can; a group that is wrong is reported, and
    made empty, so that what follows does nothing."""
    k = SupportKernel("check_group", CHECK_GROUP)
    f, a, group = k.f, k.a, k.group()
    rows, steps, work = group.get("rows"), group.get("steps"), group.get("work")
    arrays = {
        name: group.get(name, "ptr")
        for name in (
            "row_numbers",
            "counts",
            "offsets",
            "slots",
            "positions",
            "previous",
            "source",
            "distinct",
        )
    }
    finding = _Finding(k)
    finding.all_below(arrays["row_numbers"], rows, a["batch"])
    finding.all_below(arrays["counts"], rows, f.add(steps, 1))
    finding.all_below(arrays["positions"], work, a["places"])
    tokens = f.select(k.is_set("vocabulary_size"), work, f.integer(0))
    finding.all_below(arrays["source"], tokens, group.get("distinct_count"))
    finding.all_below(arrays["distinct"], group.get("distinct_count"), a["vocabulary_size"])
    shared = f.compare("ne", group.get("shared"), 0)
    prefix, spare = group.get("prefix_offsets", "ptr"), f.mul(f.sub(a["batch"], 1), a["row_stride"])
    finding.all_below(prefix, f.select(shared, steps, f.integer(0)), f.sub(a["places"], spare))
    offsets, slots = arrays["offsets"], arrays["slots"]
    # each timestep goes on where the one before ended, with at most all rows, and its states likewise
    wrong = k.one_if(f.compare("ne", k.read(offsets, 0), 0))
    wrong = _either(f, wrong, k.one_if(f.compare("ne", k.read(slots, 0), 0)))
    with f.loop(0, steps, 1, [_either(f, finding.value, wrong), f.integer(0), rows]) as loop:
        found, begin, slot = loop.carried
        after = f.add(loop.index, 1)
        end = k.read(offsets, after)
        following = k.read(offsets, f.minimum(f.add(loop.index, 2), steps))
        active, then = f.sub(end, begin), f.sub(following, end)
        for count in (active, then):
            found = _either(f, found, k.one_if(f.compare("ugt", count, rows)))
        found = _either(f, found, k.one_if(f.compare("ne", k.read(slots, after), slot)))
        loop.next([found, end, f.add(slot, k.largest(active, then))])
    found, end, _ = loop.results
    finding.value = _either(f, found, k.one_if(f.compare("ne", end, work)))
    finding.all_below(arrays["previous"], work, f.add(work, f.mul(rows, f.add(group.get("shared"), 1))))
    with f.when(f.compare("ne", finding.value, 0)):
        k.fail("index")
        for field in ("rows", "steps", "work", "distinct_count"):
            group.set(field, 0)
    return k.finish()
