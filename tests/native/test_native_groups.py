"""The kernels that cut a batch into groups, each against its definition; hostile input stays harmless."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from native_helpers import Memory

from stepfold._llvm import GROUP, GROUP_WORDS
from stepfold._native import address
from tests.runtime.scan_arrays import Array

# ---- share -------------------------------------------------------------------------------------------------


@st.composite
def token_arrays(draw: st.DrawFn) -> Array:
    """Few tokens, so that they repeat, (batch, time), of either width."""
    shape = draw(st.integers(1, 6)), draw(st.integers(0, 9))
    size = shape[0] * shape[1]
    flat = draw(st.lists(st.integers(0, 2), min_size=size, max_size=size))
    return np.array(flat, draw(st.sampled_from([np.int32, np.int64]))).reshape(shape)


class Share:
    """What `share` writes for tokens in their batch-major or time-major order in memory."""

    def __init__(
        self,
        tokens: Array,
        *,
        major: bool = False,
        reverse: bool = False,
        all_active: int = 1,
        words: int = 3,
    ) -> None:
        batch, time = tokens.shape
        self.memory = memory = Memory()
        memory.set_status(all_active=all_active)
        self.rows = memory.integers("rows", batch)
        self.counts = memory.integers("sorted_counts", batch)
        self.rows[:], self.counts[:] = np.arange(batch), time
        self.step_offsets = memory.integers("step_offsets", time)
        room = {name: memory.integers(name, batch) for name in ("leaders", "totals", "longest", "depths")}
        self.time_offsets = np.arange(time) * (batch if major else 1)
        memory.call(
            f"share{tokens.itemsize * 8}", batch=batch, time=time, row_stride=1 if major else time,
            reverse=int(reverse), vocabulary_size=words,
            tokens=memory.given(np.ascontiguousarray(tokens.T if major else tokens)),
            time_offsets=memory.given(self.time_offsets, np.int64), step_offsets=self.step_offsets,
            rows=self.rows, sorted_counts=self.counts, index=memory.integers("index", words, np.int32),
            starts=memory.integers("starts", time + 2), **room,
        )  # fmt: skip
        self.depths = room["depths"]


@given(token_arrays(), st.booleans(), st.booleans())
def test_share(tokens: Array, major: bool, reverse: bool) -> None:
    batch, time = tokens.shape
    found = Share(tokens, major=major, reverse=reverse)
    assert found.memory.error is None
    lines = [line[::-1] if reverse else line for line in tokens.tolist()]
    runs = [next((k for k, t in enumerate(line) if t != line[0]), time) for line in lines]

    def saved(token: int) -> int:
        mine = [run for line, run in zip(lines, runs, strict=True) if line[0] == token]
        return sum(mine) - max(mine)

    best = max(dict.fromkeys(line[0] for line in lines), key=saved) if time else -1
    pays = time > 0 and 20 * saved(best) > batch * time
    assert found.memory.get_status("shared") == int(pays)
    if not pays:
        assert found.rows.tolist() == list(range(batch))
        assert found.counts.tolist() == [time] * batch
        return
    depths = [run if line[0] == best else 0 for line, run in zip(lines, runs, strict=True)]
    assert found.rows.tolist() == np.argsort(depths, kind="stable").tolist()
    assert found.counts.tolist() == [time - depths[row] for row in found.rows]
    offsets = found.time_offsets.tolist()
    assert found.step_offsets.tolist() == (offsets[::-1] if reverse else offsets)


@given(token_arrays())
def test_nothing_is_shared_unless_all_steps_are_active(tokens: Array) -> None:
    found = Share(tokens, all_active=0)
    assert found.memory.get_status("shared") == 0
    assert found.rows.tolist() == list(range(len(tokens)))


HOSTILE = st.one_of(st.integers(-2, 4), st.sampled_from([-(2**31), 2**31 - 1, -1, 10**6]))


@given(st.data(), st.integers(1, 5), st.integers(1, 6), st.sampled_from([np.int32, np.int64]))
def test_share_of_any_tokens(data: st.DataObject, batch: int, time: int, bits: type) -> None:
    flat = data.draw(st.lists(HOSTILE, min_size=batch * time, max_size=batch * time))
    tokens = np.array(flat, bits).reshape(batch, time)
    found = Share(tokens)
    memory = found.memory
    assert sorted(found.rows.tolist()) == list(range(batch))
    assert all(0 <= count <= time for count in found.counts.tolist())
    if memory.error:
        assert memory.error == "token"
        seen = tokens[memory.get_status("row"), memory.get_status("step")]
        assert not 0 <= seen < 3
        assert memory.get_status("value") == seen
        assert memory.get_status("limit") == 3


# ---- partition ---------------------------------------------------------------------------------------------


@given(
    data=st.data(),
    batch=st.integers(0, 12),
    most=st.integers(1, 12),
    shared=st.booleans(),
    words=st.integers(0, 4),
    tasks=st.integers(1, 4),
    training=st.booleans(),
)
def test_partition(
    data: st.DataObject, batch: int, most: int, shared: bool, words: int, tasks: int, training: bool
) -> None:
    groups, time = min(batch, most), 6
    counts = sorted(data.draw(st.lists(st.integers(0, time), min_size=batch, max_size=batch)), reverse=True)
    rows = data.draw(st.permutations(range(batch)))
    memory = Memory()
    memory.set_status(shared=int(shared))
    headers = memory.integers("headers", (groups, GROUP_WORDS))
    row_numbers = memory.integers("group_rows", batch + groups)
    group_counts = memory.integers("group_counts", batch + groups)
    # addresses of memory that is only dealt out, never touched
    arena, states, residuals, step_offsets, stride = (
        1 << 20,
        2 << 20,
        3 << 20,
        4 << 20,
        0 if training else 4096,
    )
    memory.call(
        "partition", batch=batch, groups=groups, time=time, vocabulary_size=words, tasks=tasks,
        arena_stride=stride, state_row=96, residual_row=40, rows=memory.given(rows, np.int64),
        sorted_counts=memory.given(counts, np.int64), headers=headers, group_rows=row_numbers,
        group_counts=group_counts, step_offsets=step_offsets, arena=arena, states=states, residuals=residuals,
    )  # fmt: skip
    assert memory.get_status("groups") == groups
    dealt: list[int] = []
    for g, line in enumerate(headers):
        header = dict(zip(GROUP, line.tolist(), strict=False))
        turns = -(-batch // groups)
        ranks = [turn * groups + (groups - 1 - g if turn % 2 else g) for turn in range(turns)]
        ranks = [rank for rank in ranks if rank < batch]
        dealt += ranks
        mine, its = [rows[rank] for rank in ranks], [counts[rank] for rank in ranks]
        work = sum(its)
        if shared:  # the row with the longest prefix comes first, and computes it
            mine, its = [mine[-1], *mine[:-1]], [time, *its[:-1]]
            work = sum(its)
        begin = (header["row_numbers"] - address(row_numbers)) // 8
        assert row_numbers[begin : begin + len(mine)].tolist() == mine
        begin = (header["counts"] - address(group_counts)) // 8
        assert group_counts[begin : begin + len(its)].tolist() == its
        assert header["rows"] == len(mine)
        assert header["steps"] == its[0]
        assert header["work"] == work
        assert header["shared"] == int(shared)
        assert header["prefix_offsets"] == (step_offsets if shared else 0)
        assert (header["distinct_count"], header["row_gradients"]) == (0, 0)
        if not training:
            arena = (1 << 20) + g % tasks * stride
        steps, tokens = its[0], min(words, work)
        sizes = {
            "offsets": steps + 1, "slots": steps + 1, "positions": work, "previous": work,
            "source": work if words else 0, "distinct": tokens,
        }  # fmt: skip
        for name, size in sizes.items():
            assert header[name] == arena, name
            arena += 8 * size
        assert (header["states"], header["residuals"]) == (states, residuals)
        states += 96 * (work + len(mine) * (2 if shared else 1))
        residuals += 40 * work
    assert sorted(dealt) == list(range(batch))


# ---- index -------------------------------------------------------------------------------------------------


@given(
    data=st.data(),
    rows=st.integers(1, 6),
    begin=st.integers(0, 3),
    listed=st.booleans(),
    shared=st.booleans(),
    reverse=st.booleans(),
)
def test_index(data: st.DataObject, rows: int, begin: int, listed: bool, shared: bool, reverse: bool) -> None:
    time, limit = 9, 6
    begin = 0 if shared else begin
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    counts = sorted(random.integers(0, limit + 1, rows).tolist(), reverse=True)
    lengths = np.full(rows, time) if shared else random.integers(0, time + 1, rows)
    if shared:
        counts[0] = time
    numbers = random.permutation(rows)
    for row, count in enumerate(counts):  # as `partition` cuts them: within each row's length
        if not shared:
            lengths[numbers[row]] = max(lengths[numbers[row]], min(time, begin + count))
            counts[row] = min(count, int(lengths[numbers[row]]) - begin)
    if any(count < 0 for count in counts) or counts != sorted(counts, reverse=True):
        return
    steps, work = counts[0], sum(counts)
    memory = Memory()
    times = np.stack([random.permutation(time) for _ in range(rows)])
    offsets = random.permutation(time)
    arrays = {
        "offsets": memory.integers("offsets", steps + 1),
        "slots": memory.integers("slots", steps + 1),
        "positions": memory.integers("positions", work),
        "previous": memory.integers("previous", work),
    }
    group = memory.group(
        rows=rows, steps=steps, work=work, shared=int(shared), row_numbers=memory.given(numbers),
        counts=memory.given(counts, np.int64), **arrays,
    )  # fmt: skip
    memory.call(
        "index", time=time, begin=begin, row_stride=100, reverse=int(reverse), group=group,
        lengths=memory.given(lengths), time_offsets=memory.given(offsets),
        active_times=memory.given(times) if listed else None,
    )  # fmt: skip
    # a row is active at the first steps, or (shared) at the last ones
    active = [
        [row for row in range(rows) if (steps - k <= counts[row] if shared else k < counts[row])]
        for k in range(steps)
    ]
    assert active == [list(range(len(line))) for line in active]
    assert arrays["offsets"].tolist() == [sum(len(line) for line in active[:k]) for k in range(steps + 1)]
    slots = [0, rows]
    for k in range(1, steps):
        slots.append(slots[-1] + max(len(active[k - 1]), len(active[k])))
    assert arrays["slots"].tolist() == slots[: steps + 1]
    positions, previous = [], []
    for k, line in enumerate(active):
        for row in line:
            number = int(numbers[row])
            t = int(times[number, begin + k]) if listed else begin + k
            if reverse and not listed:
                t = int(lengths[number]) - 1 - t
            positions.append(number * 100 + int(offsets[t]))
            previous.append(slots[k] + row)
    assert arrays["positions"].tolist() == positions
    assert arrays["previous"].tolist() == previous


# ---- distinct ----------------------------------------------------------------------------------------------


@given(
    st.lists(st.integers(0, 4), max_size=20),
    st.integers(5, 300),
    st.sampled_from([np.int32, np.int64]),
    st.randoms(use_true_random=False),
)
def test_distinct(tokens: list[int], words: int, bits: type, random: object) -> None:
    memory, work = Memory(), len(tokens)
    positions = np.random.default_rng(work).permutation(work)
    group, source, distinct = distinct_group(memory, positions, words)
    memory.call(
        f"distinct{np.dtype(bits).itemsize * 8}", vocabulary_size=words, group=group,
        tokens=memory.given(tokens, bits), index=memory.integers("index", words, np.int32),
    )  # fmt: skip
    met = [tokens[k] for k in positions]
    different = list(dict.fromkeys(met))
    assert group[GROUP.index("distinct_count")] == len(different)
    assert distinct[: len(different)].tolist() == different
    assert [different[s] for s in source] == met
    assert memory.error is None


def distinct_group(memory: Memory, positions: Array, words: int) -> tuple[Array, Array, Array]:
    work = len(positions)
    source = memory.integers("source", work)
    distinct = memory.integers("distinct", min(work, words))
    group = memory.group(work=work, positions=memory.given(positions), source=source, distinct=distinct)
    return group, source, distinct


@given(st.lists(HOSTILE, min_size=1, max_size=20), st.sampled_from([3, 200]))
def test_distinct_of_any_tokens(tokens: list[int], words: int) -> None:
    memory, work = Memory(), len(tokens)
    group, source, distinct = distinct_group(memory, np.arange(work), words)
    memory.call(
        "distinct64", vocabulary_size=words, group=group, tokens=memory.given(tokens, np.int64),
        index=memory.integers("index", words, np.int32),
    )  # fmt: skip
    harmless = [token if 0 <= token < words else 0 for token in tokens]
    count = group[GROUP.index("distinct_count")]
    assert [distinct[:count][s] for s in source] == harmless
    wrong = [k for k, token in enumerate(tokens) if not 0 <= token < words]
    assert memory.error == ("token" if wrong else None)
    if wrong:
        assert [memory.get_status(n) for n in ("row", "step", "value", "limit")] == [
            wrong[-1], wrong[-1], tokens[wrong[-1]], words,
        ]  # fmt: skip
