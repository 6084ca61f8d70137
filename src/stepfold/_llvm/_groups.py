"""Kernels that cut a batch into groups of rows and write each group's index arrays.

The index of a group lists its active steps timestep after timestep: `offsets` and `slots` (steps + 1) say
where each timestep's active steps begin and where the states before it lie; `positions` and `previous` (work)
give each active step's place in the batch and the slot of the states before it; with tokens `source` (work)
says which of the `distinct` ones each has."""

from __future__ import annotations

from ._layout import Kernel
from ._signature import DISTINCT, INDEX, PARTITION, SHARE
from ._support import GROUP, GROUP_WORDS, Struct, SupportKernel
from ._text import Value

_WORTH = 20  # a shared prefix pays where it saves more than one step in so many


def share_kernel(bits: int) -> Kernel:
    """Find the rows that begin with a run of one token (of so many bits), the one by which most steps are
    saved, if every step is active and that saves enough.

    From the same state the same tokens give the same states, so a group computes such a prefix once, by the
    row with the longest, and each other row starts from the states at its own depth. Written then: `rows`,
    those with the shortest run first, `sorted_counts`, how many steps each has left, `step_offsets`. `index`
    (vocabulary_size, int32) is to work in.
    """
    k = SupportKernel(f"share{bits}", SHARE)
    f, a = k.f, k.a
    status = k.status()
    reverse = k.is_set("reverse")

    def token(row: Value, step: Value) -> Value:
        t = f.select(reverse, f.sub(f.sub(a["time"], 1), step), step)
        return k.checked_token(f.add(f.mul(row, a["row_stride"]), k.read("time_offsets", t)), bits, row, t)

    def leader_place(first: Value) -> Value:
        return f.offset(a["index"], first, "i32")

    def leader_of(first: Value) -> Value:
        return f.emit("i64", f"sext {f.load('i32', leader_place(first), 4)} to i64")

    def set_leader(first: Value, row: Value) -> None:
        f.store(f.emit("i32", f"trunc {row} to i32"), leader_place(first), 4)

    zero = f.integer(0)
    steps_active = f.compare("ne", status.get("all_active"), 0)
    with f.when(k.both(steps_active, f.compare("sgt", a["time"], 0))):
        with f.loop(0, a["batch"]) as rows:
            first = token(rows.index, zero)
            k.write(first, "leaders", rows.index)  # for now
            set_leader(first, f.integer(-1))
        with f.loop(0, a["batch"]) as rows:
            row = rows.index
            first = k.read("leaders", row)
            with f.loop(0, a["time"], 1, [zero]) as steps:
                same = f.compare("eq", token(row, steps.index), first)
                steps.next([f.add(steps.carried[0], k.one_if(same))], same)
            depth = steps.results[0]
            known = leader_of(first)
            leader = f.select(f.compare("slt", known, 0), row, known)  # the first row with this token
            set_leader(first, leader)
            k.write(0, "totals", row)
            k.write(0, "longest", row)
            k.write(f.add(k.read("totals", leader), depth), "totals", leader)
            k.write(k.largest(depth, k.read("longest", leader)), "longest", leader)
            k.write(leader, "leaders", row)
            k.write(depth, "depths", row)
        with f.loop(0, a["batch"], 1, [f.integer(-1), zero]) as rows:
            row, (best, saved) = rows.index, rows.carried
            saves = f.sub(k.read("totals", row), k.read("longest", row))
            leads = f.compare("eq", k.read("leaders", row), row)
            better = k.both(leads, f.compare("sgt", saves, saved))
            rows.next([f.select(better, row, best), f.select(better, saves, saved)])
        best, saved = rows.results
        pays = f.compare("sgt", f.mul(saved, _WORTH), f.mul(a["batch"], a["time"]))
        status.set("shared", k.one_if(pays))
        with f.when(pays):
            k.fill(0, "starts", f.add(a["time"], 2))
            with f.loop(0, a["batch"]) as rows:  # how many rows start one step before each, for now
                chosen = f.compare("eq", k.read("leaders", rows.index), best)
                depth = f.select(chosen, k.read("depths", rows.index), zero)
                k.write(depth, "depths", rows.index)
                after = f.add(depth, 1)
                k.write(f.add(k.read("starts", after), 1), "starts", after)
            with f.loop(0, a["time"]) as steps:
                after = f.add(steps.index, 1)
                k.write(f.add(k.read("starts", steps.index), k.read("starts", after)), "starts", after)
                t = f.select(reverse, f.sub(f.sub(a["time"], 1), steps.index), steps.index)
                k.write(k.read("time_offsets", t), "step_offsets", steps.index)
            with f.loop(0, a["batch"]) as rows:
                depth = k.read("depths", rows.index)
                at = k.read("starts", depth)
                k.write(f.add(at, 1), "starts", depth)
                k.write(rows.index, "rows", at)
                k.write(f.sub(a["time"], depth), "sorted_counts", at)
    return k.finish()


