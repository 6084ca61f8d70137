"""Programs: launches with their arguments, statuses, workspaces and buffers that stay within their bounds."""

from __future__ import annotations

import ctypes
import gc
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from stepfold._llvm import MOST_ARGUMENTS, POOL, POOL_BLOCKS, STATUS, Kernel
from stepfold._native import (
    Argument,
    CompiledKernel,
    Program,
    Recorder,
    Status,
    acquire,
    address,
    aligned,
    calling_thread,
    own_threads,
    release_unused,
    status_of,
    support,
)
from stepfold._native import _buffers as buffers
from stepfold._native._program import WORKSPACES

# ---- launches ----------------------------------------------------------------------------------------------


def copies(source: Argument, at: Argument, recorder: Recorder, tasks: int = 1) -> Program:
    """A program whose tasks copy a word each from a source to where `at` says."""
    phase = recorder.phase(tasks)
    for launches in phase.once:
        launches.launch(
            support("pad_rows64"), count=1, width=1, pieces=1, piece_stride=1, row=1,
            row_numbers=np.zeros(1, np.int64), source=source, target=at,
        )  # fmt: skip
    return recorder.finish()


def test_an_argument_is_a_slot_and_distances() -> None:
    recorder, values = Recorder(), np.arange(10.0)
    first, second = recorder.operand(), recorder.operand()
    found = np.full(10, np.nan)
    program = copies(first + 24, second + 8, recorder)
    assert program.run([address(values), address(found)], calling_thread(), 1) is None
    assert found[1] == 3
    assert np.isnan(np.delete(found, 1)).all()


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_a_task_has_its_own_distance(threads: int) -> None:
    recorder, values = Recorder(), np.arange(8.0)
    source = Argument(recorder.operand().slot, per_task=8)
    target = Argument(recorder.operand().slot, per_task=16)
    found = np.full(16, np.nan)
    program = copies(source, target, recorder, tasks=8)
    assert program.tasks == 8
    assert program.run([address(values), address(found)], own_threads(), threads) is None
    assert found[::2].tolist() == values.tolist()
    assert np.isnan(found[1::2]).all()


def test_a_field_is_loaded() -> None:
    recorder, values = Recorder(), np.arange(4.0)
    pointers = np.array([0, address(values)], np.int64)
    found = np.full(1, np.nan)
    source = recorder.operand().field(1) + 16
    program = copies(source, recorder.operand(), recorder)
    assert program.run([address(pointers), address(found)], calling_thread(), 1) is None
    assert found[0] == 2


def test_groups_are_dealt_to_tasks() -> None:
    """Task t of n has the groups t, t + n, … of those that the status counts."""
    for groups, tasks in ((7, 3), (0, 2), (1, 4), (5, 1)):
        recorder = Recorder()
        target = recorder.operand()
        recorder.phase().once[0].launch(
            support("pad_rows64"), count=1, width=1, pieces=1, piece_stride=1, row=1,
            row_numbers=np.zeros(1, np.int64),
            source=np.array([groups], np.int64), target=recorder.status + 8 * STATUS.index("groups"),
        )  # fmt: skip
        phase = recorder.phase(tasks)
        phase.each.launch(
            support("clear"), bytes=1, part=0, parts=1,
            target=Argument(target.slot, per_group=1, per_task=100),
        )  # fmt: skip
        found = np.full(100 * tasks + groups, 7, np.uint8)
        assert recorder.finish().run([address(found)], own_threads(), tasks) is None
        cleared = np.flatnonzero(found == 0).tolist()
        assert cleared == sorted(group + 100 * (group % tasks) for group in range(groups))


def test_workspaces_lie_on_cache_lines_and_apart() -> None:
    recorder = Recorder()
    places = [recorder.workspace(size) for size in (1, 64, 65, 0)]
    each = recorder.workspace(65, tasks=3)
    begins = [place.offset for place in places]
    assert all(begin % 64 == 0 for begin in begins)
    assert np.diff(begins).tolist() == [64, 64, 128]
    assert each.offset - begins[-1] == 64
    assert each.per_task == 128
    assert recorder.finish().workspace == each.offset + 3 * 128


