"""Executors: whoever runs a program's tasks, and whenever, the results are the same."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from executor_helpers import EXECUTORS, Late, Scripted, crowd, elsewhere, queue_workers
from mode_helpers import Mode

from stepfold import cells
from stepfold._native import Executor, calling_thread, last_executor, own_threads
from stepfold._runtime import Engine, Threads
from stepfold._runtime._engine import COOPERATES
from tests.runtime.scan_groups import groups_of
from tests.runtime.scan_helpers import Answer, Problem, problem, ragged, ready


@pytest.fixture(autouse=True)
def threads_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let any batch be worth as many tasks as there are threads."""
    monkeypatch.setattr("stepfold._runtime._engine._SMALL", -1)


def some(seed: int = 0) -> Problem:
    mask = ragged(np.random.default_rng(seed).integers(0, 10, 70).tolist(), 9)
    return problem(cells.gru, 70, 9, 5, 17, "float32", seed=seed, mask=mask)


def same(found: Answer, expected: Answer) -> None:
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value, err_msg=key)


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize("kind", EXECUTORS)
def test_all_executors_give_the_same_bit_for_bit(kind: str, threads: int) -> None:
    executor, made = EXECUTORS[kind](), some()
    expected = made.run(threads=threads, executor=calling_thread())
    assert last_executor() == "calling thread"
    for _ in range(5):
        same(made.run(threads=threads, executor=executor), expected)
        assert last_executor() == (executor.name if threads > 1 else "calling thread")
    assert len(groups_of(made, threads)) == max(2, threads)


@pytest.mark.parametrize("kind", EXECUTORS)
def test_eight_python_threads_run_one_program_at_once(kind: str) -> None:
    executor, problems = EXECUTORS[kind](), [some(seed) for seed in range(4)]
    expected = [made.run(threads=2, executor=calling_thread()) for made in problems]
    begin = threading.Barrier(8)

    def one(k: int) -> None:
        begin.wait()
        for _ in range(4):
            same(problems[k % 4].run(threads=2, executor=executor), expected[k % 4])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(8)))


@pytest.mark.parametrize("threads", [2, 3, 8])
def test_one_other_thread_or_more_than_were_asked_for(threads: int) -> None:
    made = some()
    expected = made.run(threads=threads, executor=calling_thread())
    for executor in (elsewhere(), crowd(0), crowd(5)):
        same(made.run(threads=threads, executor=executor), expected)
        assert executor.errors == []


@pytest.mark.parametrize("threads", [2, 8])
def test_an_executor_that_fails_is_not_waited_for(threads: int) -> None:
    """A signal may end an executor in Python before it has brought anybody: the caller does the work."""

    def interrupted(body: Callable[[int], None], fork: int, threads: int) -> None:
        raise KeyboardInterrupt

    made, executor = some(), Scripted(interrupted)
    expected = made.run(threads=threads, executor=calling_thread())
    same(made.run(threads=threads, executor=executor), expected)
    same(cooperative(executor, threads), cooperative(calling_thread(), threads))
    assert {type(error) for error in executor.errors} == {KeyboardInterrupt}


@pytest.mark.parametrize("threads", [2, 8])
def test_a_helper_that_comes_late_finds_nothing(threads: int) -> None:
    made, executor = some(), Late()
    expected = made.run(threads=threads, executor=calling_thread())
    found = made.run(threads=threads, executor=executor)
    same(found, expected)
    # the memory of that program is another's now
    made.but(inputs=made.inputs * 2).run(threads=1)
    assert executor.come() >= 3 * (threads - 1)
    same(found, expected)
    same(made.run(threads=threads, executor=executor), expected)
    executor.come()


# ---- cooperative phases ------------------------------------------------------------------------------------


def row() -> tuple[Problem, Engine]:
    made = problem(cells.lstm, 1, 9, 3, 130)
    return made, ready(made.step, 130)


def cooperative(executor: Executor, threads: int) -> Answer:
    made, engine = row()
    return made.forward(engine, Threads(executor, threads), training=False)[0]


@pytest.mark.skipif(not COOPERATES, reason="threads cannot wait for one another here")
@pytest.mark.parametrize("threads", [2, 3, 8])
def test_cooperative_phases_on_any_threads(threads: int) -> None:
    expected = cooperative(calling_thread(), threads)
    executors = [EXECUTORS[kind] for kind in ("own threads", "queue")]
    late = Late()
    for executor in (*(make() for make in executors), elsewhere(), crowd(0), crowd(3), late):
        for _ in range(5):
            same(cooperative(executor, threads), expected)
    assert late.come() > 0
    same(cooperative(late, threads), expected)
    late.come()


@pytest.mark.skipif(not COOPERATES, reason="threads cannot wait for one another here")
@pytest.mark.parametrize("threads", [2, 3])
def test_cooperative_phases_on_openmp(threads: int) -> None:
    expected = cooperative(calling_thread(), threads)
    for _ in range(20):
        same(cooperative(EXECUTORS["OpenMP"](), threads), expected)


@pytest.mark.skipif(not COOPERATES, reason="threads cannot wait for one another here")
def test_many_cooperative_phases_at_once() -> None:
    expected = cooperative(calling_thread(), 3)
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: cooperative(own_threads(), 3), range(40)):
            same(found, expected)


# ---- how numbers are rounded -------------------------------------------------------------------------------


@pytest.fixture
def mode() -> Iterator[Mode]:
    made = Mode()
    before = made.get()
    yield made
    made.set(before)


