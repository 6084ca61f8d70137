"""Rows that begin with the same token share that prefix, and give the same values as rows that do not."""

from __future__ import annotations

import numpy as np
import pytest

from stepfold import cells
from stepfold._native import own_threads
from stepfold._runtime import Threads
from tests.runtime.scan_arrays import Array, close
from tests.runtime.scan_groups import groups_of
from tests.runtime.scan_helpers import Problem, problem, ready

BATCH, TIME, FEATURES, UNITS, VOCABULARY, PAD = 16, 40, 5, 17, 50, 7


def some_tokens(random: np.random.Generator, *, reverse: bool, whole_row: bool, batch: int = BATCH) -> Array:
    tokens = random.integers(PAD + 1, VOCABULARY, (batch, TIME))
    for row in range(batch):
        depth = TIME if whole_row and row == 3 else int(random.integers(5, TIME - 3))
        tokens[row, TIME - depth :] = np.where(reverse, PAD, tokens[row, TIME - depth :])
        tokens[row, :depth] = np.where(reverse, tokens[row, :depth], PAD)
    tokens[2] = PAD + 2  # a row that does not begin with the prefix
    return tokens


def token_problem(name: str, tokens: Array, **more: object) -> Problem:
    step = cells.by_name(name).step
    made = problem(step, *tokens.shape, FEATURES, UNITS, initial=[None] * len(step.states))
    table = np.random.default_rng(9).standard_normal((VOCABULARY, FEATURES))
    return made.but(inputs=table, tokens=tokens, **more)


@pytest.mark.parametrize("name", ["lstm", "gru", "layer_norm_lstm", "simple_rnn"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("whole_row", [False, True])
@pytest.mark.parametrize("layout", ["batch", "time"])
def test_shared_equals_apart(name: str, reverse: bool, whole_row: bool, layout: str) -> None:
    tokens = some_tokens(np.random.default_rng(5), reverse=reverse, whole_row=whole_row)
    made = token_problem(name, tokens, reverse=reverse, layout=layout)
    assert all(group.header["shared"] for group in groups_of(made, 1))
    shared = made.check()
    zeros = [np.zeros((BATCH, UNITS)) for _ in made.step.states]
    apart = made.but(initial=zeros)
    assert not any(group.header["shared"] for group in groups_of(apart, 1))
    for key, value in apart.run().items():
        if not key.startswith("gradient of initial"):
            close(shared[key], value, 1e-10, key)


@pytest.mark.parametrize("batch", range(3, 35))
@pytest.mark.parametrize("threads", [2, 3, 5])
def test_shared_prefixes_of_any_number_of_rows_and_groups(
    batch: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Groups of unequal size: what is dealt to no group is written nowhere."""
    monkeypatch.setattr("stepfold._runtime._engine._SMALL", -1)
    random = np.random.default_rng(batch)
    tokens = some_tokens(random, reverse=False, whole_row=False, batch=batch)
    token_problem("simple_rnn", tokens).check(threads=threads, backward_threads=2)


def test_the_prefix_is_computed_once_a_group() -> None:
    tokens = some_tokens(np.random.default_rng(5), reverse=False, whole_row=False)
    (group,) = groups_of(token_problem("gru", tokens), 1)
    depths = np.where(tokens != PAD, 1, 0).argmax(axis=1)
    assert group.header["work"] == BATCH * TIME - int(depths.sum() - depths.max())
    assert group.header["rows"] == BATCH


def shared(tokens: Array, **more: object) -> bool:
    return any(group.header["shared"] for group in groups_of(token_problem("gru", tokens, **more), 1))


def test_what_is_not_shared() -> None:
    random = np.random.default_rng(0)
    assert not shared(random.integers(0, VOCABULARY, (BATCH, TIME)))
    padded = np.full((BATCH, TIME), PAD)
    assert shared(padded)
    assert not shared(padded[:1])
    assert not shared(padded, initial=[np.zeros((BATCH, UNITS))])
    short = np.arange(TIME) < np.full((BATCH, 1), 3)
    made = token_problem("gru", padded, mask=short, lengths=True)
    answer, _ = made.forward(ready(made.step, UNITS), Threads(own_threads(), 1), training=True)
    close(answer["outputs"], made.reference()["outputs"], 1e-10, "outputs")


def test_the_prefix_that_saves_most_is_shared_not_the_commonest_beginning() -> None:
    tokens = np.random.default_rng(0).integers(PAD + 2, VOCABULARY, (BATCH, TIME))
    tokens[:, 0] = PAD + 1  # every review begins so, but the padded ones
    tokens[:5, : TIME - 3] = PAD
    made = token_problem("gru", tokens)
    (group,) = groups_of(made, 1)
    assert group.header["work"] == BATCH * TIME - 4 * (TIME - 3)
    made.check()