def test_what_does_not_fit_a_program_is_told() -> None:
    recorder = Recorder()
    recorder.operand()
    recorder.phase()
    program = recorder.finish()
    with pytest.raises(ValueError, match=r"^the program takes 1 operands, not 2$"):
        program.run([0, 0], calling_thread(), 1)

    class Many(CompiledKernel):
        def __init__(self) -> None:
            names = tuple(f"a{k}" for k in range(MOST_ARGUMENTS + 1))
            self.kernel, self.address = Kernel("", "many", names), 0

    with pytest.raises(
        ValueError, match=rf"^many has {MOST_ARGUMENTS + 1} arguments, at most {MOST_ARGUMENTS}$"
    ):
        Recorder().phase().once[0].launch(Many(), **{f"a{k}": 0 for k in range(MOST_ARGUMENTS + 1)})


def test_without_memory_there_is_a_status() -> None:
    recorder = Recorder()
    recorder.workspace(1 << 60)
    recorder.phase()
    assert recorder.finish().run([], calling_thread(), 1) == Status("memory")


def test_a_status_ends_the_program() -> None:
    recorder = Recorder()
    target = recorder.operand()
    first, second = recorder.phase(), recorder.phase()
    room = {name: recorder.workspace(8) for name in ("lengths", "counts", "time_offsets")}
    first.once[0].launch(
        support("lengths"), batch=1, time=1, begin=0, limit=1, time_stride=1, status=recorder.status,
        given_lengths=np.array([5]), clean_mask=0, **room,
    )  # fmt: skip
    second.once[0].launch(support("clear"), bytes=1, part=0, parts=1, target=target)
    found = np.ones(1, np.uint8)
    program = recorder.finish()
    for _ in range(2):
        status = program.run([address(found)], calling_thread(), 1)
        assert status == Status("length", row=0, step=0, value=5, limit=1)
    assert found[0] == 1
    seen = dict.fromkeys(STATUS, 0) | {"code": 1, "row": 2, "step": 3, "value": 4, "limit": 5}
    assert status_of(seen) == Status("token", 2, 3, 4, 5)


# ---- workspaces --------------------------------------------------------------------------------------------


def pool() -> tuple[dict[str, int], list[tuple[int, int]]]:
    """The pool of workspaces: its words, and the blocks that are free."""
    at = support("program").addresses["stepfold_pool"]
    words = list((ctypes.c_int64 * (len(POOL) + 2 * POOL_BLOCKS)).from_address(at))
    blocks = [(words[k], words[k + 1]) for k in range(len(POOL), len(words), 2)]
    return dict(zip(POOL, words, strict=False)), [block for block in blocks if block[0]]


def assert_bounded() -> None:
    words, blocks = pool()
    assert words["bound"] == WORKSPACES
    assert words["lock"] == 0
    assert words["bytes"] == sum(size for _, size in blocks) <= WORKSPACES
    assert len({begin for begin, _ in blocks}) == len(blocks)
    assert all(begin % 64 == 0 for begin, _ in blocks)


def program_of(size: int) -> tuple[Program, int]:
    """A program that clears its workspace of this size and writes its first word to an operand."""
    recorder = Recorder()
    target, room = recorder.operand(), recorder.workspace(size)
    phase = recorder.phase()
    phase.once[0].launch(support("clear"), bytes=size, part=0, parts=1, target=room)
    phase.once[0].launch(support("clear"), bytes=1, part=0, parts=1, target=target)
    program = recorder.finish()
    return program, program.workspace


def run(program: Program) -> None:
    done = np.ones(1, np.uint8)
    assert program.run([address(done)], calling_thread(), 1) is None
    assert done[0] == 0


