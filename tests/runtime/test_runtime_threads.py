"""Threads: the same numbers from any number of them, from many callers, after a fork; errors come out."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from scan_helpers import LIMITS, Answer, close, problem, ragged

from stepfold import cells, record, scan
from stepfold._scan import _pool

# large enough that threads are worth their cost
LARGE = (150, 12, 5, 33)


def large(dtype: str = "float64", seed: int = 0):
    batch, time, features, units = LARGE
    mask = ragged(np.random.default_rng(seed).integers(0, time + 1, batch).tolist(), time)
    return problem(cells.lstm, batch, time, features, units, dtype, seed=seed, mask=mask)


def assert_same(found: Answer, expected: Answer, dtype: str = "float64") -> None:
    assert found.keys() == expected.keys()
    for key, array in expected.items():
        close(found[key], array, LIMITS[dtype], key)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many jobs each call to the pool had."""
    seen: list[int] = []
    plain = _pool.run
    monkeypatch.setattr(_pool, "run", lambda jobs: (seen.append(len(jobs)), plain(jobs))[1])
    return seen


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_any_number_of_threads_gives_the_same(threads: int, sent: list[int]) -> None:
    large().check(threads=threads)
    assert max(sent) == threads


@pytest.mark.parametrize(("there", "back"), [(3, 1), (1, 3), (2, 5)])
def test_the_way_back_may_have_other_threads(there: int, back: int) -> None:
    large().check(threads=there, back_threads=back)


def test_small_work_stays_on_the_callers_thread(sent: list[int]) -> None:
    problem(cells.lstm, 4, 3, 5, 5).fold(threads=3)
    assert set(sent) == {1}


def test_no_threads_is_an_error() -> None:
    params = cells.simple_rnn.init(3, 5, seed=0)
    for threads in (0, -1):
        for way in (scan, record):
            with pytest.raises(ValueError, match=rf"^threads must be at least 1, not {threads}$"):
                way(cells.simple_rnn, np.zeros((2, 4, 3), np.float32), params, threads=threads)


def test_more_threads_than_rows() -> None:
    problem(cells.lstm, 2, 400, 5, 33).check(threads=8)


def test_many_python_threads_share_one_recurrence() -> None:
    problems = [large(seed=seed) for seed in range(3)]
    expected = [p.fold() for p in problems]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda k: (k % 3, problems[k % 3].fold(threads=1 + k % 3)), range(24)))
    for k, answer in found:
        assert_same(answer, expected[k])


def test_many_python_threads_compile_one_recurrence_once() -> None:
    from stepfold._scan import Recurrence

    made = problem(cells.ugrnn, 3, 4, 2, 6)
    fresh = Recurrence(made.step, 6, "float64")
    begin = threading.Barrier(6)

    def one(_: int) -> Answer:
        begin.wait()
        return made.fold(recurrence=fresh)

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(one, range(6)))
    for answer in answers:
        assert_same(answer, answers[0])
    assert sorted(fresh.from_cache) == ["back", "infer", "train"]


# ---- the pool itself ---------------------------------------------------------------------------------


def fails(with_: BaseException):
    def job() -> None:
        raise with_

    return job


@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_error_in_a_job_comes_out_when_all_are_done(place: int) -> None:
    done: list[int] = []
    jobs = [lambda k=k: done.append(k) for k in range(3)]
    jobs[place] = fails(KeyError(f"job {place}"))
    with pytest.raises(KeyError, match=f"job {place}"):
        _pool.run(jobs)
    assert sorted(done) == [k for k in range(3) if k != place]
    _pool.run([lambda: done.append(7)] * 3)  # and the pool goes on
    assert done.count(7) == 3


def test_one_job_runs_on_the_callers_thread_and_its_error_comes_out() -> None:
    seen: list[int] = []
    _pool.run([lambda: seen.append(threading.get_ident())])
    assert seen == [threading.get_ident()]
    with pytest.raises(ZeroDivisionError):
        _pool.run([fails(ZeroDivisionError())])


def test_no_jobs_are_done_at_once() -> None:
    _pool.run([])


def test_processors_are_those_this_process_may_use() -> None:
    assert 1 <= _pool.processors() <= (os.cpu_count() or 1)


# ---- after a fork ------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_folds_as_its_parent_does() -> None:
    # in a process of its own: JAX, which other tests load, forbids forks
    code = f"from {Path(__file__).stem} import fork_and_compare; fork_and_compare()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=Path(__file__).parent,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "the same\n"


def fork_and_compare() -> None:
    """Fold before a fork, in the child, and after it; what the test above runs."""
    made = large()
    expected = made.fold(threads=3)  # the parent's threads are there before the fork
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)

    def child() -> None:
        send.send(made.fold(threads=3))

    process = context.Process(target=child)
    process.start()
    send.close()
    assert receive.poll(60), "the child hangs"
    assert_same(receive.recv(), expected)
    process.join(60)
    assert process.exitcode == 0
    assert_same(made.fold(threads=3), expected)
    print("the same")
