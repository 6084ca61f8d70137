"""States saved only at every √time-th timestep: the same values, less memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import stepfold
from stepfold import cells
from stepfold._runtime import _checkpoint as module
from stepfold._runtime._call import Call
from stepfold._runtime._checkpoint import Checkpoints

BATCH, TIME, FEATURES, UNITS, VOCABULARY = 6, 23, 5, 17, 11


@pytest.fixture(autouse=True)
def least(monkeypatch: pytest.MonkeyPatch) -> int:
    """Cut short sequences too; returns what is the least otherwise."""
    usual = module._LEAST
    monkeypatch.setattr(module, "_LEAST", 1)
    return usual


@pytest.mark.parametrize("name", ["lstm", "layer_norm_gru", "carry_lstm"])
@pytest.mark.parametrize(
    "kind", ["whole", "mask", "lengths", "odd bytes", "tokens", "masked tokens", "reverse"]
)
@pytest.mark.parametrize("sequences", [True, False])
def test_equal_to_saving_everything(name: str, kind: str, sequences: bool) -> None:
    cell, random = cells.by_name(name), np.random.default_rng(3)
    params = cell.init(FEATURES, UNITS, seed=0, dtype="float64")
    options: dict[str, Any] = {"return_sequences": sequences, "reverse": kind == "reverse"}
    inputs = random.standard_normal((BATCH, TIME, FEATURES))
    if "mask" in kind or kind == "reverse":
        options["mask"] = random.random((BATCH, TIME)) > 0.4
    if kind == "lengths":
        options["lengths"] = random.integers(0, TIME + 1, BATCH)
    if kind == "odd bytes":
        options["mask"] = random.choice([0, 2, 255], (BATCH, TIME)).astype(np.uint8).view(bool)
    if "tokens" in kind:
        options["table"] = random.standard_normal((VOCABULARY, FEATURES))
        inputs = random.integers(0, VOCABULARY, (BATCH, TIME))
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


def segments(batch: int, time: int, monkeypatch: pytest.MonkeyPatch, **options: Any) -> list[int]:
    """Where the windows of a run with checkpoints begin, and how many steps one has."""
    made: list[Checkpoints] = []
    real = Checkpoints.__init__

    def watched(self: Checkpoints, call: Call, *, outputs: bool) -> None:
        made.append(self)
        real(self, call, outputs=outputs)

    monkeypatch.setattr(Checkpoints, "__init__", watched)
    params = cells.simple_rnn.init(1, 1, seed=0)
    run = stepfold.record(
        cells.simple_rnn, np.zeros((batch, time, 1), np.float32), params, checkpoint=True, **options
    )
    run.backward(run.output)
    monkeypatch.undo()
    return [*made[0]._begins, made[0]._size]


@pytest.mark.parametrize("time", [0, 1, 2, 9, 10, 1000])
def test_segments_cover_every_active_step_once(time: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for longest in {0, time // 2, time}:
        monkeypatch.setattr(module, "_LEAST", 1)
        lengths = np.array([0, longest // 2, longest, min(1, longest)])
        *begins, size = segments(4, time, monkeypatch, lengths=lengths)
        assert begins == list(range(0, max(1, longest), size))
        assert size <= np.sqrt(time) + 1


def test_a_mask_of_odd_bytes_has_no_more_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    mask = np.full((4, 9), 255, np.uint8).view(bool)
    plain = segments(4, 9, monkeypatch, mask=mask.view(np.uint8) != 0)
    monkeypatch.setattr(module, "_LEAST", 1)
    odd = segments(4, 9, monkeypatch, mask=mask)
    assert odd == [0, 3, 6, 3]
    assert plain[0] == 0


@pytest.mark.parametrize("shape", [(0, 6, FEATURES), (3, 0, FEATURES), (0, 0, FEATURES)])
@pytest.mark.parametrize("options", [{}, {"lengths": True}, {"mask": True}])
def test_no_rows_or_no_timesteps(shape: tuple[int, ...], options: dict[str, bool]) -> None:
    params = cells.lstm.init(FEATURES, UNITS, seed=0)
    given: dict[str, Any] = {}
    if "lengths" in options:
        given["lengths"] = np.zeros(shape[0], int)
    if "mask" in options:
        given["mask"] = np.ones(shape[:2], bool)
    inputs = np.zeros(shape, np.float32)
    run = stepfold.record(cells.lstm, inputs, params, return_sequences=True, checkpoint=True, **given)
    assert run.output.shape == (*shape[:2], UNITS)
    found = run.backward(run.output, [np.ones_like(state) for state in run.states])
    assert found.inputs.shape == shape
    assert all(not gradient.any() for gradient in found.params.values())


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
    for batch, time, expected in (
        (1, 3 * least, [0, least, 2 * least, least]),
        (64, 1000, [*range(0, 1000, 32), 32]),
        (1, 9, [0, 9]),
    ):
        monkeypatch.setattr(module, "_LEAST", least)
        assert segments(batch, time, monkeypatch) == expected


def test_the_arrays_may_change_before_the_backward_pass() -> None:
    cell, random = cells.gru, np.random.default_rng(3)
    params = cell.init(FEATURES, UNITS, seed=0, dtype="float64")
    table, tokens = random.standard_normal((VOCABULARY, FEATURES)), random.integers(0, VOCABULARY, (6, 23))
    mask, start = random.random((6, 23)) > 0.4, [random.standard_normal((6, UNITS))]
    arrays = [table, tokens, mask, *start, *params.values()]
    run = stepfold.record(cell, tokens, params, table=table, mask=mask, initial_state=start, checkpoint=True)
    arriving = random.standard_normal(run.output.shape)
    expected = run.backward(arriving)
    for array in arrays:
        array[...] = True if array.dtype == bool else 10**6
    found = run.backward(arriving)
    np.testing.assert_array_equal(found.inputs, expected.inputs)
    for name, value in expected.params.items():
        np.testing.assert_array_equal(found.params[name], value)
    np.testing.assert_array_equal(found.initial_state[0], expected.initial_state[0])
