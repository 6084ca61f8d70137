"""Threads: the same values from any number of them, from many callers, after a fork."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from stepfold import cells, record, scan
from stepfold._native import last_executor, thread_cap
from stepfold._processors import processors
from stepfold._runtime import Engine, forward_program
from tests.runtime.scan_arrays import LIMITS, close
from tests.runtime.scan_helpers import Answer, Problem, problem, ragged, ready

# large enough that threads are worth their cost
LARGE = (150, 12, 5, 33)


def large(dtype: str = "float64", seed: int = 0) -> Problem:
    batch, time, features, units = LARGE
    mask = ragged(np.random.default_rng(seed).integers(0, time + 1, batch).tolist(), time)
    return problem(cells.lstm, batch, time, features, units, dtype, seed=seed, mask=mask)


def assert_same(found: Answer, expected: Answer, dtype: str = "float64") -> None:
    assert found.keys() == expected.keys()
    for key, array in expected.items():
        close(found[key], array, LIMITS[dtype], key)


def tasks(made: Problem, threads: int) -> int:
    """Into how many tasks a program for so many threads is cut."""
    engine = ready(made.step, made.units, made.dtype)
    options = {"outputs": True, "training": False, "threads": threads}
    return forward_program(engine, made.recipe, made.shape, **options).tasks


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_any_number_of_threads_gives_the_same(threads: int) -> None:
    large().check(threads=threads)
    assert tasks(large(), threads) == threads
    assert last_executor() == ("calling thread" if threads == 1 else "own threads")


@pytest.mark.parametrize(("forward", "backward"), [(3, 1), (1, 3), (2, 5), (255, 2), (2, 255)])
def test_the_backward_pass_may_have_other_threads(forward: int, backward: int) -> None:
    large().check(threads=forward, backward_threads=backward)


def test_small_work_stays_on_the_callers_thread() -> None:
    made = problem(cells.lstm, 4, 3, 5, 5)
    made.run(threads=3)
    assert tasks(made, 3) == 1
    assert last_executor() == "calling thread"


def test_no_threads_is_an_error() -> None:
    params = cells.simple_rnn.init(3, 5, seed=0)
    for threads in (0, -1):
        for function in (scan, record):
            with pytest.raises(ValueError, match=rf"^threads must be at least 1, not {threads}$"):
                function(cells.simple_rnn, np.zeros((2, 4, 3), np.float32), params, threads=threads)


@pytest.mark.parametrize("threads", [1.0, "2", True, np.float32(2)])
def test_threads_are_integers(threads: object) -> None:
    with pytest.raises(TypeError, match=f"^threads must be an integer, not {re.escape(repr(threads))}$"):
        thread_cap(threads)  # type: ignore[arg-type]


def test_threads_are_capped_by_the_processors() -> None:
    assert 1 <= processors() <= (os.cpu_count() or 1)
    assert thread_cap() == thread_cap(5000) == min(processors(), 255)
    assert thread_cap(5000, most=1) == thread_cap(1) == thread_cap(np.int64(1)) == 1
    before = threading.active_count()
    params = cells.lstm.init(5, 33, seed=0)
    inputs = np.zeros((150, 12, 5), np.float32)
    scan(cells.lstm, inputs, params, threads=5000)
    assert threading.active_count() <= before + processors() - 1


def test_more_threads_than_rows() -> None:
    made = problem(cells.lstm, 2, 400, 5, 33)
    made.check(threads=8)
    assert tasks(made, 8) == 2


def test_many_python_threads_share_one_engine() -> None:
    problems = [large(seed=seed) for seed in range(3)]
    expected = [p.run() for p in problems]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda k: (k % 3, problems[k % 3].run(threads=1 + k % 3)), range(24)))
    for k, answer in found:
        assert_same(answer, expected[k])


def test_many_python_threads_compile_one_engine_once() -> None:
    made = problem(cells.ugrnn, 3, 4, 2, 6)
    fresh = Engine(made.step, 6, "float64")
    begin = threading.Barrier(6)

    def one(_: int) -> Answer:
        begin.wait()
        return made.run(engine=fresh)

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(one, range(6)))
    for answer in answers:
        assert_same(answer, answers[0])
    assert sorted(fresh.from_cache) == ["backward", "infer", "train"]


# ---- after a fork ------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_computes_what_its_parent_does() -> None:
    # in a process of its own: JAX, which other tests load, forbids forks
    code = "from tests.runtime.test_runtime_threads import fork_and_compare; fork_and_compare()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "the same\n"


def fork_and_compare() -> None:
    """Run before a fork, in the child, and after it; what the test above runs."""
    made = large()
    expected = made.run(threads=3)  # the parent's threads are there before the fork
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)

    def child() -> None:
        send.send(made.run(threads=3))

    process = context.Process(target=child)
    process.start()
    send.close()
    assert receive.poll(60), "the child hangs"
    assert_same(receive.recv(), expected)
    process.join(60)
    assert process.exitcode == 0
    assert_same(made.run(threads=3), expected)
    print("the same")


# ---- Ctrl-C ------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers on this system")
def test_an_interrupted_run_leaves_the_next_one_right() -> None:
    """A signal comes while native code runs on all threads; Python hears of it when they are done."""
    params = cells.lstm.init(16, 64, seed=0)
    inputs = np.random.default_rng(0).standard_normal((200, 100, 16)).astype(np.float32)
    expected = record(cells.lstm, inputs, params)
    gradients = expected.backward(expected.output)
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    interrupted = 0
    try:
        for delay in (0.001, 0.003, 0.005, 0.01, 0.02, 0.03):
            try:
                signal.setitimer(signal.ITIMER_REAL, delay)
                made = record(cells.lstm, inputs, params)
                made.backward(made.output)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                interrupted += 1
            found = record(cells.lstm, inputs, params)
            np.testing.assert_array_equal(found.output, expected.output)
            again = found.backward(found.output)
            np.testing.assert_array_equal(again.inputs, gradients.inputs)
            for name, value in gradients.params.items():
                np.testing.assert_array_equal(again.params[name], value)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert interrupted
