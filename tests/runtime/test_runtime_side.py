"""Tokens with side features: the same as scanning the vectors with the features appended, forward and
backward."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stepfold import cells, record, scan
from stepfold._runtime import Recipe
from tests.runtime.scan_arrays import Array, close
from tests.runtime.scan_helpers import Answer, problem, ragged
from tests.targets import TARGETS

VOCABULARY, UNITS = 11, 5


def some(*shape: int, seed: int = 0, dtype: str = "float64") -> Array:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def tokens_of(batch: int, time: int, dtype: Any = np.int64) -> Array:
    """Tokens that begin with padding; token 9 is never among them."""
    tokens = np.random.default_rng(batch).integers(1, 9, (batch, time)).astype(dtype)
    tokens[:, : time // 3] = 0
    return tokens


def check(
    tokens: Array, features: int = 3, side: int = 2, dtype: str = "float64", name: str = "lstm", **more: Any
) -> Answer:
    batch, time = tokens.shape
    options = {key: more.pop(key) for key in ("threads", "backward_threads", "on") if key in more}
    units = more.pop("units", UNITS)
    made = problem(cells.by_name(name), batch, time, features + side, units, dtype, **more)
    table = some(VOCABULARY, features, dtype=dtype)
    made = made.but(inputs=table, tokens=tokens, side=some(batch, time, side, dtype=dtype))
    found = made.check(**options)
    assert np.nan_to_num(found["gradient of side features"]).any()
    return found


@pytest.mark.parametrize("side", [1, 2, 9, 17])
@pytest.mark.parametrize("features", [1, 3, 16, 19])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_side_features_are_appended(side: int, features: int, dtype: str) -> None:
    check(tokens_of(13, 20, np.int32), features, side, dtype)
    check(tokens_of(3, 7), features, side, dtype, initial=[None, None])


@pytest.mark.parametrize("on", TARGETS)
@pytest.mark.parametrize("units", [1, 8, 17])
def test_other_units_and_vectors(units: int, on: str) -> None:
    check(tokens_of(5, 9), units=units, on=on)


@pytest.mark.parametrize("name", ["simple_rnn", "gru", "gru_reset_before", "layer_norm_lstm", "carry_lstm"])
def test_other_cells(name: str) -> None:
    check(tokens_of(9, 33), name=name)


@pytest.mark.parametrize("layout", ["batch", "time"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("padding", ["repeat", "zero", "none"])
@pytest.mark.parametrize("lengths", [None, [40] * 13, [*range(13)], [0] * 13])
def test_masks_and_directions(lengths: Any, padding: str, reverse: bool, layout: str) -> None:
    mask = tokens_of(13, 40) > 0 if lengths is None else ragged(lengths, 40)
    if not mask.any():
        pytest.skip("nothing arrives at the side features")
    check(
        tokens_of(13, 40), mask=mask, lengths=lengths is not None, reverse=reverse, layout=layout,
        padding=padding,
    )  # fmt: skip


def test_packed() -> None:
    mask = ragged([9, 9, 5, 2, 1], 9)
    gradient = problem(cells.lstm, 5, 9, 5, UNITS).output_gradient * mask[:, :, None]
    for initial in ({}, {"initial": [None, None]}):
        check(tokens_of(5, 9), mask=mask, layout="packed", output_gradient=gradient, **initial)


@pytest.mark.parametrize(("threads", "backward_threads"), [(1, 3), (3, 1), (3, 3)])
def test_many_threads(threads: int, backward_threads: int) -> None:
    check(tokens_of(150, 60), threads=threads, backward_threads=backward_threads)


def test_one_row_by_many_threads() -> None:
    check(tokens_of(1, 30), name="simple_rnn", units=260, threads=3)


def test_alike_rows_share_no_prefix() -> None:
    """All begin with the same tokens from zero, but their features differ."""
    found = check(np.zeros((6, 30), np.int64), initial=[None, None])
    assert np.ptp(found["outputs"], axis=0).max() > 0.1


OPTIONS = [{}, {"mask": tokens_of(9, 33) > 0}, {"lengths": np.arange(9)}, {"reverse": True}]


@pytest.mark.parametrize("checkpoint", [False, True])
@pytest.mark.parametrize("options", OPTIONS, ids=[str(list(o)) for o in OPTIONS])
@pytest.mark.parametrize("sequences", [False, True])
def test_scan_and_record(
    options: dict[str, Any], checkpoint: bool, sequences: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stepfold._runtime._checkpoint._LEAST", 1)  # several segments
    params = cells.gru.init(5, UNITS, seed=1, dtype="float64")
    table, tokens, side = some(VOCABULARY, 3), tokens_of(9, 33, np.uint8), some(9, 33, 2)
    options = {"return_sequences": sequences, **options}
    run = record(cells.gru, tokens, params, table=table, side=side, checkpoint=checkpoint, **options)
    dense = record(cells.gru, np.concatenate([table[tokens], side], -1), params, **options)
    close(run.output, dense.output, 1e-10, "output")
    close(scan(cells.gru, tokens, params, table=table, side=side, **options), dense.output, 1e-10, "scan")
    weights = some(*run.output.shape)
    side[...] = np.nan  # the run has copies of its own
    found, expected = run.backward(weights), dense.backward(weights)
    of_table = np.zeros_like(table)
    np.add.at(of_table, tokens, expected.inputs[..., :3])
    close(found.inputs, of_table, 1e-10, "the table's gradient")
    close(found.side, expected.inputs[..., 3:], 1e-10, "the side features' gradient")
    for name in params:
        close(found.params[name], expected.params[name], 1e-10, name)
    assert dense.backward(weights).side is None


def test_one_sequence() -> None:
    params = cells.gru.init(5, UNITS, seed=1, dtype="float64")
    table, tokens, side = some(VOCABULARY, 3), tokens_of(9, 33), some(9, 33, 2)
    run = record(cells.gru, tokens[2], params, table=table, side=side[2])
    both = record(cells.gru, tokens[2:3], params, table=table, side=side[2:3])
    close(run.output, both.output[0], 1e-10, "one sequence")
    gradient = run.backward(np.ones(UNITS)).side
    close(gradient, both.backward(np.ones((1, UNITS))).side[0], 1e-10, "its gradient")


def test_what_does_not_fit() -> None:
    params = cells.gru.init(5, UNITS, seed=1, dtype="float64")
    table, tokens = some(VOCABULARY, 3), tokens_of(4, 6)
    for side, error, text in (
        (some(4, 6), ValueError, r"side has shape \(4, 6\), expected \(batch, time, side_features\)"),
        (some(4, 5, 2), ValueError, r"side has shape \(4, 5, 2\), .* for tokens of shape \(4, 6\)"),
        (some(4, 6, 0), ValueError, r"side has shape \(4, 6, 0\)"),
        (some(4, 6, 2, dtype="float32"), TypeError, "side is float32, not float64; convert it"),
        (some(4, 6, 3), ValueError, r"W_z has shape \(5, 5\), expected \(units, features\) = \(5, 6\)"),
    ):
        with pytest.raises(error, match=text):
            scan(cells.gru, tokens, params, table=table, side=side)
    with pytest.raises(ValueError, match="side features go with a table; without one, put them into inputs"):
        scan(cells.gru, some(4, 6, 5), params, side=some(4, 6, 2))
    with pytest.raises(ValueError, match="side features go with tokens; put them into the inputs"):
        Recipe.of(cells.gru.step, UNITS, side=True)
    with pytest.raises(IndexError, match="token ids must lie in 0…10"):
        scan(cells.gru, tokens + 9, params, table=table, side=some(4, 6, 2))
