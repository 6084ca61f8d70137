"""Memory stays bounded: whatever shapes a process has seen, it holds little once the results are dropped."""

from __future__ import annotations

import gc
from collections.abc import Callable

import numpy as np
import pytest
from safety_batches import backward, batch
from safety_helpers import LIBC, alone, needs_proc, resident_bytes

from stepfold import cells, record, scan

MEGABYTE = 1 << 20
LIMIT = 64 * MEGABYTE


def growth(first: Callable[[], None], then: Callable[[], None]) -> int:
    """How many bytes more the process holds after `then` than after `first`."""
    first()
    gc.collect()
    before = resident_bytes()
    then()
    gc.collect()
    return resident_bytes() - before


def assert_bounded(first: Callable[[], None], then: Callable[[], None]) -> None:
    grown = growth(first, then)
    assert grown < LIMIT, f"{grown / MEGABYTE:.0f} MB more, allowed {LIMIT / MEGABYTE:.0f} MB"


def small_batches() -> None:
    """Calls that any training makes, and that may push out what a large one left."""
    for seed in range(3):
        for vocabulary_size in (None, 7):
            given = batch(
                cells.lstm, 8, 12, 4, 16, vocabulary_size=vocabulary_size, dtype="float32", seed=seed
            )
            scan(cells.lstm, **given)
            backward(record(cells.lstm, **given))


def use(rows: int, time: int, units: int, vocabulary_size: int | None = None, forward: bool = True) -> None:
    """One batch forward and back, or also forward alone, with lengths."""
    given = batch(cells.lstm, rows, time, 2, units, vocabulary_size=vocabulary_size, dtype="float32")
    given["lengths"] = np.arange(rows) % (time + 1)
    backward(record(cells.lstm, **given, return_sequences=True))
    if forward:
        scan(cells.lstm, **given, return_sequences=True)


def vocabularies() -> None:
    """What a test below runs: 300 sizes of vocabulary."""

    def tables(sizes: range) -> None:
        params = cells.simple_rnn.init(2, 8, seed=0)
        table = np.zeros((sizes[-1] + 1, 2), np.float32)
        tokens = np.random.default_rng(0).integers(0, sizes[0], (4, 6))
        for size in sizes:
            scan(cells.simple_rnn, tokens, params, table=table[:size])
            record(cells.simple_rnn, tokens, params, table=table[:size]).backward(np.ones((4, 8)))

    assert_bounded(lambda: tables(range(99_000, 99_010)), lambda: tables(range(100_000, 100_300)))


def shapes() -> None:
    """What a test below runs: 300 shapes of a batch."""

    def batches(numbers: range) -> None:
        for k in numbers:
            use(200 + k, 100 + k % 7, 8, forward=k % 3 == 0)

    assert_bounded(lambda: batches(range(10)), lambda: batches(range(10, 310)))


def masks() -> None:
    """What a test below runs: 300 masks of one shape."""

    def batches(numbers: range) -> None:
        params = cells.simple_rnn.init(2, 8, seed=0)
        inputs = np.zeros((300, 200, 2), np.float32)
        for k in numbers:
            mask = np.random.default_rng(k).random((300, 200)) < 0.7
            scan(cells.simple_rnn, inputs, params, mask=mask)
            record(cells.simple_rnn, inputs, params, mask=mask).backward(np.ones((300, 8)))

    assert_bounded(lambda: batches(range(5)), lambda: batches(range(5, 305)))


def large_batch(rows: int) -> None:
    """What a test below runs: one large batch, dropped, then small ones."""

    def large() -> None:
        for vocabulary_size in (None, 50):
            use(rows, 60, 32 if rows < 10_000 else 8, vocabulary_size)
        small_batches()

    assert_bounded(small_batches, large)


def many_layers() -> None:
    """What a test below runs: layers that were made, used and dropped, on Keras's NumPy backend."""
    import stepfold.keras

    inputs = np.zeros((4, 6, 64), np.float32)

    def layers(count: int) -> None:
        for k in range(count):
            # a quarter of a megabyte of weights
            stepfold.keras.LSTM(96, kernel_initializer="zeros", recurrent_initializer="zeros")(inputs)
            if k % 25 == 0:
                gc.collect()

    assert_bounded(lambda: layers(5), lambda: layers(300))


@needs_proc
@pytest.mark.parametrize("body", [vocabularies, shapes, masks], ids=lambda body: body.__name__)
def test_many(body: Callable[[], None]) -> None:
    alone(body, environment=LIBC)


@needs_proc
@pytest.mark.parametrize("rows", [6_400, pytest.param(25_600, marks=pytest.mark.slow)])
def test_a_large_batch_leaves_little(rows: int) -> None:
    alone(large_batch, rows, environment=LIBC)


@needs_proc
@pytest.mark.slow
def test_many_keras_layers() -> None:
    alone(many_layers, environment={"KERAS_BACKEND": "numpy", **LIBC})
