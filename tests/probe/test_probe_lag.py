"""The network around a cell, its optimizer, and the longest lag that it learns."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from stepfold import cell, cells, tasks
from stepfold.probe import Attempt, Budget, longest_lag
from stepfold.probe._adam import Adam
from stepfold.probe._network import KERNEL, Network

TINY = Budget(seconds=20, steps=400, shortest=4, longest=8, batch=32, learning_rates=(1e-2,), threads=1)


def loss(network: Network, inputs: Any, targets: Any, weights: Any) -> float:
    predicted = network.predict(inputs, weights).astype(np.float64)
    if not network.task.classes:
        return float(np.mean((predicted[..., 0] - targets) ** 2))
    of_right = np.take_along_axis(predicted, targets[..., None], -1)[..., 0]
    return float(np.mean(np.log(np.exp(predicted).sum(-1)) - of_right))


@pytest.mark.parametrize("name", tasks.names())
def test_gradients_of_the_loss(name: str) -> None:
    task = tasks.by_name(name)
    network = Network(cells.gru, task, threads=1)
    weights = network.init(6, seed=0)
    assert weights[KERNEL].shape == (6, task.outputs)
    inputs, targets = task(9, 16, 0)
    predicted, gradients = network.gradients(inputs, targets, weights)
    np.testing.assert_allclose(predicted, network.predict(inputs, weights), rtol=1e-5, atol=1e-6)
    assert gradients.keys() == weights.keys()
    random = np.random.default_rng(1)
    for weight, value in weights.items():
        direction = random.standard_normal(value.shape).astype(np.float32)
        near = [
            loss(network, inputs, targets, {**weights, weight: value + d * direction}) for d in (1e-2, -1e-2)
        ]
        slope = float(np.sum(gradients[weight] * direction))
        assert (near[0] - near[1]) / 2e-2 == pytest.approx(slope, rel=0.02, abs=2e-4)


def test_adam_as_in_the_paper() -> None:
    weights = {"a": np.array([1.0, -2.0], np.float32)}
    adam = Adam(weights, 0.1, clip=1e9)
    theta, m, v = np.array([1.0, -2.0]), np.zeros(2), np.zeros(2)
    for t, gradient in enumerate(([0.5, -1.0], [0.1, 3.0], [-2.0, 0.2]), 1):
        g = np.array(gradient)
        assert adam.update({"a": g.astype(np.float32)})
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        theta -= 0.1 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        np.testing.assert_allclose(weights["a"], theta, rtol=1e-4)


def gradients(a: float, b: float) -> dict[str, Any]:
    """Gradients of two weights; their norm is that of (a, b)."""
    return {"a": np.full(4, a / 2, np.float32), "b": np.full(1, b, np.float32)}


def test_gradients_are_clipped_to_a_norm() -> None:
    clipped, small = (Adam(gradients(0, 0), 0.1, clip=1.0) for _ in range(2))
    for a, b in ((0.03, 0.04), (30.0, 40.0), (-3.0, 4.0)):
        factor = min(1.0, 1.0 / np.hypot(a, b))
        assert clipped.update(gradients(a, b))
        assert small.update(gradients(factor * a, factor * b))
    for name, value in small.weights.items():
        np.testing.assert_allclose(clipped.weights[name], value, rtol=1e-5)
        assert (value != 0).all()


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_gradients_that_are_no_numbers_change_nothing(wrong: float) -> None:
    one, other = Adam(gradients(0, 0), 0.1), Adam(gradients(0, 0), 0.1)
    assert not one.update(gradients(0.1, wrong))
    assert one.update(gradients(0.1, 3e38))  # its norm is finite in float64
    assert other.update(gradients(0.1, 3e38))
    for name, value in other.weights.items():
        np.testing.assert_array_equal(one.weights[name], value)
        assert np.isfinite(value).all()


def test_the_longest_lag_of_a_tiny_budget() -> None:
    seen: list[Attempt] = []
    found = longest_lag(cells.gru, tasks.temporal_order, units=16, budget=TINY, progress=seen.append)
    assert (found.cell, found.task, found.lag, found.limit) == ("gru", "temporal_order", 8, 8)
    assert tuple(seen) == found.attempts
    assert [a.lag for a in found.attempts] == [4, 8]
    for attempt in found.attempts:
        assert attempt.stopped_by == "solved"
        assert attempt.solved
        assert attempt.score >= 0.99
        assert attempt.steps % 50 == 0
    again = longest_lag(cells.gru, tasks.temporal_order, units=16, budget=TINY)
    assert [(a.steps, a.score) for a in again.attempts] == [(a.steps, a.score) for a in seen]
    for name, value in again.params.items():
        np.testing.assert_array_equal(value, found.params[name])
    assert (found.params["U_z"] != cells.gru.init(6, 16, seed=0)["U_z"]).any()


def test_what_is_not_solved_with_any_rate() -> None:
    budget = replace(TINY, steps=3, learning_rates=(1e-2, 1e-3), shortest=2)
    found = longest_lag(cells.gru, tasks.adding, units=4, budget=budget)
    assert (found.lag, found.limit) == (0, 2)
    assert [(a.learning_rate, a.steps, a.stopped_by) for a in found.attempts] == [
        (1e-2, 3, "steps"),
        (1e-3, 3, "steps"),
    ]
    np.testing.assert_array_equal(found.params["U_z"], cells.gru.init(2, 4, seed=0)["U_z"])


def test_seconds_end_a_training() -> None:
    began = time.perf_counter()
    budget = replace(TINY, seconds=0.2, steps=10**6, learning_rates=(1e-5, 1e-6), longest=64)
    found = longest_lag(cells.lstm, tasks.adding, units=4, budget=budget)
    assert found.lag == 0
    assert {a.stopped_by for a in found.attempts} == {"seconds"}
    assert time.perf_counter() - began < 20


def test_a_busy_machine_shortens_no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    wall = itertools.count(0.0, 1000.0)  # an hour of the wall clock goes by in four steps
    clocks = SimpleNamespace(perf_counter=wall.__next__, process_time=time.process_time)
    monkeypatch.setattr("stepfold.probe._lag.time", clocks)
    found = longest_lag(cells.gru, tasks.adding, units=4, budget=replace(TINY, steps=5))
    assert [attempt.stopped_by for attempt in found.attempts] == ["steps"]
    assert 0 < found.attempts[0].seconds < 20


def test_a_curriculum_begins_with_the_weights_of_the_lag_before() -> None:
    one_step = replace(TINY, longest=16)
    fresh = longest_lag(cells.gru, tasks.temporal_order, units=16, budget=one_step)
    warm = longest_lag(cells.gru, tasks.temporal_order, units=16, budget=replace(one_step, curriculum=True))
    assert warm.attempts[0].score == fresh.attempts[0].score
    assert sum(a.steps for a in warm.attempts) < sum(a.steps for a in fresh.attempts)


def test_a_training_that_diverges_is_given_up() -> None:
    @cell
    def explodes(x, h, *, W, U):
        return (U @ h + W @ x) * 1e30

    budget = replace(TINY, steps=1000, shortest=8)
    found = longest_lag(explodes, tasks.adding, units=4, budget=budget)
    (attempt,) = found.attempts
    assert (attempt.stopped_by, attempt.steps, attempt.solved) == ("diverged", 50, False)


def test_lags_that_a_task_cannot_have_are_left_out() -> None:
    task = tasks.copy_with(2, 5)
    found = longest_lag(cells.gru, task, units=4, budget=replace(TINY, steps=1, longest=16))
    assert found.limit == 8
    with pytest.raises(ValueError, match=r"^copy needs a lag of at least 6, the budget's longest is 5$"):
        longest_lag(cells.gru, task, budget=replace(TINY, longest=5))


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"steps": 0}, "steps must be an integer of at least 1, not 0"),
        ({"batch": 2.0}, "batch must be an integer of at least 1, not 2.0"),
        ({"shortest": 9}, "longest is 8, below shortest, 9"),
        ({"seconds": 0}, "seconds and learning rates must be above 0 and finite, got 0"),
        ({"seconds": float("nan")}, "seconds and learning rates must be above 0 and finite, got nan"),
        ({"learning_rates": (0.1, -1.0)}, r"seconds and learning rates must be above 0 and finite, got -1.0"),
        ({"learning_rates": ()}, "learning_rates is empty; give at least one"),
    ],
)
def test_budgets_with_which_nothing_could_be_tried(wrong: Any, text: str) -> None:
    with pytest.raises(ValueError, match=f"^{text}$"):
        replace(TINY, **wrong)
    assert Budget(shortest=3, longest=40).lags() == [3, 6, 12, 24]


@pytest.mark.slow
def test_gates_learn_longer_lags_than_a_plain_network() -> None:
    budget = Budget(seconds=120, steps=1200, longest=64, learning_rates=(1e-2,))
    lags = {
        name: longest_lag(cells.by_name(name), tasks.adding, budget=budget).lag
        for name in ("simple_rnn", "lstm", "gru")
    }
    assert lags["simple_rnn"] < 64 <= min(lags["lstm"], lags["gru"])