def partition_kernel() -> Kernel:
    """Deal sorted rows to groups, there and back again, so that every group has as much to do, and give each
    group its memory.

    Index arrays come out of `arena`: one after the other, or (`arena_stride`) all groups of one task from the
    same place, for a task works at one group after the other. The states (`state_row` bytes a slot) have a
    slot for each row, for each active step, and for each row that starts late; `residuals` (`residual_row`
    bytes) a row for each active step."""
    k = SupportKernel("partition", PARTITION)
    f, a = k.f, k.a
    status = k.status()
    shared = f.compare("ne", status.get("shared"), 0)
    late = k.one_if(shared)
    status.set("groups", a["groups"])
    divisor = k.largest(a["groups"], 1)  # an empty batch has none
    turns = f.emit("i64", f"udiv {f.sub(f.add(a['batch'], divisor), 1)}, {divisor.name}")
    start = [f.integer(0), a["arena"], a["states"], a["residuals"]]
    with f.loop(0, a["groups"], 1, start) as groups:
        g, (dealt, arena, states, residuals) = groups.index, groups.carried
        header = Struct(f, GROUP, f.offset(a["headers"], f.mul(g, GROUP_WORDS), "i64"))
        row_numbers = f.offset(a["group_rows"], dealt, "i64")
        counts = f.offset(a["group_counts"], dealt, "i64")
        with f.loop(0, turns, 1, [late, f.integer(0)]) as loop:
            at, work = loop.carried
            odd = f.compare("ne", f.emit("i64", f"and {loop.index}, 1"), 0)
            mine = f.select(odd, f.sub(f.sub(a["groups"], 1), g), g)
            rank = f.add(f.mul(loop.index, a["groups"]), mine)
            there = f.compare("slt", rank, a["batch"])
            rank = f.minimum(rank, f.sub(a["batch"], 1))
            count = k.read("sorted_counts", rank)
            with f.when(there):
                k.write(k.read("rows", rank), row_numbers, at)
                k.write(count, counts, at)
            loop.next([f.add(at, k.one_if(there)), f.add(work, f.select(there, count, f.integer(0)))])
        end, work = loop.results
        rows = f.sub(end, late)
        with f.when(shared):  # the row with the longest prefix goes first, and computes it from the start
            k.write(k.read(row_numbers, rows), row_numbers, 0)
            k.write(a["time"], counts, 0)
        lasting = f.select(shared, f.sub(a["time"], k.read(counts, rows)), f.integer(0))
        work = f.add(work, lasting)
        steps = k.read(counts, 0)
        arena = f.select(
            k.is_set("arena_stride"),
            k.bytes_past(a["arena"], f.mul(f.emit("i64", f"urem {g}, {a['tasks'].name}"), a["arena_stride"])),
            arena,
        )
        header.set("rows", rows)
        header.set("steps", steps)
        header.set("work", work)
        header.set("shared", late)
        header.set("distinct_count", 0)
        header.set("row_numbers", row_numbers)
        header.set("counts", counts)
        header.set("prefix_offsets", f.select(shared, a["step_offsets"], Value("null", "ptr")))
        header.set("states", states)
        header.set("residuals", residuals)
        header.set("row_gradients", Value("null", "ptr"))
        tokens = f.minimum(a["vocabulary_size"], work)
        some = f.select(k.is_set("vocabulary_size"), work, f.integer(0))
        sizes = {
            "offsets": f.add(steps, 1),
            "slots": f.add(steps, 1),
            "positions": work,
            "previous": work,
            "source": some,
            "distinct": tokens,
        }
        for field, size in sizes.items():
            header.set(field, arena)
            arena = f.offset(arena, size, "i64")
        slots = f.add(work, f.mul(rows, f.add(late, 1)))
        groups.next(
            [
                f.add(dealt, f.add(rows, 1)),
                arena,
                k.bytes_past(states, f.mul(slots, a["state_row"])),
                k.bytes_past(residuals, f.mul(work, a["residual_row"])),
            ]
        )
    return k.finish()


