"""Sequences that join and leave a stream, each at its own time."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from stepfold import Cell, Stream, cells, scan
from strategies import cells as random_cells
from tests.kinds import KINDS

FEATURES, UNITS = 5, 17


def alone(cell: Cell, params: Any, inputs: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """What a sequence (time, features) gives by itself: outputs and last states."""
    outputs, *states = scan(cell, inputs[None], params, return_sequences=True, return_state=True)
    return outputs[0], [state[0] for state in states]


def check_that_rows_equal_scans(cell: Cell, params: Any, seed: int, limit: float) -> None:
    """Let sequences join and leave, step some of them at a time, and compare each with its own scan."""
    random = np.random.default_rng(seed)
    dtype = next(iter(params.values())).dtype
    features = next(
        (value.shape[1] for name, value in params.items() if "features" in cell.step.parameters[name]), 1
    )
    stream = Stream(cell, params, batch=2)
    inputs: dict[int, list[np.ndarray]] = {row: [] for row in stream.rows.tolist()}
    outputs: dict[int, list[np.ndarray]] = {row: [] for row in inputs}
    living = sorted(inputs)
    for _ in range(12):
        event = random.integers(0, 4)
        if event == 0:
            joined = stream.join(int(random.integers(0, 40))).tolist()
            living += joined
            inputs |= {row: [] for row in joined}
            outputs |= {row: [] for row in joined}
        elif event == 1 and living:
            gone = random.choice(living, random.integers(0, len(living) + 1), replace=False)
            stream.leave(gone)
            living = sorted(set(living) - set(gone.tolist()))
        elif event == 2:
            chosen = random.permutation(living)[: random.integers(0, len(living) + 1)].astype(int)
            x = random.standard_normal((len(chosen), features)).astype(dtype)
            for row, each, output in zip(chosen.tolist(), x, stream.step(x, rows=chosen), strict=True):
                inputs[row].append(each)
                outputs[row].append(output.copy())
        assert stream.rows.tolist() == living
        x = random.standard_normal((len(living), features)).astype(dtype)
        for row, each, output in zip(living, x, stream.step(x), strict=True):
            inputs[row].append(each)
            outputs[row].append(output.copy())
    for row, given_ in inputs.items():
        if given_:
            expected, states = alone(cell, params, np.stack(given_))
            np.testing.assert_allclose(np.stack(outputs[row]), expected, rtol=limit, atol=limit)
            if row in living:
                for mine, theirs in zip(stream.state_of(row), states, strict=True):
                    np.testing.assert_allclose(mine[0], theirs, rtol=limit, atol=limit)


@pytest.mark.parametrize("name", KINDS)
def test_rows_equal_their_own_scans(name: str) -> None:
    cell = cells.by_name(name)
    check_that_rows_equal_scans(cell, cell.init(FEATURES, UNITS, seed=1, dtype="float64"), 3, 1e-11)


@settings(
    max_examples=5,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    phases=[p for p in Phase if p is not Phase.shrink],
)
@given(random_cells(), st.sampled_from((1, 3, 8)), st.integers(0, 9))
def test_rows_of_a_random_cell_equal_their_own_scans(cell: Cell, units: int, seed: int) -> None:
    params = cell.init(3, units, seed=seed, dtype="float64")
    assume(any(value.ndim for value in params.values()))  # else the number of units could not be known
    check_that_rows_equal_scans(cell, params, seed, 1e-9)


def test_one_row_gives_the_same_bits_alone_and_in_the_table() -> None:
    for name in ("lstm", "layer_norm_gru"):
        cell = cells.by_name(name)
        params = cell.init(FEATURES, UNITS, seed=1)
        single, table = Stream(cell, params), Stream(cell, params)
        table.leave(table.join(40))
        for x in np.random.default_rng(0).standard_normal((9, 1, FEATURES)).astype("float32"):
            np.testing.assert_array_equal(single.step(x), table.step(x))


def test_every_number_of_threads_gives_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepfold._runtime._engine._SMALL", -1)
    params = cells.gru.init(FEATURES, UNITS, seed=1)
    streams = [Stream(cells.gru, params, batch=301, threads=threads) for threads in (1, 2, 3)]
    for x in np.random.default_rng(0).standard_normal((4, 301, FEATURES)).astype("float32"):
        first, *others = [stream.step(x).copy() for stream in streams]
        for other in others:
            np.testing.assert_array_equal(first, other)


def test_a_number_is_given_once_and_an_error_names_it() -> None:
    stream = Stream(cells.gru, cells.gru.init(2, 3, seed=0))
    assert stream.join(3).tolist() == [1, 2, 3]
    stream.leave([0, 2])
    assert stream.join().tolist() == [4]
    assert stream.rows.tolist() == [1, 3, 4]
    assert len(stream) == 3
    x = np.ones((1, 2), "float32")
    for act in (stream.leave, stream.state_of, stream.reset, lambda rows: stream.step(x, rows)):
        with pytest.raises(IndexError, match="row 2 has left the stream"):
            act(2)
        with pytest.raises(IndexError, match="there is no row 9; the next one to join gets the number 5"):
            act([9])
        with pytest.raises(IndexError, match="there is no row -1"):
            act([-1])
    with pytest.raises(ValueError, match="row 3 is given twice in rows"):
        stream.leave([3, 1, 3])
    for wrong in ([True], [1.0], "1", np.ma.masked_array([1]), [None]):
        with pytest.raises(TypeError, match="rows must be integers"):
            stream.leave(wrong)
    with pytest.raises(ValueError, match=r"rows has shape \(1, 1\), expected \(n,\)"):
        stream.leave([[1]])
    with pytest.raises(ValueError, match="n must be an integer of at least 0, not -1"):
        stream.join(-1)
    assert stream.rows.tolist() == [1, 3, 4]
    stream.leave([1, 3, 4])
    assert stream.step(np.zeros((0, 2), "float32")).shape == (0, 3)
    assert stream.join(1).tolist() == [5]


def test_memory_follows_the_rows_that_are_there() -> None:
    stream = Stream(cells.gru, cells.gru.init(2, 3, seed=0))
    first = stream.join(5000)
    kept = [first[7], first[4999]]
    stream.set_state_of(kept, [np.array([[1, 2, 3], [4, 5, 6]])])
    stream.leave(np.setdiff1d(stream.rows, kept))
    assert stream._rows.capacity <= 16
    assert len(stream._many().states[0]) == stream._rows.capacity
    np.testing.assert_array_equal(stream.state[0], [[1, 2, 3], [4, 5, 6]])
    for _ in range(3000):  # rows that come and go leave nothing behind
        stream.leave(stream.join(3))
    assert stream._rows.capacity <= 16
    assert len(stream._rows._numbers) <= 32
    np.testing.assert_array_equal(stream.state_of(kept[::-1])[0], [[4, 5, 6], [1, 2, 3]])


def test_states_of_rows_and_reset() -> None:
    start = [np.full((2, 3), 0.5)]
    stream = Stream(cells.gru, cells.gru.init(2, 3, seed=0), batch=2, initial_state=start)
    row = stream.join(1, state=[np.full((1, 3), 0.25)])
    np.testing.assert_array_equal(stream.state[0][:, 0], [0.5, 0.5, 0.25])
    stream.step(np.ones((3, 2), "float32"))
    before = stream.state_of([1])[0]
    stream.reset([0, *row])
    np.testing.assert_array_equal(stream.state[0][:, 0], [0.5, before[0, 0], 0])
    stream.reset()
    np.testing.assert_array_equal(stream.state[0][:, 0], [0.5, 0.5, 0])
    with pytest.raises(ValueError, match=r"initial state 'h' has shape \(1, 3\), expected .* = \(2, 3\)"):
        stream.set_state_of([0, 1], [np.zeros((1, 3))])


@pytest.mark.parametrize("batch", [1, 2])
def test_inputs_that_are_no_numbers(batch: int) -> None:
    stream = Stream(cells.gru, cells.gru.init(4, 3, seed=0), batch)
    x = np.ones((batch, 4), "float32")
    with pytest.raises(TypeError, match=r"x is a masked array; fill it with .filled\(value\)"):
        stream.step(np.ma.masked_array(x))
    for dtype in (object, "complex64", "U3"):
        with pytest.raises(TypeError, match="x must be numbers, not"):
            stream.step(x.astype(dtype))
    with pytest.raises(ValueError, match=r"x has shape \(4, 1\)"):
        stream.step(np.ones((4, 1), "float32"))
    with pytest.raises(ValueError, match=r"x has shape \(1, 4\), expected \(batch, features\) = \(0, 4\)"):
        stream.step(x[:1], rows=[])
    expected = stream.step(x).copy()
    stream.reset()
    np.testing.assert_array_equal(stream.step(np.asfortranarray(np.ones((4, 2 * batch)))[:, ::2].T), expected)


def test_two_threads_at_once_get_an_error_or_wait() -> None:
    stream = Stream(cells.lstm, cells.lstm.init(16, 64, seed=0), batch=300)
    x, errors, stop = np.ones((300, 16), "float32"), [], threading.Event()

    def work() -> None:
        while not stop.is_set():
            try:
                stream.leave(stream.join(50))
                stream.step(x)
            except (RuntimeError, ValueError) as error:
                errors.append(str(error))

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    stop.wait(0.3)
    stop.set()
    for worker in workers:
        worker.join()
    assert any("a stream belongs to one thread at a time" in error for error in errors)
    stream.leave(stream.rows[300:])  # a thread that was refused has not taken its rows away
    assert stream.step(x).shape == (300, 64)
