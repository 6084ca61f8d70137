"""The small kernels beside NumPy: copies across, rows added, runs of a first token, distinct tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepfold._scan import _lists, _pack

Array = np.ndarray


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(1, 64, 64), (3, 117, 203), (2, 16, 300), (1, 300, 15), (5, 33, 32)])
def test_copies_across(dtype: str, shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    turned: list[Any] = []
    real = _lists.turn
    monkeypatch.setattr(_pack, "turn", lambda target, source: (turned.append(1), real(target, source)))
    blocks, rows, columns = shape
    random = np.random.default_rng(0)
    source = random.standard_normal((blocks, columns, rows)).astype(dtype).swapaxes(1, 2)
    memory = np.full((blocks, rows + 2, columns + 3), np.nan, dtype)
    target = memory[:, 1:-1, 1:-2]
    _pack.copy_all([(target, source)], 1)
    np.testing.assert_array_equal(target, source)
    assert np.isnan(memory).sum() == memory.size - target.size
    assert len(turned) == (source.size >= _pack._LARGE)


def test_copies_shared_by_threads() -> None:
    random = np.random.default_rng(0)
    sources = [random.standard_normal((1, 200, 300)).swapaxes(1, 2) for _ in range(5)]
    targets = [np.full((1, 300, 200), np.nan) for _ in sources]
    _pack.copy_all(list(zip(targets, sources, strict=True)), 3)
    for target, source in zip(targets, sources, strict=True):
        np.testing.assert_array_equal(target, source)


@given(
    seed=st.integers(0, 99),
    rows=st.integers(1, 9),
    width=st.integers(1, 40),
    dtype=st.sampled_from(["f4", "f8"]),
)
def test_rows_added(seed: int, rows: int, width: int, dtype: str) -> None:
    random = np.random.default_rng(seed)
    target = random.standard_normal((20, width)).astype(dtype)
    source = random.standard_normal((rows + 2, width)).astype(dtype)
    chosen = random.permutation(20)[:rows]
    expected = target.copy()
    expected[chosen] += source[:rows]
    _lists.add_rows(target, chosen, source)
    np.testing.assert_array_equal(target, expected)


@st.composite
def tokens(draw: st.DrawFn) -> Array:
    """Few tokens, so that they repeat; of either width, in either order, read either way."""
    shape = draw(st.integers(1, 6)), draw(st.integers(1, 9))
    dtype = draw(st.sampled_from([np.int32, np.int64]))
    flat = draw(st.lists(st.integers(0, 2), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]))
    made = np.array(flat, dtype).reshape(shape, order=draw(st.sampled_from("CF")))
    return made[:, ::-1] if draw(st.booleans()) else made


@given(tokens())
def test_runs_of_the_first_token(given_: Array) -> None:
    expected = [
        next((t for t, word in enumerate(row) if word != row[0]), len(row)) for row in given_.tolist()
    ]
    assert _lists.depths(given_).tolist() == expected


@given(tokens(), st.integers(0, 99))
def test_distinct_tokens(given_: Array, seed: int) -> None:
    flat = np.ascontiguousarray(given_)
    places = np.random.default_rng(seed).integers(0, flat.size, 7)
    different, source = _lists.distinct(flat, places, 3)
    assert sorted(different.tolist()) == sorted(set(flat.reshape(-1)[places].tolist()))
    assert different[source].tolist() == flat.reshape(-1)[places].tolist()
