"""Rows that begin with the same token share that run, and give the same numbers as rows that do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stepfold import cells
from stepfold._scan import Recurrence, Schedule
from stepfold._scan._groups import Batch
from stepfold._scan._shared import shared_start
from scan_helpers import ready

BATCH, TIME, FEATURES, UNITS, WORDS, PAD = 16, 40, 5, 17, 50, 7


def _tokens(random: np.random.Generator, *, reverse: bool, whole_row: bool) -> np.ndarray:
    tokens = random.integers(PAD + 1, WORDS, (BATCH, TIME))
    for row in range(BATCH):
        depth = TIME if whole_row and row == 3 else int(random.integers(5, TIME - 3))
        tokens[row, TIME - depth :] = np.where(reverse, PAD, tokens[row, TIME - depth :])
        tokens[row, :depth] = np.where(reverse, tokens[row, :depth], PAD)
    tokens[2] = PAD + 2  # a row that does not begin with the run
    return tokens


def _everything(
    recurrence: Recurrence, schedule: Schedule, tokens: np.ndarray, given: list[np.ndarray] | None, seed: int
) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    states = recurrence.step.states
    shapes = {
        name: tuple(UNITS if axis == "units" else FEATURES for axis in dims)
        for name, dims in recurrence.step.parameters.items()
    }
    params = {name: random.standard_normal(shape) / 2 for name, shape in shapes.items()}
    table = random.standard_normal((WORDS, FEATURES))
    arriving = random.standard_normal((*schedule.shape, UNITS))
    at_last = [random.standard_normal((BATCH, UNITS)) for _ in states]
    kept = np.full(recurrence.kept_size(BATCH, TIME), np.nan)
    found: dict[str, np.ndarray] = {}
    for keep, word in ((None, "inference"), (kept, "training")):
        outputs = np.full((*schedule.shape, UNITS), np.nan)
        last = [np.full((BATCH, UNITS), np.nan) for _ in states]
        recurrence.forward(
            schedule, table, params, given, tokens=tokens, outputs=outputs, last=last, kept=keep
        )
        found |= {f"{word} outputs": outputs, **{f"{word} {s}": v for s, v in zip(states, last, strict=True)}}
    to_table = np.full_like(table, np.nan)
    to_params = {name: np.full_like(value, np.nan) for name, value in params.items()}
    recurrence.backward(
        schedule, table, params, kept, tokens=tokens, output_gradient=arriving, last_gradient=at_last,
        inputs_gradient=to_table, params_gradient=to_params,
    )  # fmt: skip
    return found | {"to table": to_table, **to_params}


@pytest.mark.parametrize("name", ["lstm", "gru", "layer_norm_lstm", "simple_rnn"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("whole_row", [False, True])
@pytest.mark.parametrize("time_major", [False, True])
def test_shared_equals_apart(name: str, reverse: bool, whole_row: bool, time_major: bool) -> None:
    recurrence = ready(cells.by_name(name).step, UNITS)
    tokens = _tokens(np.random.default_rng(5), reverse=reverse, whole_row=whole_row)
    if time_major:
        tokens = np.ascontiguousarray(tokens.T)
    schedule = Schedule.of(BATCH, TIME, reverse=reverse, time_major=time_major)
    assert shared_start(schedule, tokens, WORDS) is not None
    zeros = [np.zeros((BATCH, UNITS)) for _ in recurrence.step.states]
    shared = _everything(recurrence, schedule, tokens, None, 9)
    apart = _everything(recurrence, schedule, tokens, zeros, 9)
    for key, value in apart.items():
        np.testing.assert_allclose(shared[key], value, rtol=1e-10, atol=1e-10, err_msg=key)


def test_the_run_is_worked_once_a_group(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = _tokens(np.random.default_rng(5), reverse=False, whole_row=False)
    worked: list[int] = []
    real = Batch.groups

    def counting(batch: Batch, threads: int) -> Any:
        parts = real(batch, 1)
        worked.append(sum(group.work for group in parts))
        return parts

    monkeypatch.setattr(Batch, "groups", counting)
    _everything(ready(cells.gru.step, UNITS), Schedule.of(BATCH, TIME), tokens, None, 9)
    depths = np.where(tokens != PAD, 1, 0).argmax(axis=1)
    assert worked == 3 * [BATCH * TIME - int(depths.sum() - depths.max())]


def test_what_is_not_shared() -> None:
    random = np.random.default_rng(0)
    schedule = Schedule.of(BATCH, TIME)
    assert shared_start(schedule, random.integers(0, WORDS, (BATCH, TIME)), WORDS) is None
    padded = np.full((BATCH, TIME), PAD)
    assert shared_start(schedule, padded, WORDS) is not None
    assert shared_start(Schedule.of(BATCH, TIME, lengths=np.full(BATCH, 3)), padded, WORDS) is None
    assert shared_start(Schedule.of(1, TIME), padded[:1], WORDS) is None


def test_the_run_that_saves_most_is_shared_not_the_commonest_beginning() -> None:
    tokens = np.random.default_rng(0).integers(PAD + 2, WORDS, (BATCH, TIME))
    tokens[:, 0] = PAD + 1  # every review begins so, but the padded ones
    tokens[:5, : TIME - 3] = PAD
    shared = shared_start(Schedule.of(BATCH, TIME), tokens, WORDS)
    assert shared is not None
    assert shared.joins is not None
    assert shared.joins.tolist() == 5 * [TIME - 3] + (BATCH - 5) * [0]


def test_no_gradient_of_a_state_that_was_not_given() -> None:
    recurrence = ready(cells.gru.step, UNITS)
    tokens = np.full((BATCH, TIME), PAD)
    params = cells.gru.init(FEATURES, UNITS, seed=0, dtype="float64")
    table = np.zeros((WORDS, FEATURES))
    kept = np.zeros(recurrence.kept_size(BATCH, TIME))
    schedule = Schedule.of(BATCH, TIME)
    recurrence.forward(schedule, table, params, tokens=tokens, kept=kept)
    with pytest.raises(ValueError, match="the forward run had no initial state"):
        recurrence.backward(
            schedule, table, params, kept, tokens=tokens, params_gradient={},
            initial_gradient=[np.zeros((BATCH, UNITS))],
        )  # fmt: skip
