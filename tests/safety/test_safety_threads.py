"""Threads: never many more than processors; many callers at once; a child after a fork."""

from __future__ import annotations

import gc
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from safety_batches import Given, answer, assert_same, batch
from safety_helpers import alone, needs_fork, needs_proc, thread_count

from stepfold import Cell, Stream, cell, cells, record, scan, sigmoid, tanh

FEW = 4
"""Threads that a process may have besides one a processor: the caller's, a sampler, a watchdog."""


def processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# ---- how many ----------------------------------------------------------------------------------------


def most_threads(work: Callable[[], object]) -> int:
    """The most threads that the process has while some work goes on."""
    most, done = 0, threading.Event()

    def sample() -> None:
        nonlocal most
        while not done.wait(0.0005):
            most = max(most, thread_count())

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        work()
    finally:
        done.set()
        sampler.join()
    return max(most, thread_count())


def five_thousand() -> None:
    """What the test below runs: more threads asked for than any machine has."""
    many = batch(cells.simple_rnn, 6000, 12, 3, 8, dtype="float32")
    one = batch(cells.lstm, 1, 30, 16, 512, dtype="float32")
    expected = [answer(cells.simple_rnn, many, threads=1), answer(cells.lstm, one, threads=1)]
    found: list[Any] = []

    def work() -> None:
        found.append(answer(cells.simple_rnn, many, threads=5000))
        found.append(answer(cells.lstm, one, threads=5000))
        record(cells.simple_rnn, **many, threads=5000, checkpoint=True).backward(None)

    most = most_threads(work)
    assert most <= processors() + FEW, f"{most} threads on {processors()} processors"
    for a, b in zip(found, expected, strict=True):
        assert_same(a, b)


@needs_proc
def test_threads_are_no_more_than_processors() -> None:
    alone(five_thousand)


