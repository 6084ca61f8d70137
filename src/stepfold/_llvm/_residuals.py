"""Kernels that write the headers of residuals, read them again, and check what they say.

The headers carry a digest. The index arrays do not: each is checked before it is followed, so that nothing
outside the batch is touched, whatever memory holds there."""

from __future__ import annotations

from ._layout import Kernel
from ._signature import CHECK_GROUP, OPEN, SEAL
from ._support import GROUP, GROUP_INDEX, GROUP_WORDS, Struct, SupportKernel
from ._text import Function, Integer, Value

HEADER = (
    "magic", "batch", "time", "vocabulary_size", "form", "total", "groups", "shared", "all_active", "digest",
)  # fmt: skip
"""The header of residuals: the first six are compared with what the backward pass expects; `form` stands for
the layout (step, units, dtype, vector width); `digest` is that of all other words and of the groups'
headers."""
CHECKED = 6
HEADER_WORDS = 16
_MIX = 0x9E3779B97F4A7C15 - (1 << 64)  # an odd factor whose product depends on all lower bits


def _digest(k: SupportKernel, groups: Value) -> Value:
    """A digest of residuals' headers: what they say is believed, so damage must not pass."""
    f = k.f

    def mixed(digest: Value, word: Value) -> Value:
        product = f.mul(f.emit("i64", f"xor {digest}, {word.name}"), _MIX)
        return f.emit("i64", f"xor {product}, {f.emit('i64', f'lshr {product}, 32').name}")

    with f.loop(0, HEADER.index("digest"), 1, [f.integer(0)]) as words:
        words.next([mixed(words.carried[0], k.read("residuals", words.index))])
    with f.loop(0, groups, 1, words.results) as lines:
        line = f.mul(lines.index, GROUP_WORDS)
        with f.loop(0, len(GROUP), 1, lines.carried) as words:
            word = k.read("held_headers", f.add(line, words.index))
            words.next([mixed(words.carried[0], word)])
        lines.next(words.results)
    return lines.results[0]


def _copy_header(k: SupportKernel, group: Value, source: str, target: str) -> Struct:
    """Copy a group's header from one array of them to another; what is an address in `headers` is a distance
    from the residuals' beginning in `held_headers`. Returns the copy."""
    f, line = k.f, k.f.mul(group, GROUP_WORDS)
    base = f.emit("i64", f"ptrtoint {k.a['residuals']} to i64")
    move = f.sub if source == "headers" else f.add
    old, new = (Struct(f, GROUP, f.offset(k.a[array], line, "i64")) for array in (source, target))
    for field in GROUP:
        value = old.get(field)
        if field in GROUP_INDEX:
            value = f.select(f.compare("eq", value, 0), value, move(value, base))
        new.set(field, value)
    return new


def seal_kernel() -> Kernel:
    """Write the header of residuals, and the groups' with distances in place of addresses."""
    k = SupportKernel("seal", SEAL)
    f, a = k.f, k.a
    header = Struct(f, HEADER, a["residuals"])
    for n in range(CHECKED):
        header.set(HEADER[n], a[f"expected{n}"])
    for field in ("groups", "shared", "all_active"):
        header.set(field, k.status().get(field))
    groups = header.get("groups")
    with f.loop(0, groups) as loop:
        _copy_header(k, loop.index, "headers", "held_headers")
    header.set("digest", _digest(k, groups))
    return k.finish()


def open_kernel() -> Kernel:
    """Check the headers of residuals, and write the groups' with addresses in place of distances; with
    `row_gradients` every group gets (distinct_count, features) of it."""
    k = SupportKernel("open", OPEN)
    f, a = k.f, k.a
    status = k.status()
    header = Struct(f, HEADER, a["residuals"])
    for n in range(CHECKED):
        found = header.get(HEADER[n])
        with f.when(f.compare("ne", found, a[f"expected{n}"])):
            k.fail("residuals", row=n, value=found, limit=a[f"expected{n}"])
    groups = header.get("groups")
    with f.when(f.compare("ugt", groups, a["groups_most"])):
        k.fail("residuals", row=CHECKED, value=groups, limit=a["groups_most"])
    with f.when(f.compare("eq", status.get("code"), 0)):
        found, digest = header.get("digest"), _digest(k, groups)
        with f.when(f.compare("ne", found, digest)):
            k.fail("residuals", row=HEADER.index("digest"), value=found, limit=digest)
    fine = f.compare("eq", status.get("code"), 0)
    groups = f.select(fine, groups, f.integer(0))
    status.set("groups", groups)
    status.set("shared", header.get("shared"))
    status.set("all_active", header.get("all_active"))
    status.set("partial", f.sub(1, header.get("all_active")))
    whole = f.compare("ne", header.get("all_active"), 0)
    status.set("arriving", f.select(whole, a["output_gradient"], a["gathered"]))
    with f.loop(0, groups, 1, [a["row_gradients"]]) as loop:
        group = _copy_header(k, loop.index, "held_headers", "headers")
        group.set("row_gradients", loop.carried[0])
        size = f.mul(group.get("distinct_count"), a["gradient_row"])
        loop.next([k.bytes_past(loop.carried[0], size)])
    return k.finish()


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
