"""Ctrl-C at any moment: no crash, no hang, nothing written into memory that was given back, and the next run
is right."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import numpy as np
import pytest
from safety_batches import answer, assert_same, backward, batch, by_loop
from safety_helpers import LIBC, alone

from stepfold import cells, record, scan

MARK = 777.0


def interrupt_often(
    work: Callable[[], object], check: Callable[[], None], count: int, canaries: list[int] | None = None
) -> None:
    """Interrupt `work` at `count` random moments; `check` what comes next.

    `canaries`: sizes in float32 of what the work holds. Arrays of these sizes, taken where the interrupted
    run gave its own back, must stay as they are while late threads finish.
    """
    work()
    begin = time.perf_counter()
    work()
    duration = time.perf_counter() - begin
    choose = random.Random(1)
    interrupted = 0
    for turn in range(count):
        # some of the signals come before the work, some after it
        sender = threading.Thread(target=_send, args=(choose.uniform(0, 1.2 * duration),))
        try:
            sender.start()
            work()
            sender.join()
            time.sleep(0.001)
        except KeyboardInterrupt:
            interrupted += 1
        sender.join()
        for array in [np.full(size, MARK, np.float32) for size in canaries or []] if turn % 4 else []:
            time.sleep(duration / 4)
            assert (array == MARK).all(), f"turn {turn}: a thread wrote into memory that was given back"
        if turn % 8 == 0:
            check()
    check()
    assert_idle()
    # Python itself loses an interrupt that comes while a finalizer runs
    assert interrupted >= 0.8 * count, f"of {count} interrupts {count - interrupted} were lost"


def assert_idle() -> None:
    """No thread still computes, or waits in a loop, when nothing runs."""
    time.sleep(0.1)
    begin = time.process_time()
    time.sleep(0.5)
    busy = time.process_time() - begin
    assert busy < 0.1, f"in 0.5 s of rest threads worked {busy:.2f} s"


def interrupt_calls(work: Callable[[], object], check: Callable[[], None], count: int) -> None:
    """Interrupt `work` at `count` of the calls that its Python makes, all if there are no more.

    Python looks for signals where a function begins and where one of C has returned. This reaches the moments
    that are too short for a signal to hit by chance.
    """
    total = _run_calls(work, None)
    assert total > 0, "there is no call to interrupt"
    for turn, last in enumerate(sorted({int(n) for n in np.linspace(1, total, count)})):
        with contextlib.suppress(KeyboardInterrupt):
            _run_calls(work, last)
        if turn % 8 == 0:
            check()
        else:
            work()
    check()
    assert_idle()


def _run_calls(work: Callable[[], object], last: int | None) -> int:
    """Run `work` up to a call, where KeyboardInterrupt is raised; return how many calls there were."""
    calls = 0

    def profile(frame: FrameType, event: str, _: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_return")
        if calls == last:
            sys.setprofile(None)
            raise KeyboardInterrupt

    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(None)
    return calls


def _send(delay: float) -> None:
    time.sleep(delay)
    os.kill(os.getpid(), signal.SIGINT)


def in_numpy(what: str, how: str, count: int) -> None:
    """What the tests below run: one of the entries of the NumPy side, interrupted by signals or at calls."""
    cell = cells.lstm
    rows, time, units = {"alone": (1, 50, 512)}.get(what, (80, 60, 64))
    given = batch(cell, rows, time, 16, units, dtype="float32")
    given["lengths"] = np.linspace(time // 3, time, rows).astype(int)[::-1].copy()
    # more threads than processors: the caller's is done early, and waits
    threads = 2 if what == "alone" else 8
    expected = answer(cell, given, threads=threads)
    run = record(cell, **given, threads=threads, return_sequences=True)
    works: dict[str, Callable[[], Any]] = {
        "scan": lambda: scan(cell, **given, threads=threads, return_sequences=True),
        "alone": lambda: scan(cell, **given, threads=threads, return_sequences=True),
        "record": lambda: record(cell, **given, threads=threads, return_sequences=True),
        "backward": lambda: backward(run),
        "checkpoint": lambda: backward(record(cell, **given, threads=threads, checkpoint=True)),
    }

    def check() -> None:
        assert_same(answer(cell, given, threads=threads), expected, what)
        if what == "backward":
            found = backward(run)
            assert_same(found, {name: expected[name] for name in found}, what)

    if how == "calls":
        interrupt_calls(works[what], check, count)
        return
    sizes = [rows * time * units, rows * time * 16, rows * units, 4 * rows * time * units]
    interrupt_often(works[what], check, count, sizes)


ENTRIES = ("scan", "record", "backward", "checkpoint", "alone")


@pytest.mark.parametrize("what", ENTRIES[2:])
def test_signals(what: str) -> None:
    alone(in_numpy, what, "signals", 30, timeout=240, environment=LIBC)


def test_calls() -> None:
    alone(in_numpy, "scan", "calls", 50, environment=LIBC)


@pytest.mark.slow
@pytest.mark.parametrize("what", ENTRIES)
def test_many_signals(what: str) -> None:
    alone(in_numpy, what, "signals", 100, environment=LIBC)


@pytest.mark.slow
@pytest.mark.parametrize("what", ENTRIES)
def test_many_calls(what: str) -> None:
    alone(in_numpy, what, "calls", 150, environment=LIBC)


def while_compiling(count: int) -> None:
    """What the test below runs: each turn compiles kernels that nobody has compiled before."""
    # Python drops an exception in __del__, which llvmlite's modules have.
    dropped: list[object] = []
    sys.unraisablehook = lambda unraisable: dropped.append(unraisable.exc_type)
    for turn in range(count):
        units = 5 + turn
        dropped.clear()
        given = batch(cells.ugrnn, 3, 4, 2, units)
        sender = threading.Thread(target=_send, args=(random.Random(turn).uniform(0, 0.15),))
        try:
            sender.start()
            answer(cells.ugrnn, given)
            sender.join()
            time.sleep(0.001)
        except KeyboardInterrupt:
            pass
        else:
            assert KeyboardInterrupt in dropped, "a Ctrl-C was lost"
        sender.join()
        expected = by_loop(cells.ugrnn, given)
        found = answer(cells.ugrnn, given)
        assert_same({name: found[name] for name in expected}, expected, f"{units=}")


@pytest.mark.slow
def test_while_kernels_are_compiled() -> None:
    with tempfile.TemporaryDirectory() as cache:
        alone(while_compiling, 20, environment={"XDG_CACHE_HOME": cache})


def in_torch(count: int) -> None:
    """What the test below runs: a module's training step."""
    import torch

    from stepfold.torch import LSTM

    torch.set_num_threads(2)
    torch.manual_seed(0)
    module = LSTM(16, 64, batch_first=True)
    inputs = torch.randn(80, 60, 16)

    def step() -> list[Any]:
        output, (last, _) = module(inputs, lengths=torch.arange(80) % 40 + 21)
        loss = output.square().mean() + last.sum()
        return [output.detach(), *torch.autograd.grad(loss, list(module.parameters()))]

    expected = step()

    def check() -> None:
        for found, value in zip(step(), expected, strict=True):
            torch.testing.assert_close(found, value, rtol=1e-4, atol=1e-5)

    interrupt_often(step, check, count, [80 * 60 * 64, 80 * 60 * 16, 4 * 80 * 60 * 64])


