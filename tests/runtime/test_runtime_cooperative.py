"""Teams: threads that share a batch of one, each with a part of the units."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scan_helpers import problem

from stepfold import Cell, cells, scan
from stepfold._scan import Recurrence, _pool

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no teams on Windows")


def fresh(cell: Cell, units: int, dtype: str = "float64") -> Recurrence:
    return Recurrence(cell.step, units, dtype)


# odd numbers of units, whole vectors, fewer vectors than threads, a product of a gated state (gru)
@pytest.mark.parametrize("threads", [2, 3, 7])
@pytest.mark.parametrize(
    ("name", "units"), [("lstm", 130), ("lstm", 128), ("gru", 133), ("carry_lstm", 101), ("simple_rnn", 205)]
)
def test_a_team_folds_as_one(name: str, units: int, threads: int) -> None:
    cell = cells.by_name(name)
    made = fresh(cell, units)
    problem(cell, 1, 7, 3, units).check(threads=threads, recurrence=made)
    assert "team" in made.from_cache
    assert "infer" not in made.from_cache


@pytest.mark.parametrize(
    "options", [{"reverse": True}, {"mask": np.array([[True, False, True, True, False]])}]
)
def test_any_schedule(options: dict) -> None:
    made = fresh(cells.lstm, 130, "float32")
    problem(cells.lstm, 1, 5, 3, 130, "float32", **options).check(threads=2, recurrence=made)
    assert "team" in made.from_cache


def test_tokens() -> None:
    random = np.random.default_rng(0)
    params = cells.lstm.init(6, 130, seed=0)
    table = random.standard_normal((11, 6)).astype(np.float32)
    tokens = random.integers(0, 11, (1, 40))
    found = scan(cells.lstm, tokens, params, table=table, return_sequences=True, threads=2)
    expected = scan(cells.lstm, table[tokens], params, return_sequences=True, threads=1)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_what_no_team_shares() -> None:
    for cell, batch, units in ((cells.layer_norm_lstm, 1, 130), (cells.lstm, 2, 130), (cells.lstm, 1, 40)):
        made = fresh(cell, units)
        problem(cell, batch, 4, 3, units).fold(threads=2, recurrence=made)
        assert "team" not in made.from_cache


def test_more_teams_than_processors() -> None:
    params = cells.lstm.init(3, 130, seed=0)
    inputs = np.random.default_rng(0).standard_normal((1, 60, 3)).astype(np.float32)
    expected = scan(cells.lstm, inputs, params, threads=1)
    many = 2 * _pool.processors()
    with ThreadPoolExecutor(many) as pool:
        for found in pool.map(lambda _: scan(cells.lstm, inputs, params, threads=many), range(3 * many)):
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
