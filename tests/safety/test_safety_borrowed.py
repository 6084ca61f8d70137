"""`record`: what the caller does with its arrays before `backward` changes no gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from safety_batches import Given, arrays_of, assert_same, backward, batch, copied
from safety_helpers import alone

from stepfold import Run, cells, record, scan

KINDS = ("plain", "checkpoint", "large")
VOCABULARY_SIZE = 9


def recorded(kind: str, vocabulary_size: int | None, masked: str | None) -> tuple[Given, Run]:
    """A batch and its run; "large" has more than 250,000 active steps."""
    rows, time = (900, 400) if kind == "large" else (6, 40)
    given = batch(cells.lstm, rows, time, 3, 4, vocabulary_size=vocabulary_size)
    random = np.random.default_rng(2)
    if masked == "mask":
        given["mask"] = random.random((rows, time)) < 0.8
    if masked == "lengths":
        given["lengths"] = random.integers(time // 2, time + 1, rows)
    run = record(cells.lstm, **given, return_sequences=True, checkpoint=kind == "checkpoint")
    return given, run


def other_batches(count: int = 20) -> None:
    """Runs of other batches, of the same cell and of another."""
    for k in range(count):
        cell = (cells.lstm, cells.gru)[k % 2]
        given = batch(cell, 3 + k, 7 + k, 3, 4, vocabulary_size=VOCABULARY_SIZE, seed=k)
        backward(record(cell, **given, return_sequences=True))


def fill(arrays: list[Any]) -> None:
    """Overwrite arrays with other values, each valid where it stands: small integers, finite numbers."""
    for array in arrays:
        if array.dtype == np.bool_:
            array[...] = ~array
        else:
            array[...] = (np.arange(array.size) % 3).reshape(array.shape)


CHANGES: dict[str, Callable[[Given, Run], None]] = {
    "inputs": lambda given, run: fill([given["inputs"]]),
    "params": lambda given, run: fill(list(given["params"].values())),
    "initial_state": lambda given, run: fill(given["initial_state"]),
    "results": lambda given, run: fill([run.output, *run.states]),
    "everything": lambda given, run: fill([*arrays_of(given), run.output, *run.states]),
}


def overwritten(kind: str, vocabulary_size: int | None, masked: str | None, what: str) -> None:
    """Record, change arrays, run other batches, go back; compare with an undisturbed run."""
    _, run = recorded(kind, vocabulary_size, masked)
    expected = backward(run)
    given, run = recorded(kind, vocabulary_size, masked)
    CHANGES[what](given, run)
    other_batches()
    assert_same(backward(run), expected, f"{kind=} {vocabulary_size=} {masked=} {what=}")


def each_array(kind: str) -> None:
    """What the test below runs: each array for itself."""
    wrong = []
    for what in CHANGES:
        for vocabulary_size in (None, VOCABULARY_SIZE):
            for masked in (None, "mask", "lengths"):
                try:
                    overwritten(kind, vocabulary_size, masked, what)
                except AssertionError as error:
                    wrong.append(str(error).strip().splitlines()[1])
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("kind", KINDS[:2])
def test_arrays_that_were_overwritten(kind: str) -> None:
    alone(each_array, kind)


@pytest.mark.slow
def test_arrays_of_a_large_batch_that_were_overwritten() -> None:
    alone(each_array, KINDS[2])


def table_overwritten(kind: str) -> None:
    """What the test below runs: the table, the mask and the lengths of a batch of tokens."""
    for masked in ("mask", "lengths"):
        _, run = recorded(kind, VOCABULARY_SIZE, masked)
        expected = backward(run)
        for what in ("table", masked):
            given, run = recorded(kind, VOCABULARY_SIZE, masked)
            fill([given[what]])
            other_batches(2)
            assert_same(backward(run), expected, f"{kind=} {what=}")


@pytest.mark.parametrize("kind", KINDS)
def test_the_table_and_the_mask(kind: str) -> None:
    alone(table_overwritten, kind)


def wild_tokens(kind: str, dtype: str) -> None:
    """What the test below runs: tokens that point far outside the table when `backward` is called."""
    for masked in (None, "mask"):
        for wild in (VOCABULARY_SIZE, -1, 2**31 - 1, -(2**31), 10**6):
            given, run = recorded(kind, VOCABULARY_SIZE, masked)
            expected = backward(run)
            tokens = given["inputs"] = given["inputs"].astype(dtype)
            run = record(cells.lstm, **given, return_sequences=True, checkpoint=kind == "checkpoint")
            tokens[...] = wild
            other_batches()
            assert_same(backward(run), expected, f"{kind=} {wild=} {masked=}")


@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize("kind", KINDS[:2])
def test_tokens_that_became_wild(kind: str, dtype: str) -> None:
    alone(wild_tokens, kind, dtype)


@pytest.mark.slow
def test_tokens_of_a_large_batch_that_became_wild() -> None:
    alone(wild_tokens, KINDS[2], "int32")


def many_runs_at_once() -> None:
    """What the test below runs: forty runs, then forty ways back in another order."""
    batches = [
        batch(cells.lstm, 4 + k % 5, 9, 3, 4, vocabulary_size=VOCABULARY_SIZE, seed=k) for k in range(40)
    ]
    expected = [backward(record(cells.lstm, **given)) for given in batches]
    runs = [record(cells.lstm, **copied(given)) for given in batches]
    for k in np.random.default_rng(0).permutation(40):
        assert_same(backward(runs[k]), expected[k], f"run {k}")
        assert_same(backward(runs[k]), expected[k], f"run {k}, a second time")


def test_many_runs_whose_gradients_come_late() -> None:
    alone(many_runs_at_once)


def test_the_output_is_not_the_memory_of_a_later_call() -> None:
    given = batch(cells.lstm, 5, 7, 3, 4)
    first = scan(cells.lstm, **given, return_sequences=True)
    before = first.copy()
    for seed in range(3):
        scan(cells.lstm, **batch(cells.lstm, 5, 7, 3, 4, seed=seed), return_sequences=True)
    np.testing.assert_array_equal(first, before)
