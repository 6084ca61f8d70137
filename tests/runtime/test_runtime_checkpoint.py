"""States kept only at every square-root-th timestep: the same numbers, less memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import stepfold
from stepfold import cells
from stepfold._scan import Schedule
from stepfold._scan import _checkpoint as module
from stepfold._scan._checkpoint import segment, segment_begins

BATCH, TIME, FEATURES, UNITS, WORDS = 6, 23, 5, 17, 11


@pytest.fixture(autouse=True)
def least(monkeypatch: pytest.MonkeyPatch) -> int:
    """Cut short sequences too; returns what is the least otherwise."""
    usual = module._LEAST
    monkeypatch.setattr(module, "_LEAST", 1)
    return usual


@pytest.mark.parametrize("name", ["lstm", "layer_norm_gru", "carry_lstm"])
@pytest.mark.parametrize("kind", ["whole", "mask", "tokens", "masked tokens", "reverse"])
@pytest.mark.parametrize("sequences", [True, False])
def test_equal_to_keeping_everything(name: str, kind: str, sequences: bool) -> None:
    cell, random = cells.by_name(name), np.random.default_rng(3)
    params = cell.init(FEATURES, UNITS, seed=0, dtype="float64")
    options: dict[str, Any] = {"return_sequences": sequences, "reverse": kind == "reverse"}
    inputs = random.standard_normal((BATCH, TIME, FEATURES))
    if "mask" in kind or kind == "reverse":
        options["mask"] = random.random((BATCH, TIME)) > 0.4
    if "tokens" in kind:
        options["table"] = random.standard_normal((WORDS, FEATURES))
        inputs = random.integers(0, WORDS, (BATCH, TIME))
    start = [random.standard_normal((BATCH, UNITS)) for _ in cell.states]
    runs = [
        stepfold.record(cell, inputs, params, initial_state=start, checkpoint=checkpoint, **options)
        for checkpoint in (False, True)
    ]
    np.testing.assert_allclose(runs[1].output, runs[0].output, rtol=1e-12, atol=1e-12)
    arriving = random.standard_normal(runs[0].output.shape)
    at_last = [random.standard_normal((BATCH, UNITS)) for _ in cell.states]
    whole, parts = (run.backward(arriving, at_last) for run in runs)
    np.testing.assert_allclose(parts.inputs, whole.inputs, rtol=1e-10, atol=1e-11)
    for key in params:
        np.testing.assert_allclose(parts.params[key], whole.params[key], rtol=1e-10, atol=1e-11, err_msg=key)
    for mine, theirs in zip(parts.initial_state, whole.initial_state, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("time", [0, 1, 2, 9, 10, 1000])
def test_segments_cover_every_timestep_once(time: int) -> None:
    schedule = Schedule.of(4, time, lengths=np.array([0, time // 2, time, min(1, time)]))
    parts = [segment(schedule, begin) for begin in segment_begins(schedule)]
    assert sum(int(part.counts.sum()) for part in parts) == int(schedule.counts.sum())
    assert len(parts) <= np.sqrt(time) + 1
    assert max((int(part.counts.max()) for part in parts), default=0) <= np.sqrt(time) + 1


def test_memory_grows_with_the_root_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = cells.gru
    params = cell.init(3, 8, seed=0)
    sizes: list[int] = []
    real = module.aligned

    def watched(count: int, dtype: Any) -> np.ndarray:
        sizes.append(count)
        return real(count, dtype)

    monkeypatch.setattr(module, "aligned", watched)
    for time in (400, 40_000):
        run = stepfold.record(cell, np.zeros((1, time, 3), "float32"), params, checkpoint=True)
        run.backward(np.ones((1, 8), "float32"))
    assert 8 < sizes[1] / sizes[0] < 12


def test_a_segment_of_few_rows_is_worth_its_preparation(least: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LEAST", least)
    assert list(segment_begins(Schedule.of(1, 3 * least))) == [0, least, 2 * least]
    assert list(segment_begins(Schedule.of(64, 1000))) == list(range(0, 1000, 32))
    assert list(segment_begins(Schedule.of(1, 9))) == [0]