def test_workspaces_stay_within_their_bound() -> None:
    random = np.random.default_rng(0)
    sizes = [
        *(2 ** random.uniform(6, 25, 200)).astype(int).tolist(),
        WORKSPACES - 4096,
        WORKSPACES,
        WORKSPACES + 1,
    ]
    for size in sizes:
        run(program_of(size)[0])
        assert_bounded()
    _, blocks = pool()
    assert all(size <= WORKSPACES for _, size in blocks)


def test_a_workspace_is_used_again() -> None:
    program, size = program_of(300_000)
    run(program)
    before = pool()
    assert any(there >= size for _, there in before[1])
    for _ in range(10):
        run(program)
    assert pool() == before


def test_a_small_program_does_not_take_a_large_workspace() -> None:
    run(program_of(40_000_000)[0])
    large = max(pool()[1], key=lambda block: block[1])
    run(program_of(100)[0])
    assert large in pool()[1]


def test_workspaces_of_many_threads_stay_within_their_bound() -> None:
    made = [program_of(size)[0] for size in (100, 10_000, 1_000_000, 9_000_000, 30_000_000)]
    begin = threading.Barrier(8)

    def some(seed: int) -> None:
        begin.wait()
        for k in np.random.default_rng(seed).integers(0, len(made), 40):
            run(made[k])

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(some, range(8)))
    assert_bounded()


# ---- buffers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8", "int64"])
def test_aligned(dtype: str) -> None:
    for count in (0, 1, 7, 1000):
        found = aligned(count, dtype)
        assert (found.shape, found.dtype.name) == ((count,), dtype)
        assert not count or found.ctypes.data % 64 == 0


MEGABYTE = 1 << 20


@pytest.fixture
def empty_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    gc.collect()
    monkeypatch.setattr(buffers, "_pool", buffers._Pool())


def free() -> list[int]:
    return [block.nbytes for block in buffers._pool._free]


def test_memory_that_was_dropped_is_given_to_the_next_that_fits(empty_pool: None) -> None:
    first, other = acquire((4, MEGABYTE)), acquire(MEGABYTE, np.float32)
    assert (first.shape, first.dtype) == ((4, MEGABYTE), np.uint8)
    assert (other.shape, other.dtype) == ((MEGABYTE,), np.float32)
    begins = address(first), address(other)
    assert begins[0] != begins[1]
    del first, other
    gc.collect()
    assert free() == [4 * MEGABYTE] * 2
    second, third = acquire(4 * MEGABYTE), acquire(3 * MEGABYTE)
    assert (address(second), address(third)) == begins[::-1]
    assert free() == []
    del second, third
    small = acquire(MEGABYTE)
    assert not any(begin <= address(small) < begin + 4 * MEGABYTE for begin in begins)


def test_small_arrays_come_from_numpy(empty_pool: None) -> None:
    small = acquire(buffers.FRESH - 1)
    del small
    assert free() == []


def test_free_blocks_stay_within_their_bound(empty_pool: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buffers, "POOLED", 5 * MEGABYTE)
    made = [acquire(size * MEGABYTE) for size in (6, 2, 2, 2)]
    while made:
        made.pop(0)
        assert sum(free()) <= 5 * MEGABYTE
    assert free() == [2 * MEGABYTE] * 2


def test_a_block_that_nobody_asks_for_is_given_back(empty_pool: None) -> None:
    made = acquire(MEGABYTE)
    del made
    for _ in range(buffers._PATIENCE - 1):
        release_unused()
    assert free()
    release_unused()
    assert not free()
    release_unused()


def test_many_threads_never_share_a_buffer() -> None:
    def use(seed: int) -> bool:
        made = acquire(MEGABYTE)
        made[:] = seed % 251
        return bool((made == seed % 251).all())

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(use, range(400)))


@pytest.mark.parametrize("shape", [(0,), (3,), (2, 3), (0, 4)])
def test_addresses(shape: tuple[int, ...]) -> None:
    array = np.zeros(shape)
    frozen = array.copy()
    frozen.flags.writeable = False
    for some in (array, frozen, array.T, array[::-1]):
        assert address(some) == some.ctypes.data