def on_one_processor() -> None:
    """What the test below runs: a process that may use one processor only."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    before = thread_count()
    given = batch(cells.lstm, 200, 60, 3, 32, dtype="float32")
    most = most_threads(lambda: answer(cells.lstm, given))
    assert most <= before + 1, f"{most} threads, {before} before, one of them the sampler's"


@needs_proc
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_a_process_on_one_processor_starts_no_threads() -> None:
    alone(on_one_processor)


def torch_setting() -> None:
    """What the test below runs: torch.set_num_threads(1), then a large batch."""
    import torch

    from stepfold.torch import LSTM

    torch.set_num_threads(1)
    module = LSTM(8, 64, batch_first=True)
    inputs = torch.randn(200, 60, 8)
    before = thread_count()
    most = most_threads(lambda: module(inputs)[0].sum().backward())
    assert most <= before + 1, f"{most} threads, {before} before, one of them the sampler's"


@needs_proc
def test_torch_s_own_setting_holds() -> None:
    alone(torch_setting)


# ---- many callers ------------------------------------------------------------------------------------


def at_once(threads: int, works: list[Callable[[], Any]]) -> list[Any]:
    """The results of works that begin together, so many at a time."""
    begin = threading.Barrier(threads)

    def one(work: Callable[[], Any]) -> Any:
        begin.wait(30)
        return work()

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(one, works))


def many_callers(threads: int) -> None:
    """What the test below runs: threads that run the same and different cells and shapes together."""
    sys.setswitchinterval(1e-5)
    names = ("lstm", "gru", "simple_rnn", "ugrnn")
    jobs: list[tuple[Cell, Given, dict[str, Any]]] = []
    for k in range(6 * threads):
        made = cells.by_name(names[k % 4])
        rows, time = ((70, 20), (3, 40), (1, 60))[k % 3]
        given = batch(made, rows, time, 3, 17, vocabulary_size=(None, 9)[k // 2 % 2], seed=k % 5)
        if k % 2:
            given["mask"] = np.random.default_rng(k).random((rows, time)) < 0.7
        jobs.append((made, given, {"checkpoint": k % 7 == 0}))
    expected = [answer(made, given, **options) for made, given, options in jobs]
    for _ in range(3):
        works = [lambda job=job: answer(job[0], job[1], **job[2]) for job in jobs]
        for k, (found, value) in enumerate(zip(at_once(threads, works), expected, strict=True)):
            assert_same(found, value, f"job {k}")


def test_eight_callers_at_once() -> None:
    alone(many_callers, 8)


def large_batches_at_once() -> None:
    """What the test below runs: callers each of whom would take all processors; streams beside them."""
    given = batch(cells.lstm, 150, 40, 8, 48, dtype="float32")
    alone_given = batch(cells.lstm, 1, 20, 16, 512, dtype="float32")
    expected, expected_alone = answer(cells.lstm, given), answer(cells.lstm, alone_given)

    def stream() -> dict[str, Any]:
        made = Stream(cells.lstm, given["params"], initial_state=[s[:1] for s in given["initial_state"]])
        return {"scan 0": np.stack([made.step(x).copy() for x in given["inputs"][0]], axis=1)}

    expected_stream = {"scan 0": expected["scan 0"][:1]}
    works = [lambda: answer(cells.lstm, given), lambda: answer(cells.lstm, alone_given), stream, stream] * 4
    wanted = [expected, expected_alone, expected_stream, expected_stream] * 4
    for found, value in zip(at_once(8, works), wanted, strict=True):
        assert_same(found, value)


def test_large_batches_and_streams_at_once() -> None:
    alone(large_batches_at_once)


def torch_at_once() -> None:
    """What the test below runs: modules in eight Python threads, each with its own backward pass."""
    import torch

    from stepfold.torch import GRU

    modules = [GRU(5, 33, batch_first=True) for _ in range(4)]
    inputs = torch.randn(100, 30, 5)

    def step(module: Any) -> list[Any]:
        output, last = module(inputs)
        return list(torch.autograd.grad(output.square().sum() + last.sum(), list(module.parameters())))

    expected = [step(module) for module in modules] * 4
    found = at_once(8, [lambda module=module: step(module) for module in modules * 4])
    for a, b in zip(found, expected, strict=True):
        for one, other in zip(a, b, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_torch_modules_at_once() -> None:
    alone(torch_at_once)


def traced() -> tuple[str, str]:
    """A cell written anew, whose names no other cell holds: its graph and its gradient as text."""

    @cell
    def written(x, p, q, *, K, R, S, s):
        g = sigmoid(K @ x + R @ p + s)
        return tanh(S @ p) * g + q * p, q * g + (1 - g) * p

    return written.to_json(), written.show("gradient")


def tracing(rounds: int) -> None:
    """What the test below runs: equal cells, traced in four threads at once, all forgotten in between."""
    expected = traced()
    sys.setswitchinterval(1e-6)
    for turn in range(rounds):
        gc.collect()
        assert at_once(4, [traced] * 4) == [expected] * 4, f"turn {turn}: a graph or a gradient differs"


def test_cells_traced_at_once_are_the_same() -> None:
    alone(tracing, 150)


# ---- after a fork ------------------------------------------------------------------------------------


def forked(with_torch: bool) -> None:
    """What the test below runs: a child of a process whose threads have worked."""
    given = batch(cells.lstm, 150, 20, 5, 33)
    single = batch(cells.lstm, 1, 20, 16, 512, dtype="float32")
    expected = [answer(cells.lstm, given, threads=3), answer(cells.lstm, single, threads=3)]
    by_torch = _torch_forward(given) if with_torch else None
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)

    def child() -> None:
        found = [answer(cells.lstm, given, threads=3), answer(cells.lstm, single, threads=3)]
        send.send((found, _torch_forward(given) if with_torch else None))

    for _ in range(2):
        process = context.Process(target=child)
        process.start()
        assert receive.poll(30), "the child hangs"
        found, found_by_torch = receive.recv()
        process.join(30)
        assert process.exitcode == 0, process.exitcode
        for a, b in zip(found, expected, strict=True):
            assert_same(a, b)
        if by_torch is not None:
            np.testing.assert_allclose(found_by_torch, by_torch, rtol=1e-9, atol=1e-9)
    assert_same(answer(cells.lstm, given, threads=3), expected[0])


def _torch_forward(given: Given) -> Any:
    import torch

    from stepfold.torch import run

    params = {name: torch.from_numpy(p) for name, p in given["params"].items()}
    with torch.no_grad():
        return run(cells.lstm, torch.from_numpy(given["inputs"]), params)[0].numpy()


@needs_fork
@pytest.mark.parametrize("with_torch", [False, True])
def test_a_forked_child_gets_the_same(with_torch: bool) -> None:
    alone(forked, with_torch, environment={"PYTHONWARNINGS": "ignore::DeprecationWarning"})


def fork_in_the_middle() -> None:
    """What the test below runs: forks while other threads are inside the library."""
    given = batch(cells.lstm, 150, 20, 5, 33)
    expected = answer(cells.lstm, given, threads=2)
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            scan(cells.lstm, **given, threads=2)

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    try:
        for _ in range(10):
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    assert_same(answer(cells.lstm, given, threads=2), expected)
                    status = 0
                finally:
                    os._exit(status)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        stop.set()
        for worker in workers:
            worker.join()


@needs_fork
def test_forks_while_other_threads_scan() -> None:
    alone(fork_in_the_middle, timeout=40, environment={"PYTHONWARNINGS": "ignore::DeprecationWarning"})
