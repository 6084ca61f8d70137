"""Kernels that find the active steps of a batch: which row works at which timestep.

Every call runs them anew, for they take microseconds where NumPy would take longer than a small network's
arithmetic. The k-th active step of a row lies at timestep t(k): the k-th place that its mask lets through, or
k itself, from the row's end in reverse. A window [begin, begin + limit) of k serves checkpoints. The place of
row r at timestep t in inputs and outputs is r * row_stride + time_offsets[t].

What a caller gave is checked here, as it is read; what is wrong is reported in the status, and replaced by
something harmless, so that what follows stays inside its memory."""

from __future__ import annotations

from ._layout import Kernel
from ._signature import LENGTHS, MASK, PACKED, SORT, WHOLE
from ._support import SupportKernel
from ._text import Value


def _count(k: SupportKernel, row: Value, length: Value) -> Value:
    """Write how many active steps of a row lie in the window; returns it."""
    count = k.clamp(k.f.sub(length, k.a["begin"]), 0, k.a["limit"])
    k.write(length, "lengths", row)
    k.write(count, "counts", row)
    return count


def _finish(k: SupportKernel, total: Value | None = None) -> Kernel:
    """Say whether every step is active: `total` active ones (None: all)."""
    if total is None:
        k.status().set("all_active", 1)
    else:
        full = k.f.compare("eq", total, k.f.mul(k.a["batch"], k.a["time"]))
        k.status().set("all_active", k.one_if(full))
    return k.finish()


def _regular_offsets(k: SupportKernel) -> None:
    with k.f.loop(0, k.a["time"]) as steps:
        k.write(k.f.mul(steps.index, k.a["time_stride"]), "time_offsets", steps.index)


def whole_kernel() -> Kernel:
    """All steps are active."""
    k = SupportKernel("whole", WHOLE)
    _regular_offsets(k)
    with k.f.loop(0, k.a["batch"]) as rows:
        _count(k, rows.index, k.a["time"])
    return _finish(k)


def lengths_kernel() -> Kernel:
    """The first so many steps of each row are active; `clean_mask` (batch, time), if it is there, is the mask
    that says the same."""
    k = SupportKernel("lengths", LENGTHS)
    f, a = k.f, k.a
    _regular_offsets(k)
    with f.loop(0, a["batch"], 1, [f.integer(0)]) as rows:
        found = k.read("given_lengths", rows.index)
        length = k.clamp(found, 0, a["time"])
        with f.when(f.compare("ne", found, length)):
            k.fail("length", row=rows.index, value=found, limit=a["time"])
        _count(k, rows.index, length)
        with f.when(k.is_set("clean_mask")), f.loop(0, a["time"]) as steps:
            active = f.compare("slt", steps.index, length)
            place = f.offset(a["clean_mask"], f.add(f.mul(rows.index, a["time"]), steps.index), "i8")
            f.store(f.emit("i8", f"zext {active} to i8"), place, 1)
        rows.next([f.add(rows.carried[0], length)])
    return _finish(k, rows.results[0])


def mask_kernel() -> Kernel:
    """The steps whose byte in a mask (batch, time) is not 0 are active: `active_times` (batch, time) lists
    them, `clean_mask` is the mask with bytes 0 and 1."""
    k = SupportKernel("mask", MASK)
    f, a = k.f, k.a
    _regular_offsets(k)
    reverse = k.is_set("reverse")
    with f.loop(0, a["batch"], 1, [f.integer(0)]) as rows:
        line = f.mul(rows.index, a["time"])
        with f.loop(0, a["time"], 1, [f.integer(0)]) as steps:
            t = f.select(reverse, f.sub(f.sub(a["time"], 1), steps.index), steps.index)
            place = f.add(line, t)
            byte = f.load("i8", f.offset(a["mask"], place, "i8"), 1)
            active = f.emit("i1", f"icmp ne {byte}, 0")
            f.store(f.emit("i8", f"zext {active} to i8"), f.offset(a["clean_mask"], place, "i8"), 1)
            # written in any case, and written over unless it is active: no branch
            k.write(t, "active_times", f.add(line, steps.carried[0]))
            steps.next([f.add(steps.carried[0], k.one_if(active))])
        _count(k, rows.index, steps.results[0])
        rows.next([f.add(rows.carried[0], steps.results[0])])
    return _finish(k, rows.results[0])


def packed_kernel() -> Kernel:
    """One timestep after the other, with the rows that are active there: `batch_sizes` (time,) says how many,
    row 0 is the longest; `places` in all."""
    k = SupportKernel("packed", PACKED)
    f, a = k.f, k.a
    k.fill(0, "lengths", a["batch"])
    with f.loop(0, a["time"], 1, [a["batch"], f.integer(0)]) as steps:
        before, offset = steps.carried
        found = k.read("batch_sizes", steps.index)
        most = f.minimum(before, f.sub(a["places"], offset))
        size = k.clamp(found, 0, most)
        short = f.compare("slt", found, 1)
        with f.when(f.emit("i1", f"or {f.compare('ne', found, size)}, {short.name}")):
            k.fail("batch_sizes", step=steps.index, value=found, limit=most)
        k.write(offset, "time_offsets", steps.index)
        with f.loop(0, size) as rows:
            k.write(f.add(steps.index, 1), "lengths", rows.index)
        steps.next([size, f.add(offset, size)])
    total = steps.results[1]
    fewer = f.compare("ne", total, a["places"])
    unseen = f.compare("eq", k.status().get("code"), 0)
    with f.when(k.both(fewer, unseen)):
        k.fail("places", value=total, limit=a["places"])
    with f.loop(0, a["batch"]) as rows:
        _count(k, rows.index, k.read("lengths", rows.index))
    return _finish(k)


def sort_kernel() -> Kernel:
    """Sort rows by their number of active steps, most first, rows of the same number as they come."""
    k = SupportKernel("sort", SORT)
    f, a = k.f, k.a
    with f.loop(0, a["batch"], 1, [a["limit"], f.integer(0)]) as rows:
        before, falls = rows.carried
        count = k.read("counts", rows.index)
        k.write(rows.index, "rows", rows.index)
        k.write(count, "sorted_counts", rows.index)
        rises = k.one_if(f.compare("sgt", count, before))
        rows.next([count, f.add(falls, rises)])
    with f.when(f.compare("ne", rows.results[1], 0)):
        buckets = f.add(a["limit"], 2)
        k.fill(0, "starts", buckets)
        with f.loop(0, a["batch"]) as rows:  # a bucket a count, the largest first; each counted one behind
            bucket = f.add(f.sub(a["limit"], k.read("counts", rows.index)), 1)
            k.write(f.add(k.read("starts", bucket), 1), "starts", bucket)
        with f.loop(1, buckets) as loop:
            total = f.add(k.read("starts", f.sub(loop.index, 1)), k.read("starts", loop.index))
            k.write(total, "starts", loop.index)
        with f.loop(0, a["batch"]) as rows:
            count = k.read("counts", rows.index)
            bucket = f.sub(a["limit"], count)
            at = k.read("starts", bucket)
            k.write(f.add(at, 1), "starts", bucket)
            k.write(rows.index, "rows", at)
            k.write(count, "sorted_counts", at)
    return k.finish()