@pytest.mark.slow
def test_torch() -> None:
    alone(in_torch, 80, environment=LIBC)


def in_jitted_keras(count: int) -> None:
    """What the test below runs: a jitted step that returns the new weights, as a training loop would."""
    import jax
    import keras

    import stepfold.keras

    layers = [
        stepfold.keras.Embedding(100, 16, mask_zero=True),
        stepfold.keras.LSTM(64),
        keras.layers.Dense(1),
    ]
    model = keras.Sequential([keras.Input((None,), dtype="int32"), *layers])
    fixed = [v.value for v in model.non_trainable_variables]
    weights = [v.value for v in model.trainable_variables]
    ids = np.random.default_rng(0).integers(0, 100, (80, 60)).astype(np.int32)

    def loss(weights: Any) -> Any:
        return (model.stateless_call(weights, fixed, ids)[0] ** 2).mean()

    @jax.jit
    def step(weights: Any) -> Any:
        value, gradients = jax.value_and_grad(loss)(weights)
        return value, [w - 0.1 * g for w, g in zip(weights, gradients, strict=True)]

    def work() -> list[Any]:
        return [np.asarray(leaf) for leaf in jax.tree.leaves(step(weights))]

    expected = work()

    def check() -> None:
        for found, value in zip(work(), expected, strict=True):
            np.testing.assert_allclose(found, value, rtol=1e-4, atol=1e-5)

    # only KeyboardInterrupt may come out of an interrupted step, not an error of XLA
    interrupt_often(work, check, count, [80 * 60 * 64, 80 * 60 * 16])


@pytest.mark.slow
def test_a_jitted_step_raises_keyboard_interrupt_or_completes() -> None:
    alone(in_jitted_keras, 60, environment={"KERAS_BACKEND": "jax", **LIBC})
