"""The small kernels beside NumPy: arrays moved, rows added, shared starts, distinct tokens."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepfold._scan import Schedule, _lists, _moves
from stepfold._scan._calls import chain, clearing
from stepfold._scan._groups import Batch, Tokens
from stepfold._scan._memory import address
from stepfold._scan._moves import Move, Moves

Array = np.ndarray


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(1, 64, 64), (3, 117, 203), (2, 16, 300), (1, 300, 15), (5, 33, 32)])
@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (2, 1, 0)])
@pytest.mark.parametrize("times", [1, 3])
def test_moves(dtype: str, shape: tuple[int, ...], order: tuple[int, ...], times: int) -> None:
    random = np.random.default_rng(0)

    def arrays() -> dict[str, Array]:
        found = {f"from {k}": _strided(random, shape, order).astype(dtype, order="K") for k in range(times)}
        return {**found, "to": np.full((shape[0], shape[1] + 2, shape[2] + 3), np.nan, dtype)}

    def inner(to: Array) -> Array:
        return to[:, 1:-1, 1:-2]

    planned = arrays()
    moves = Moves(
        planned, [Move("to", inner(planned["to"]), of, planned[of]) for of in planned if of != "to"]
    )
    for threads in (1, 3):
        there = arrays()
        moves.make([address(array) for array in there.values()], threads)
        *sources, to = there.values()
        np.testing.assert_allclose(inner(to), sum(sources), rtol=1e-6)
        assert np.isnan(to).sum() == to.size - sources[0].size
    across = order != (0, 1, 2) and sources[0].size >= _moves._MANY
    (calls,) = moves._tables[1]
    assert [kernel.kernel.name[:4] for kernel, _ in calls] == ["turn" if across else "move"]


def _strided(random: np.random.Generator, shape: tuple[int, ...], order: tuple[int, ...]) -> Array:
    """An array whose axes lie in memory in another order."""
    made = random.standard_normal([shape[axis] for axis in order])
    return made.transpose(np.argsort(order))


@given(
    st.lists(st.integers(1, 20), min_size=1, max_size=3),
    st.lists(st.sampled_from([1, 2, -1]), min_size=3, max_size=3),
    st.permutations(range(3)),
)
def test_moves_between_any_strides(shape: list[int], steps: list[int], order: list[int]) -> None:
    axes = len(shape)
    source = np.arange(np.prod(shape) * 2**axes, dtype=np.float32).reshape([2 * n for n in shape])
    source = source[tuple(slice(None, None, step) for step in steps[:axes])][tuple(slice(n) for n in shape)]
    source = source.transpose([axis for axis in order if axis < axes])
    target = np.full([n + 1 for n in source.shape], np.nan, np.float32)
    place = target[tuple(slice(n) for n in source.shape)]
    Moves({"a": target, "b": source}, [Move("a", place, "b", source)]).make(
        [address(target), address(source)], 1
    )
    np.testing.assert_array_equal(place, source)
    assert np.isnan(target).sum() == target.size - source.size


@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 64, 80), (2, 40, 1)])
def test_what_moves_to_one_place_adds_up_whatever_its_order(shape: tuple[int, ...]) -> None:
    random = np.random.default_rng(0)
    values = [_strided(random, shape, order) for order in itertools.permutations(range(3))]
    planned = {"to": np.full(shape, np.nan), **{str(k): value for k, value in enumerate(values)}}
    moves = Moves(planned, [Move("to", planned["to"], of, planned[of]) for of in planned if of != "to"])
    moves.make([address(array) for array in planned.values()], 1)
    np.testing.assert_allclose(planned["to"], sum(values), rtol=1e-12)


def test_moves_of_unequal_shapes() -> None:
    a, b = np.zeros((3, 4)), np.zeros((4, 3))
    with pytest.raises(ValueError, match=r"cannot move \(4, 3\) to \(3, 4\)"):
        Moves({"a": a, "b": b}, [Move("a", a, "b", b)])
    with pytest.raises(ValueError, match="more than 3 axes"):
        Moves({"a": a}, [Move("a", a.reshape(3, 2, 2, 1)[None].repeat(2, 0), "a", np.zeros((2, 3, 2, 2, 1)))])


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
def test_shared_runs(given_: Array) -> None:
    lines = given_.tolist()
    runs = [next((t for t, word in enumerate(row) if word != row[0]), len(row)) for row in lines]

    def saved(word: int) -> int:
        mine = [run for row, run in zip(lines, runs, strict=True) if row[0] == word]
        return sum(mine) - max(mine)

    best = max(dict.fromkeys(row[0] for row in lines), key=saved)
    expected = [run if row[0] == best else 0 for row, run in zip(lines, runs, strict=True)]
    for _ in range(2):  # the second time with the index that the first has left
        joins, rows, counts, saves = _lists.share(given_, 3)
        assert joins.tolist() == expected
        assert rows.tolist() == np.argsort(expected, kind="stable").tolist()
        assert counts.tolist() == [len(lines[0]) - expected[row] for row in rows]
        assert saves == saved(best)


@given(tokens(), st.booleans())
def test_lists_of_a_group(given_: Array, reverse: bool) -> None:
    ids = np.ascontiguousarray(given_)
    schedule = Schedule.of(*ids.shape, reverse=reverse)
    expected = schedule.positions[schedule.rows].T.reshape(-1)
    for _ in range(2):  # the second time with the index that the first has left
        (group,) = Batch(schedule, Tokens(ids, 3)).groups(1)
        lists = group.lists
        assert group.positions.tolist() == expected.tolist()
        different = lists.distinct.tolist()
        assert len(set(different)) == len(different)
        source = lists.array("source", group.work)
        assert [different[s] for s in source] == ids.reshape(-1)[expected].tolist()
        assert lists.calls == []
        assert group.planned() is lists


def test_a_chain_of_calls() -> None:
    arrays = [np.ones(n) for n in (3, 5, 1)]
    chain([clearing(address(array), array.itemsize) for array in arrays])()
    assert [array.tolist() for array in arrays] == [[0, 1, 1], [0, 1, 1, 1, 1], [0]]
    chain([])()
