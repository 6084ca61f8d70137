"""One timestep a call against the whole sequence."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

import stepfold
from stepfold import Stream, cells
from stepfold._transform import recurrent_dropout
from tests.kinds import KINDS


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(("dtype", "limit"), [("float32", 1e-5), ("float64", 1e-12)])
def test_steps_equal_the_scan(name: str, dtype: str, limit: float) -> None:
    cell = cells.by_name(name)
    params = cell.init(5, 17, seed=1, dtype=dtype)
    random = np.random.default_rng(2)
    inputs = random.standard_normal((3, 6, 5)).astype(dtype)
    start = [random.standard_normal((3, 17)).astype(dtype) for _ in cell.states]
    stream = Stream(cell, params, batch=3, initial_state=start)
    steps = np.stack([stream.step(inputs[:, t]).copy() for t in range(6)], axis=1)
    outputs, *last = stepfold.scan(
        cell, inputs, params, initial_state=start, return_sequences=True, return_state=True
    )
    np.testing.assert_allclose(steps, outputs, rtol=limit, atol=limit)
    for mine, theirs in zip(stream.state, last, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=limit, atol=limit)
    stream.reset()
    np.testing.assert_array_equal(stream.step(inputs[:, 0]), steps[:, 0])


def test_the_state_can_be_read_and_set() -> None:
    params = cells.lstm.init(4, 8, seed=0)
    inputs = np.random.default_rng(0).standard_normal((5, 4)).astype("float32")
    whole, half = Stream(cells.lstm, params), Stream(cells.lstm, params)
    for x in inputs[:3]:
        whole.step(x)
    half.state = whole.state
    for x in inputs[3:]:
        np.testing.assert_array_equal(whole.step(x), half.step(x))


def test_a_step_allocates_nothing() -> None:
    stream = Stream(cells.gru, cells.gru.init(4, 8, seed=0))
    x = np.ones((1, 4), "float32")
    for _ in range(10):
        stream.step(x)
    tracemalloc.start()
    try:
        for _ in range(1000):
            stream.step(x)
        current, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert current < 2000, f"{current} bytes are left behind by 1000 steps"
    assert peak < 4000, f"{peak} bytes at once in a step"


def test_parameters_are_copied_and_the_output_is_reused() -> None:
    params = cells.simple_rnn.init(4, 8, seed=0)
    stream = Stream(cells.simple_rnn, params)
    x = np.ones(4, "float32")
    first = stream.step(x).copy()
    params["W"][...] = 0
    stream.reset()
    again = stream.step(x)
    np.testing.assert_array_equal(first, again)
    assert again is stream.step(x)


def _params() -> dict[str, np.ndarray]:
    return cells.lstm.init(4, 8, seed=0)


def test_errors() -> None:
    stream = Stream(cells.lstm, _params(), batch=2)
    with pytest.raises(ValueError, match=r"x has shape \(1, 4\), expected \(batch, features\) = \(2, 4\)"):
        stream.step(np.ones((1, 4), "float32"))
    with pytest.raises(ValueError, match="batch must be an integer of at least 1, not 0"):
        Stream(cells.lstm, _params(), batch=0)
    with pytest.raises(ValueError, match=r"initial_state has 1 array\(s\), lstm has 2 state\(s\)"):
        Stream(cells.lstm, _params(), initial_state=[np.zeros((1, 8))])
    with pytest.raises(ValueError, match=r"initial state 'c' has shape \(8,\), expected .* = \(1, 8\)"):
        Stream(cells.lstm, _params(), initial_state=[np.zeros((1, 8)), np.zeros(8)])
    with pytest.raises(ValueError, match="params lacks W_i"):
        Stream(cells.lstm, {name: value for name, value in _params().items() if name != "W_i"})
    dropped = stepfold.Cell(recurrent_dropout(cells.lstm.step))
    with pytest.raises(ValueError, match="which a stream has not"):
        Stream(dropped, _params())
