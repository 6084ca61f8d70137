"""Cooperative threads: they share a batch of one, each with a part of the units."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from stepfold import Cell, cells, scan
from stepfold._native import calling_thread, own_threads
from stepfold._processors import processors
from stepfold._runtime import Engine, Threads
from stepfold._runtime._engine import COOPERATES
from tests.runtime.scan_helpers import problem

pytestmark = pytest.mark.skipif(not COOPERATES, reason="threads cannot wait for one another here")


def fresh(cell: Cell, units: int, dtype: str = "float64") -> Engine:
    return Engine(cell.step, units, dtype)


# odd numbers of units, whole vectors, fewer vectors than threads, a product of a gated state (gru), values
# made of parameters alone (lru)
@pytest.mark.parametrize("threads", [2, 3, 7])
@pytest.mark.parametrize(
    ("name", "units"),
    [("lstm", 130), ("lstm", 128), ("gru", 133), ("carry_lstm", 101), ("simple_rnn", 205), ("lru", 181)],
)
def test_ranks_compute_what_one_thread_does(name: str, units: int, threads: int) -> None:
    cell = cells.by_name(name)
    made = fresh(cell, units)
    problem(cell, 1, 7, 3, units).check(threads=threads, engine=made)
    assert "cooperative" in made.from_cache
    assert "infer" not in made.from_cache


@pytest.mark.parametrize(
    "options",
    [
        {"reverse": True},
        {"layout": "time"},
        {"mask": np.array([[True, False, True, True, False]])},
        {"mask": np.array([[True, True, True, False, False]]), "lengths": True, "padding": "zero"},
        {"initial": [None, None]},
    ],
)
def test_any_schedule(options: dict[str, Any]) -> None:
    made = fresh(cells.lstm, 130, "float32")
    problem(cells.lstm, 1, 5, 3, 130, "float32", **options).check(threads=2, engine=made)
    assert "cooperative" in made.from_cache


@pytest.mark.parametrize("threads", [2, 3, 8])
def test_ranks_that_do_not_come_are_not_waited_for(threads: int) -> None:
    """A program recorded for many ranks runs on the caller alone, and on any number that turn up."""
    made, engine = problem(cells.lstm, 1, 9, 3, 130), fresh(cells.lstm, 130)
    answers = [
        made.forward(engine, Threads(executor, threads), training=False)[0]
        for executor in (calling_thread(), own_threads())
    ]
    for key, value in answers[0].items():
        np.testing.assert_array_equal(answers[1][key], value, err_msg=key)


def test_tokens() -> None:
    random = np.random.default_rng(0)
    params = cells.lstm.init(6, 130, seed=0)
    table = random.standard_normal((11, 6)).astype(np.float32)
    tokens = random.integers(0, 11, (1, 40))
    found = scan(cells.lstm, tokens, params, table=table, return_sequences=True, threads=2)
    expected = scan(cells.lstm, table[tokens], params, return_sequences=True, threads=1)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_what_ranks_do_not_share() -> None:
    for cell, batch, units in ((cells.layer_norm_lstm, 1, 130), (cells.lstm, 2, 130), (cells.lstm, 1, 40)):
        made = fresh(cell, units)
        problem(cell, batch, 4, 3, units).run(threads=2, engine=made)
        assert "cooperative" not in made.from_cache


def test_more_ranks_than_processors() -> None:
    params = cells.lstm.init(3, 130, seed=0)
    inputs = np.random.default_rng(0).standard_normal((1, 60, 3)).astype(np.float32)
    expected = scan(cells.lstm, inputs, params, threads=1)
    many = 2 * processors()
    with ThreadPoolExecutor(many) as pool:
        for found in pool.map(lambda _: scan(cells.lstm, inputs, params), range(3 * many)):
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    made, engine = problem(cells.lstm, 1, 60, 3, 130), fresh(cells.lstm, 130)
    threads = Threads(own_threads(), many)
    (expected, _), *others = [made.forward(engine, threads, training=False) for _ in range(4)]
    with ThreadPoolExecutor(many) as pool:
        others += pool.map(lambda _: made.forward(engine, threads, training=False), range(2 * many))
    for found, _ in others:
        for key, value in expected.items():
            np.testing.assert_array_equal(found[key], value, err_msg=key)
