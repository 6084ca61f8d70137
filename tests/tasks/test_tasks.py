"""The tasks: shapes, seeds, answers that the inputs determine, and when a task is solved."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from stepfold import tasks

LAGS = (11, 30)


@pytest.mark.parametrize("name", tasks.names())
@pytest.mark.parametrize("lag", LAGS)
def test_shapes_and_dtypes(name: str, lag: int) -> None:
    task = tasks.by_name(name)
    inputs, targets = task(lag, 5, 0)
    assert inputs.dtype == np.float32
    assert inputs.shape == (5, lag + (task.answers if name == "copy" else lag // 10 + 1), task.features)
    assert targets.shape == (5, task.answers)
    assert targets.dtype == (np.int32 if task.classes else np.float32)
    assert task.outputs == max(1, task.classes)


@pytest.mark.parametrize("name", tasks.names())
def test_a_seed_decides_the_examples(name: str) -> None:
    task = tasks.by_name(name)
    for one, other in zip(task(20, 4, 3), task(20, 4, 3), strict=True):
        np.testing.assert_array_equal(one, other)
    assert any((one != other).any() for one, other in zip(task(20, 4, 3), task(20, 4, 4), strict=True))
    random = np.random.default_rng(3)
    first, second = task(20, 4, random), task(20, 4, random)
    np.testing.assert_array_equal(first[0], task(20, 4, 3)[0])
    assert (first[0] != second[0]).any()


@pytest.mark.parametrize("lag", [1, *LAGS])
def test_temporal_order(lag: int) -> None:
    inputs, targets = tasks.temporal_order(lag, 400, 1)
    np.testing.assert_array_equal(inputs.sum(-1), 1)
    symbols = inputs.argmax(-1)
    time = lag + lag // 10 + 1
    for row, (target,) in zip(symbols, targets, strict=True):
        first, second = np.flatnonzero(row < 2)
        assert first <= lag // 10 < time // 2 <= second
        assert time - 1 - first >= lag
        assert target == 2 * row[first] + row[second]
    assert set(targets.ravel()) == {0, 1, 2, 3}
    assert set(np.unique(symbols)) == set(range(6 if lag > 1 else 2))


@pytest.mark.parametrize("lag", [1, *LAGS])
def test_adding(lag: int) -> None:
    inputs, targets = tasks.adding(lag, 400, 1)
    values, marks = inputs[..., 0], inputs[..., 1]
    assert 0 <= values.min() <= values.max() < 1
    np.testing.assert_array_equal(marks.sum(1), 2)
    assert set(np.unique(marks)) <= {0, 1}
    np.testing.assert_allclose(targets[:, 0], (values * marks).sum(1), rtol=1e-6)
    first = marks.argmax(1)
    assert first.max() == lag // 10
    assert (inputs.shape[1] - 1 - first >= lag).all()


@pytest.mark.parametrize("task", [tasks.copy, tasks.copy_with(), tasks.copy_with(2, 1)])
def test_copy(task: tasks.Task) -> None:
    lag, length, symbols = 15, task.answers, task.classes
    inputs, targets = task(lag, 50, 1)
    ids = inputs.argmax(-1)
    np.testing.assert_array_equal(inputs.sum(-1), 1)
    np.testing.assert_array_equal(ids[:, :length], targets)
    np.testing.assert_array_equal(ids[:, lag - 1], symbols + 1)
    rest = np.delete(ids, [*range(length), lag - 1], 1)
    np.testing.assert_array_equal(rest, symbols)
    assert ids.shape[1] - length == lag  # an answer is due that many timesteps after its symbol
    assert set(targets.ravel()) == set(range(symbols))


def test_the_paper_s_copy() -> None:
    task = tasks.copy_with()
    assert (task.features, task.classes, task.answers, task.shortest) == (10, 8, 10, 11)


@pytest.mark.parametrize("name", tasks.names())
def test_scores(name: str) -> None:
    task = tasks.by_name(name)
    _, targets = task(20, 1000, 2)
    if task.classes:
        right = np.eye(task.classes)[targets]
        guessed = np.zeros_like(right)
        assert task.score(right, targets) == 1
    else:
        right = targets[..., None].copy()
        guessed = np.ones_like(right)
        assert task.score(right, targets) == 0
    assert task.score(guessed, targets) == pytest.approx(task.guess, abs=0.03)
    assert task.solved(task.score(right, targets))
    assert not task.solved(task.score(guessed, targets))
    assert not task.solved(float("nan"))
    assert task.solved(task.solved_at)


@pytest.mark.parametrize("name", tasks.names())
def test_errors(name: str) -> None:
    task = tasks.by_name(name)
    for lag in (task.shortest - 1, 2.5, True, "3"):
        with pytest.raises(
            ValueError, match=rf"^{name}: lag must be an integer of at least {task.shortest}, not {lag!r}$"
        ):
            task(lag, 3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=rf"^{name}: batch must be an integer of at least 1, not 0$"):
        task(20, 0)
    with pytest.raises(ValueError, match=rf"^{name}: predicted has shape \(3, 1\) and targets has shape"):
        task.score(np.zeros((3, 1)), np.zeros((3, task.answers)))


def test_names() -> None:
    assert tasks.by_name("adding") is tasks.adding
    with pytest.raises(
        ValueError, match=r"^there is no task 'x'; the tasks are temporal_order, adding, copy$"
    ):
        tasks.by_name("x")
    with pytest.raises(
        ValueError, match=r"^copy needs at least 2 symbols and a length of at least 1, got symbo"
    ):
        tasks.copy_with(1, 3)


def test_numpy_alone_is_imported() -> None:
    code = (
        "import stepfold.tasks, stepfold.probe, sys; "
        "print([m for m in ('keras', 'torch', 'jax', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
