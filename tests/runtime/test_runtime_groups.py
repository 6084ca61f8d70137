"""A batch cut into groups of rows: each row in one of them, all with as much to do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepfold import cells
from stepfold._native import own_threads
from stepfold._runtime import Threads
from stepfold._runtime._shape import MOST_ROWS
from tests.runtime.scan_arrays import Array
from tests.runtime.scan_groups import groups_of
from tests.runtime.scan_helpers import Problem, problem, ragged, ready
from tests.strategies import masks

UNITS = 3


def small(mask: Array | None, batch: int, time: int, **more: object) -> Problem:
    return problem(cells.simple_rnn, batch, time, 2, UNITS, mask=mask, **more)


@pytest.fixture(autouse=True)
def threads_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let any batch be worth as many tasks as there are threads."""
    monkeypatch.setattr("stepfold._runtime._engine._SMALL", -1)


def places(made: Problem) -> list[list[int]]:
    """For each row the places of its active steps, in its order: the plain loop."""
    batch, time = made.batch, made.time
    mask = np.ones((batch, time), bool) if made.mask is None else made.mask
    found = []
    sizes = mask.sum(axis=0)
    for row in range(batch):
        steps = [t for t in range(time) if mask[row, t]]
        if made.layout == "packed":
            line = [int(sizes[:t].sum()) + row for t in steps]
        else:
            line = [t * batch + row if made.layout == "time" else row * time + t for t in steps]
        found.append(line[::-1] if made.reverse else line)
    return found


def check(made: Problem, threads: int) -> None:
    expected, seen = places(made), []
    for group in groups_of(made, threads):
        arrays, header = group.arrays, group.header
        rows, counts = arrays["row_numbers"], arrays["counts"]
        seen += rows
        assert 1 <= len(rows) <= MOST_ROWS
        assert counts == [len(expected[row]) for row in rows] == sorted(counts, reverse=True)
        assert (header["work"], header["steps"], header["shared"]) == (sum(counts), counts[0], 0)
        found: list[list[int]] = [[] for _ in rows]
        slot = list(range(len(rows)))
        for k in range(counts[0]):
            begin, end = arrays["offsets"][k : k + 2]
            assert end - begin == sum(count > k for count in counts)
            for row in range(end - begin):
                found[row].append(arrays["positions"][begin + row])
                # the states before are those that the row's last active step wrote
                assert arrays["previous"][begin + row] == slot[row]
                slot[row] = arrays["slots"][k + 1] + row
        assert found == [expected[row] for row in rows]
    assert sorted(seen) == list(range(made.batch))


@given(
    data=st.data(),
    batch=st.integers(1, 9),
    time=st.integers(0, 7),
    threads=st.integers(1, 4),
    reverse=st.booleans(),
    layout=st.sampled_from(("batch", "time")),
)
def test_every_active_step_is_in_one_group(
    data: st.DataObject, batch: int, time: int, threads: int, reverse: bool, layout: str
) -> None:
    mask = data.draw(masks(batch, time))
    check(small(mask, batch, time, reverse=reverse, layout=layout), threads)


@given(
    lengths=st.lists(st.integers(0, 20), min_size=1, max_size=12),
    threads=st.integers(1, 4),
    reverse=st.booleans(),
)
def test_lengths(lengths: list[int], threads: int, reverse: bool) -> None:
    check(small(ragged(lengths, 20), len(lengths), 20, reverse=reverse, lengths=True), threads)


@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=9),
    threads=st.integers(1, 4),
    reverse=st.booleans(),
)
def test_packed(lengths: list[int], threads: int, reverse: bool) -> None:
    lengths = sorted(lengths, reverse=True)
    mask = ragged(lengths, lengths[0])
    made = small(mask, *mask.shape, reverse=reverse, layout="packed")
    check(made.but(output_gradient=made.output_gradient * mask[:, :, None]), threads)


def test_groups_have_as_much_to_do() -> None:
    lengths = np.arange(1, 129)
    groups = groups_of(small(ragged(lengths.tolist(), 128), 128, 128), 2)
    assert [group.header["work"] for group in groups] == 2 * [int(lengths.sum()) // 2]


def test_groups_are_no_greater_than_they_may_be() -> None:
    groups = groups_of(small(None, 5 * MOST_ROWS + 1, 1), 2)
    assert len(groups) == 6
    assert max(group.header["rows"] for group in groups) <= MOST_ROWS


@pytest.mark.parametrize("threads", [1, 2, 7, 255])
@pytest.mark.parametrize("batch", [1, 63, 64, 65, 128, 129, 300])
def test_any_number_of_rows_and_threads(batch: int, threads: int) -> None:
    made = small(None, batch, 2)
    check(made, threads)
    made.check(threads=threads, backward_threads=1 + threads % 3)


def test_rows_of_equal_length_keep_their_order() -> None:
    (group,) = groups_of(small(ragged([2, 3, 2, 3, 0], 3), 5, 3), 1)
    assert group.arrays["row_numbers"] == [1, 3, 0, 2, 4]


@given(seed=st.integers(0, 99), batch=st.integers(1, 9), time=st.integers(1, 9), reverse=st.booleans())
def test_distinct_tokens(seed: int, batch: int, time: int, reverse: bool) -> None:
    random = np.random.default_rng(seed)
    bits = (np.int32, np.int64)[seed % 2]
    tokens = random.integers(0, 5, (batch, time)).astype(bits)
    made = small(random.random((batch, time)) > 0.3, batch, time, reverse=reverse)
    made = made.but(inputs=random.standard_normal((5, 2)), tokens=tokens)
    for group in groups_of(made, 2):
        distinct, source = group.arrays["distinct"], group.arrays["source"]
        met = tokens.reshape(-1)[group.arrays["positions"]].tolist()
        assert [distinct[s] for s in source] == met
        assert distinct == list(dict.fromkeys(met))


def test_the_backward_pass_finds_its_groups_in_the_residuals() -> None:
    """It needs neither tokens nor mask, nor as many threads as the forward pass had."""
    made = small(np.random.default_rng(0).random((9, 11)) > 0.4, 9, 11)
    made = made.but(
        inputs=np.random.default_rng(1).standard_normal((5, 2)),
        tokens=np.random.default_rng(2).integers(0, 5, (9, 11)),
    )
    engine = ready(made.step, UNITS)
    _, residuals = made.forward(engine, Threads(own_threads(), 3), training=True)
    assert residuals is not None
    blind = made.but(tokens=np.full((9, 11), 10**9), mask=np.zeros((9, 11), bool))
    for threads in (1, 2, 4):
        found = blind.backward(engine, Threads(own_threads(), threads), residuals)
        expected = made.reference()
        for key, value in found.items():
            np.testing.assert_allclose(value, expected[key], rtol=1e-10, atol=1e-10, err_msg=key)
