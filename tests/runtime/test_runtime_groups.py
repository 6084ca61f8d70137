"""A batch cut into groups: rows dealt evenly, and the ticket by which the way back finds what was cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepfold import cells
from stepfold._scan import Schedule, _groups
from stepfold._scan._groups import MOST_ROWS, Batch, Ticket, Tickets, Tokens
from scan_helpers import ready

BATCH, TIME, FEATURES, UNITS, WORDS = 5, 9, 3, 7, 11


@given(
    lengths=st.lists(st.integers(0, 20), min_size=1, max_size=12),
    threads=st.integers(1, 4),
    reverse=st.booleans(),
)
def test_every_row_is_in_one_group(lengths: list[int], threads: int, reverse: bool) -> None:
    schedule = Schedule.of(len(lengths), 20, lengths=np.array(lengths), reverse=reverse)
    parts = Batch(schedule).groups(threads)
    assert sorted(row for part in parts for row in part.rows.tolist()) == list(range(len(lengths)))
    assert all(part.counts.tolist() == [lengths[row] for row in part.rows] for part in parts)
    assert all((np.diff(part.counts) <= 0).all() for part in parts)
    assert sum(part.work for part in parts) == sum(lengths)
    before = (0, 0)
    for part in parts:
        assert part.before == before
        before = before[0] + part.size, before[1] + part.work
        slots = part.lists.array("slots", part.steps + 1)
        working = int((part.counts == part.steps).sum()) if part.steps else len(part.rows)
        assert slots[-1] + working <= part.size


def test_groups_have_as_much_to_do() -> None:
    lengths = np.arange(1, 129)
    parts = Batch(Schedule.of(128, 128, lengths=lengths)).groups(2)
    assert [part.work for part in parts] == 2 * [int(lengths.sum()) // 2]


def test_groups_are_no_greater_than_they_may_be() -> None:
    parts = Batch(Schedule.of(5 * MOST_ROWS + 1, 1)).groups(2)
    assert len(parts) == 6
    assert max(len(part.rows) for part in parts) <= MOST_ROWS


def _gradients(forget: bool, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, np.ndarray], int]:
    """The gradients of a run of tokens, and how many batches were made for it."""
    recurrence, random = ready(cells.gru.step, UNITS), np.random.default_rng(3)
    sizes = {"units": UNITS, "features": FEATURES}
    shapes = {name: [sizes[axis] for axis in axes] for name, axes in recurrence.step.parameters.items()}
    params = {name: random.standard_normal(shape) for name, shape in shapes.items()}
    table, tokens = random.standard_normal((WORDS, FEATURES)), random.integers(0, WORDS, (BATCH, TIME))
    made: list[int] = []
    real = Batch.__init__

    def counting(batch: Batch, schedule: Schedule, tokens: Tokens | None = None) -> None:
        made.append(1)
        real(batch, schedule, tokens)

    monkeypatch.setattr(Batch, "__init__", counting)
    schedule, kept = Schedule.of(BATCH, TIME), np.full(recurrence.kept_size(BATCH, TIME), np.nan)
    last = [np.full((BATCH, UNITS), np.nan)]
    recurrence.forward(schedule, table, params, tokens=tokens, last=last, kept=kept)
    if forget:
        monkeypatch.setattr(_groups.tickets, "_held", [None] * 16)
    found = {"table": np.full_like(table, np.nan), **{n: np.full_like(v, np.nan) for n, v in params.items()}}
    to_params = {name: value for name, value in found.items() if name != "table"}
    recurrence.backward(
        schedule, table, params, kept, tokens=tokens, last_gradient=[np.ones((BATCH, UNITS))],
        inputs_gradient=found["table"], params_gradient=to_params,
    )  # fmt: skip
    monkeypatch.undo()
    return found, len(made)


def test_the_way_back_finds_its_batch_or_makes_it_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    held, made_once = _gradients(False, monkeypatch)
    anew, made_twice = _gradients(True, monkeypatch)
    assert (made_once, made_twice) == (1, 2)
    for name, value in held.items():
        assert np.isfinite(value).all()
        np.testing.assert_array_equal(anew[name], value, err_msg=name)


def test_tickets(monkeypatch: pytest.MonkeyPatch) -> None:
    tickets, others = Tickets(), Tickets()
    batches = [Batch(Schedule.of(1, n + 1)) for n in range(20)]
    left = [tickets.leave(batch) for batch in batches]
    assert len(set(left)) == 20
    assert [tickets.batch(ticket) for ticket in left[-16:]] == batches[-16:]
    assert [tickets.batch(ticket) for ticket in left[:-16]] == [None] * 4
    assert all(others.batch(ticket) is None for ticket in left)
    assert all(np.float32(number) == number for ticket in left for number in ticket)
    assert tickets.batch(Ticket(0, 0, 0)) is None
    monkeypatch.setattr(_groups, "_LISTED", 19)
    assert tickets.batch(tickets.leave(batches[18])) is batches[18]
    assert tickets.batch(tickets.leave(batches[19])) is None