def index_kernel() -> Kernel:
    """Write a group's `offsets`, `slots`, `positions` and `previous`.

    `counts` says how many steps each row is active, falling: the first ones, or (`shared`) the last ones.
    """
    k = SupportKernel("index", INDEX)
    f, a = k.f, k.a
    group = k.group()
    rows, steps = group.get("rows"), group.get("steps")
    offsets, slots, positions, previous, counts, row_numbers = (
        group.get(field, "ptr")
        for field in ("offsets", "slots", "positions", "previous", "counts", "row_numbers")
    )
    shared = f.compare("ne", group.get("shared"), 0)
    k.fill(0, slots, f.add(steps, 1))
    with f.loop(0, rows) as loop:  # how many rows begin or end at each timestep, in `slots` for now
        count = k.read(counts, loop.index)
        at = f.select(shared, f.sub(steps, count), count)
        k.write(f.add(k.read(slots, at), 1), slots, at)
    k.write(0, offsets, 0)
    first = f.select(shared, f.integer(0), rows)
    with f.loop(0, steps, 1, [first, f.integer(0)]) as loop:
        active, offset = loop.carried
        change = k.read(slots, loop.index)
        active = f.select(shared, f.add(active, change), f.sub(active, change))
        k.write(f.add(offset, active), offsets, f.add(loop.index, 1))
        loop.next([active, f.add(offset, active)])
    k.write(0, slots, 0)
    with f.loop(0, steps, 1, [rows]) as loop:
        k.write(loop.carried[0], slots, f.add(loop.index, 1))
        # the states after a timestep are those of the rows active at it or at the next
        begin, end = k.read(offsets, loop.index), k.read(offsets, f.add(loop.index, 1))
        following = k.read(offsets, f.minimum(f.add(loop.index, 2), steps))
        loop.next([f.add(loop.carried[0], k.largest(f.sub(end, begin), f.sub(following, end)))])
    listed = k.is_set("active_times")
    for masked in (True, False):
        with f.when(listed if masked else k.no(listed)), f.loop(0, steps) as loop:
            begin = k.read(offsets, loop.index)
            count = f.sub(k.read(offsets, f.add(loop.index, 1)), begin)
            before = k.read(slots, loop.index)
            step = f.add(loop.index, a["begin"])
            with k.row_loop(count, row_numbers) as (row, number):
                if masked:
                    t = k.read("active_times", f.add(f.mul(number, a["time"]), step))
                else:
                    back = f.sub(f.sub(k.read("lengths", number), 1), step)
                    t = f.select(k.is_set("reverse"), back, step)
                n = f.add(begin, row)
                k.write(f.add(f.mul(number, a["row_stride"]), k.read("time_offsets", t)), positions, n)
                k.write(f.add(before, row), previous, n)
    return k.finish()


def distinct_kernel(bits: int) -> Kernel:
    """The tokens (of so many bits) at a group's positions: each new one is added to `distinct`, and `source`
    says which of them each active step has. `index` (vocabulary_size, int32) is to work in."""
    k = SupportKernel(f"distinct{bits}", DISTINCT)
    f, a = k.f, k.a
    group = k.group()
    work = group.get("work")
    positions, source, distinct = (group.get(field, "ptr") for field in ("positions", "source", "distinct"))

    def place(token: Value) -> Value:
        return f.offset(a["index"], token, "i32")

    small = f.compare("slt", a["vocabulary_size"], f.mul(work, 8))
    with f.when(small):  # a small vocabulary is cleared whole, of a large one only what is met
        f.module.declare_void("llvm.memset.p0.i64", ["ptr", "i8", "i64", "i1"])
        size = f.mul(a["vocabulary_size"], 4)
        f.line(f"call void @llvm.memset.p0.i64({a['index']}, i8 -1, {size}, i1 false)")
    with f.loop(0, work) as loop:
        at = k.read(positions, loop.index)
        token = k.checked_token(at, bits, at, loop.index)
        k.write(token, source, loop.index)
        with f.when(k.no(small)):
            f.store(Value("-1", "i32"), place(token), 4)
    with f.loop(0, work, 1, [f.integer(0)]) as loop:
        token, count = k.read(source, loop.index), loop.carried[0]
        known = f.emit("i64", f"sext {f.load('i32', place(token), 4)} to i64")
        new = f.compare("slt", known, 0)
        with f.when(new):
            f.store(f.emit("i32", f"trunc {count} to i32"), place(token), 4)
            k.write(token, distinct, count)
        k.write(f.select(new, count, known), source, loop.index)
        loop.next([f.add(count, k.one_if(new))])
    group.set("distinct_count", loop.results[0])
    return k.finish()