def small_values() -> Problem:
    """Outputs that are denormal in every row, unless those are flushed to zero."""
    made = problem(cells.simple_rnn, 70, 3, 4, 5)
    params = {name: np.zeros_like(value) for name, value in made.params.items()}
    params["W"][...] = 1e-160
    return made.but(inputs=np.full_like(made.inputs, 1e-155), params=params, initial=[None])


def outputs(made: Problem, executor: Executor, threads: int) -> np.ndarray:
    engine = ready(made.step, made.units)
    return made.forward(engine, Threads(executor, threads), training=False)[0]["outputs"]


def test_denormal_numbers_are_flushed_in_all_rows_or_in_none(mode: Mode) -> None:
    made, normal = small_values(), mode.get()
    seen: list[int] = []

    def around(body: Callable[[], None]) -> None:
        mode.set(normal)
        body()
        seen.append(mode.get())

    executors = [calling_thread(), own_threads(), queue_workers(), elsewhere(around), crowd(2)]
    for executor in executors:
        for threads in (1, 2, 8):
            assert (outputs(made, executor, threads) > 0).all()
            mode.set(normal | mode.flush)
            found = outputs(made, executor, threads)
            after = mode.get()
            mode.set(normal)
            assert not found.any()
            assert after == normal | mode.flush
            assert (outputs(made, executor, threads) > 0).all()
    assert seen
    assert set(seen) == {normal}, "a borrowed thread has not got its mode back"


def test_a_helper_in_another_mode_computes_in_the_callers(mode: Mode) -> None:
    made, normal = small_values(), mode.get()

    def flushing(body: Callable[[], None]) -> None:
        mode.set(normal | mode.flush)
        body()
        assert mode.get() == normal | mode.flush

    assert (outputs(made, elsewhere(flushing), 2) > 0).all()


def test_rounding_is_the_callers(mode: Mode) -> None:
    made, normal = some(), mode.get()
    engine = ready(made.step, made.units, made.dtype)

    def scanned(executor: Executor) -> np.ndarray:
        return made.forward(engine, Threads(executor, 2), training=False)[0]["outputs"]

    nearest = scanned(calling_thread())
    mode.set(normal | mode.up)
    up = scanned(calling_thread())
    others = [scanned(executor) for executor in (own_threads(), queue_workers(), elsewhere())]
    mode.set(normal)
    assert (up != nearest).any()
    for other in others:
        np.testing.assert_array_equal(other, up)
    np.testing.assert_array_equal(scanned(own_threads()), nearest)


# ---- workers -----------------------------------------------------------------------------------------------


def test_workers_sleep_between_calls() -> None:
    made = some()
    made.run(threads=2)
    time.sleep(0.05)
    before = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - before < 0.1


def test_workers_are_woken_from_sleep_and_met_awake() -> None:
    made = some()
    expected = made.run(threads=2, executor=calling_thread())
    for pause in (0, 0, 0, 1e-4, 1e-3, 0.02, 0):
        time.sleep(pause)
        same(made.run(threads=2), expected)


def test_as_many_workers_as_are_wanted_and_no_more() -> None:
    made = some()
    made.run(threads=5)
    before = threading.active_count()
    for threads in (2, 5, 3, 1):
        made.run(threads=threads)
    assert threading.active_count() == before


def test_a_script_that_does_nothing_is_noticed() -> None:
    """The helpers of these tests can fail: an executor's error is kept."""
    executor = Scripted(lambda body, fork, threads: (body(fork), 1 / 0))
    some().run(threads=2, executor=executor)
    assert {type(error) for error in executor.errors} == {ZeroDivisionError}


# ---- after a fork ------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("kind", ["own threads", "queue", "OpenMP"])
def test_a_forked_child_needs_no_thread_of_its_parent(kind: str) -> None:
    EXECUTORS[kind]()
    code = f"from {Path(__file__).stem} import fork_and_compare; fork_and_compare({kind!r})"
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=Path(__file__).parent,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])},
    )
    assert (done.returncode, done.stdout) == (0, "the same\n"), done.stderr


def fork_and_compare(kind: str) -> None:
    """Run before a fork, in the child, and after it; the child has the executor that its parent made."""
    import stepfold._runtime._engine as engine_module

    engine_module._SMALL = -1
    executor, (alone, engine) = EXECUTORS[kind](), row()
    made, threads = some(), Threads(executor, 3)
    expected = made.run(threads=3, executor=executor)
    expected_alone, _ = alone.forward(engine, threads, training=False)
    time.sleep(0.02)  # the workers sleep
    affinity = _affinity()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            for _ in range(3):
                same(made.run(threads=3, executor=executor), expected)
                same(alone.forward(engine, threads, training=False)[0], expected_alone)
            same(made.run(threads=3), expected)  # and has threads of its own
            assert last_executor() == "own threads"
            status = 0
        finally:
            os._exit(status)
    end = time.monotonic() + 60
    while (done := os.waitpid(child, os.WNOHANG))[0] == 0:
        assert time.monotonic() < end, "the child hangs"
        time.sleep(0.01)
    assert os.waitstatus_to_exitcode(done[1]) == 0
    now = _affinity()
    moved = {thread for thread, allowed in affinity.items() if now.get(thread, allowed) != allowed}
    assert not moved, f"the child has moved its parent's threads: {moved}"
    same(made.run(threads=3, executor=executor), expected)
    print("the same")


def _affinity() -> dict[str, set[int]]:
    """The processors of each thread of this process."""
    if not hasattr(os, "sched_getaffinity"):
        return {}
    return {thread: os.sched_getaffinity(int(thread)) for thread in os.listdir("/proc/self/task")}
