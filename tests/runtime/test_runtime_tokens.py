"""Tokens that choose rows of a table: the same as scanning those rows, forward and backward."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepfold import cells, record, scan
from strategies import masks
from tests.runtime.scan_arrays import Array, close
from tests.runtime.scan_helpers import Answer, problem, ragged

VOCABULARY, FEATURES, UNITS = 11, 3, 5


def some_tokens(kind: str, batch: int, time: int) -> Array:
    """Tokens; token 9 is never among them, so that nothing may arrive there."""
    random = np.random.default_rng(batch)
    tokens = random.integers(1, 9, (batch, time))
    if kind == "padded":
        lengths = random.integers(0, time + 1, batch)
        tokens[ragged((time - lengths).tolist(), time)] = 0
    if kind == "padded behind":
        tokens = some_tokens("padded", batch, time)[:, ::-1].copy()
    if kind == "padded by two tokens":
        tokens[:, : time // 2] = np.arange(batch)[:, None] % 2 * 10
    if kind == "all padding":
        tokens[...] = 0
    if kind == "one row is all padding":
        tokens[:, : time // 3] = 0
        tokens[1] = 0
    return tokens


def check(tokens: Array, dtype: str = "float64", name: str = "lstm", **more: Any) -> Answer:
    """Scan tokens, and compare everything with the reference, the table's gradient too."""
    batch, time = tokens.shape
    threads = {key: more.pop(key) for key in ("threads", "backward_threads") if key in more}
    made = problem(cells.by_name(name), batch, time, FEATURES, UNITS, dtype, **more)
    table = np.random.default_rng(5).standard_normal((VOCABULARY, FEATURES)).astype(dtype)
    return made.but(inputs=table, tokens=tokens).check(**threads)


KINDS = ["random", "padded", "padded by two tokens", "all padding", "one row is all padding"]


@pytest.mark.parametrize("given", [False, True], ids=["from zero", "from a state"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kind", KINDS)
def test_tokens_are_their_vectors(kind: str, dtype: str, given: bool) -> None:
    for batch, time in ((3, 7), (13, 40)):
        more = {} if given else {"initial": [None, None]}
        check(some_tokens(kind, batch, time), dtype, **more)


@pytest.mark.parametrize("initial", [False, True], ids=["from zero", "from a state"])
@pytest.mark.parametrize("layout", ["batch", "time"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", ["padded", "padded behind"])
def test_tokens_under_masks_and_directions(
    kind: str, masked: bool, reverse: bool, layout: str, initial: bool
) -> None:
    tokens = some_tokens(kind, 13, 40)
    more = {"mask": tokens > 0} if masked else {}
    if not initial:
        more["initial"] = [None, None]
    check(tokens, reverse=reverse, layout=layout, **more)


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_of_32_bits(kind: str) -> None:
    for started in (False, True):
        more: dict[str, Any] = {} if started else {"initial": [None, None]}
        check(some_tokens(kind, 13, 40).astype(np.int32), **more)


def test_packed_tokens() -> None:
    lengths = [9, 9, 5, 2, 1]
    mask = ragged(lengths, 9)
    tokens = np.random.default_rng(0).integers(0, VOCABULARY, mask.shape)
    made = problem(cells.lstm, 5, 9, FEATURES, UNITS)
    gradient = made.output_gradient * mask[:, :, None]
    for initial in (made.initial, [None, None]):
        check(tokens, mask=mask, layout="packed", output_gradient=gradient, initial=initial)


@pytest.mark.parametrize("lengths", [[40] * 13, [*range(13)], [0] * 13])
def test_tokens_with_lengths(lengths: list[int]) -> None:
    for reverse in (False, True):
        check(
            some_tokens("padded", 13, 40), mask=ragged(lengths, 40), lengths=True, reverse=reverse,
            initial=[None, None],
        )  # fmt: skip


@pytest.mark.parametrize("name", ["simple_rnn", "gru", "gru_reset_before", "min_gru", "layer_norm_lstm"])
def test_tokens_of_other_cells(name: str) -> None:
    states = len(cells.by_name(name).states)
    check(some_tokens("padded", 9, 33), name=name, initial=[None] * states)


@pytest.mark.parametrize(("threads", "backward_threads"), [(1, 3), (3, 1), (3, 3)])
def test_tokens_on_many_threads(threads: int, backward_threads: int) -> None:
    check(
        some_tokens("padded", 150, 60),
        threads=threads,
        backward_threads=backward_threads,
        initial=[None, None],
    )
    check(some_tokens("random", 150, 60), threads=threads, backward_threads=backward_threads)


@pytest.mark.parametrize(("batch", "time"), [(4, 0), (4, 1), (1, 9), (6, 2)])
def test_few_tokens(batch: int, time: int) -> None:
    for kind in ("random", "all padding"):
        check(some_tokens(kind, batch, time), initial=[None, None])


@settings(max_examples=60)
@given(st.data())
def test_any_few_tokens(data: st.DataObject) -> None:
    batch, time = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 12))
    some = st.lists(st.sampled_from((0, 0, 0, 4)), min_size=batch * time, max_size=batch * time)
    bits = data.draw(st.sampled_from((np.int32, np.int64)))
    tokens = np.array(data.draw(some), bits).reshape(batch, time)
    tokens[:, : data.draw(st.integers(0, time))] = 0
    layout, reverse = data.draw(st.sampled_from(("batch", "time"))), data.draw(st.booleans())
    check(tokens, initial=[None, None], mask=data.draw(masks(batch, time)), layout=layout, reverse=reverse)


@pytest.mark.parametrize("integer", [np.int32, np.int64, np.uint8])
def test_scan_and_record(integer: type) -> None:
    params = cells.gru.init(FEATURES, UNITS, seed=1, dtype="float64")
    random = np.random.default_rng(3)
    table, tokens = (
        random.standard_normal((VOCABULARY, FEATURES)),
        some_tokens("padded", 9, 33).astype(integer),
    )
    weights = random.standard_normal((9, 33, UNITS))
    for options in ({}, {"mask": tokens > 0}, {"reverse": True}):
        by_tokens = record(cells.gru, tokens, params, table=table, return_sequences=True, **options)
        by_vectors = record(cells.gru, table[tokens], params, return_sequences=True, **options)
        close(by_tokens.output, by_vectors.output, 1e-10, "output")
        one, other = by_tokens.backward(weights), by_vectors.backward(weights)
        expected = np.zeros_like(table)
        np.add.at(expected, tokens, other.inputs)
        close(one.inputs, expected, 1e-10, "the table's gradient")
        for name in params:
            close(one.params[name], other.params[name], 1e-10, name)
        assert one.initial_state == other.initial_state == ()
    start = random.standard_normal((9, UNITS))
    one, other = (
        record(cells.gru, tokens, params, table=table, initial_state=[start]).backward(start),
        record(cells.gru, table[tokens], params, initial_state=[start]).backward(start),
    )
    close(one.initial_state[0], other.initial_state[0], 1e-10, "initial state")
    single = scan(cells.gru, tokens[2], params, table=table)
    close(single, scan(cells.gru, table[tokens[2]], params), 1e-10, "one sequence")
    strided = scan(cells.gru, np.asfortranarray(tokens), params, table=table[:, ::-1][:, ::-1])
    close(strided, scan(cells.gru, table[tokens], params), 1e-10, "not contiguous")


def test_a_token_of_nan_reaches_only_those_who_read_it() -> None:
    params = cells.gru.init(FEATURES, UNITS, seed=1, dtype="float64")
    table = np.random.default_rng(3).standard_normal((VOCABULARY, FEATURES))
    table[7] = np.nan
    tokens = np.random.default_rng(4).integers(0, 7, (6, 5))
    tokens[2, 3] = 7
    out = scan(cells.gru, tokens, params, table=table, return_sequences=True)
    assert np.isnan(out[2, 3:]).all()
    assert np.isfinite(np.delete(out, 2, axis=0)).all()
    assert np.isfinite(out[2, :3]).all()
