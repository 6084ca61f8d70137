# ruff: noqa: F722, F821, UP037
"""Integers that choose rows of parameters: scanned, differentiated and streamed as the rows are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import stepfold
from stepfold import Cell, Stream, mean, sum, tanh
from stepfold._lookups import Lookup, Rows, table_gradients
from stepfold._runtime import Engine
from tests.lookup_cells import CELLS, LookupProblem, by_day, by_embedding, by_word


def besides(word: int, h, *, E: "vocabulary embed", W: "units embed", c: "embed"):
    """The row is used element by element too."""
    return tanh(W @ (E[word] * c) + W @ E[word] + h)


def another(word: int, h, *, E: "vocabulary embed", W: "units embed", c: "embed"):
    """Another value has its axis."""
    return tanh(W @ E[word] + h + sum(c))


def kernel_besides(word: int, h: "embed", *, E: "vocabulary embed", W: "embed embed"):
    """The kernel is that of the state."""
    return tanh(W @ E[word] + W @ h)


def transposed(word: int, h, *, E: "vocabulary embed", W: "embed units"):
    """The kernel is transposed."""
    return tanh(W.T @ E[word] + h)


def as_units(word: int, h, *, E: "vocabulary units", U):
    """The row is as long as the state."""
    return tanh(U @ E[word] + U @ h)


def two_of_one(word: int, h, *, E: "vocabulary embed", W: "units embed"):
    """The size of the axis is used."""
    return tanh(W @ E[word] / mean(E[word]) + h)


NOT_PROJECTED = (besides, another, kernel_besides, transposed, as_units, two_of_one)
every = pytest.mark.parametrize("cell", CELLS, ids=lambda c: c.name)
OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"lengths": [6, 0, 3]},
    {"mask": np.random.default_rng(0).random((3, 6)) < 0.6, "reverse": True},
)


def close(found: Any, expected: Any, dtype: str) -> None:
    limit = 1e-11 if dtype == "float64" else 2e-5
    np.testing.assert_allclose(found, expected, rtol=limit, atol=limit)


@every
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("checkpoint", [False, True])
def test_as_the_rows_themselves(cell: Cell, dtype: str, checkpoint: bool) -> None:
    """Against the same cell with the rows as inputs, and their gradients added up by hand."""
    made = LookupProblem(cell, dtype)
    weights = np.random.default_rng(1).standard_normal((3, 6, 5)).astype(dtype)
    for options in OPTIONS:
        run = stepfold.record(
            cell, made.given, made.params, return_sequences=True, checkpoint=checkpoint, **options
        )
        plain = stepfold.record(made.twin, made.rows, made.rest, return_sequences=True, **options)
        close(run.output, plain.output, dtype)
        close(
            run.output, stepfold.scan(cell, made.given, made.params, return_sequences=True, **options), dtype
        )
        found, expected = run.backward(weights), plain.backward(weights)
        assert list(found.params) == list(cell.step.parameters)
        for name, value in (expected.params | made.added(expected.inputs)).items():
            close(found.params[name], value, dtype)
        if cell is not by_day:
            assert found.inputs is None
        else:
            x, day, gap, week = found.inputs
            assert day is None
            assert week is None
            close(x, expected.inputs[0], dtype)
            close(gap, expected.inputs[2], dtype)


@every
def test_as_the_reference_has_it(cell: Cell) -> None:
    made = LookupProblem(cell)
    weights = np.random.default_rng(1).standard_normal((3, 6, 5))
    for options in OPTIONS:
        lengths = options.get("lengths")
        mask = options.get("mask") if lengths is None else np.arange(6) < np.array(lengths)[:, None]
        expected = made.reference(mask=mask, reverse=options.get("reverse", False))
        run = stepfold.record(cell, made.given, made.params, return_sequences=True, **options)
        close(run.output, expected.outputs, "float64")
        for name, value in expected.backward(weights)[1].items():
            close(run.backward(weights).params[name], value, "float64")


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_integers_masks_and_sizes(data: st.DataObject) -> None:
    """Where a timestep is not active any integer may stand; a table of few rows, of many, of one."""
    batch, time, size = (data.draw(st.integers(1, n)) for n in (4, 5, 30))
    kind = data.draw(st.sampled_from([np.int8, np.uint8, np.int32, np.int64, np.uint64]))
    ids = np.array(
        data.draw(st.lists(st.integers(0, size - 1), min_size=batch * time, max_size=batch * time))
    )
    ids = ids.reshape(batch, time).astype(kind)
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=batch * time, max_size=batch * time)))
    mask = mask.reshape(batch, time)
    params = by_word.init(1, 5, seed=0, dtype=np.float64, vocabulary=size, embed=3)
    whole = stepfold.record(by_word, ids, params, mask=mask, return_sequences=True)
    noisy = np.where(mask, ids, data.draw(st.sampled_from([0, np.iinfo(kind).max, np.iinfo(kind).min])))
    found = stepfold.record(by_word, noisy.astype(kind), params, mask=mask, return_sequences=True)
    np.testing.assert_array_equal(found.output, whole.output)
    weights = np.ones_like(found.output)
    one, other = found.backward(weights).params, whole.backward(weights).params
    for name, value in other.items():
        close(one[name], value, "float64")  # rows of zeros are added in other places
    assert not one["E"][np.setdiff1d(np.arange(size), ids[mask])].any()


def test_what_only_stands_behind_a_kernel_is_projected() -> None:
    assert by_embedding.step.projected == Lookup.of("E", "word")
    assert not by_embedding.step.scanned.inputs
    assert by_embedding.step.scanned.parameters["W"] == ("units", "features")
    assert by_word.step.projected == Lookup.of("F", "word")
    assert by_day.step.projected is None  # which has an input without a name
    assert (
        "Computed outside the time loop, for many timesteps at once\n  W @ E[word] + b" in by_embedding.show()
    )


@pytest.mark.parametrize("step", NOT_PROJECTED, ids=lambda step: step.__name__)
def test_what_stands_elsewhere_too_is_not(step: Any) -> None:
    found = stepfold.cell(step)
    assert found.step.projected is None
    sizes = {axis: 3 for axis in found.step.own_axes if axis != "units"}
    params = found.init(3, 3, seed=0, dtype=np.float64, **sizes)
    words = np.array([[0, 2, 1], [2, 2, 1]])
    run = stepfold.record(found, words, params)
    h = np.zeros((2, 3))
    for t in range(3):
        h = found(words[:, t], h, **params)
    close(run.output, h, "float64")


def test_gradients_are_added_to_their_rows() -> None:
    random = np.random.default_rng(0)
    for shape in ((6, 3), (6,)):
        for ids in (random.integers(6, size=(4, 5)), np.zeros((0, 5), np.int64), np.full((1, 1), 5)):
            gradient = random.standard_normal((*ids.shape, *(shape[1:] or (1,))))
            expected = np.zeros(shape)
            np.add.at(expected, ids, gradient if shape[1:] else gradient[..., 0])
            rows = [Rows(Lookup.of("E", "word"), ids)] * 2
            found = table_gradients(rows, {"E[word]": gradient}, {"E": shape})
            np.testing.assert_allclose(found["E"], 2 * expected, atol=1e-12)


@every
def test_one_sequence_and_none(cell: Cell) -> None:
    made = LookupProblem(cell)
    many = stepfold.scan(cell, made.given, made.params, return_sequences=True)
    first = [a[1] for a in made.inputs]
    run = stepfold.record(
        cell, tuple(first) if len(first) > 1 else first[0], made.params, return_sequences=True
    )
    close(run.output, many[1], "float64")
    assert run.backward(np.ones_like(run.output)).params["U"].shape == (5, 5)
    none = [a[:0] for a in made.inputs]
    run = stepfold.record(cell, tuple(none) if len(none) > 1 else none[0], made.params)
    assert run.output.shape == (0, 5)
    assert not run.backward(run.output).params["U"].any()


def test_arrays_may_change_after_record() -> None:
    made = LookupProblem(by_word)
    run = stepfold.record(by_word, made.inputs[0], made.params)
    expected = stepfold.record(by_word, made.inputs[0].copy(), made.params).backward(np.ones((3, 5))).params
    made.inputs[0][...] = 0
    for name, value in run.backward(np.ones((3, 5))).params.items():
        np.testing.assert_array_equal(value, expected[name])


def test_tokens_of_a_table_beside_an_integer() -> None:
    made = LookupProblem(by_day)
    _x, day, gap, week = made.inputs
    tokens = np.random.default_rng(0).integers(8, size=day.shape)
    table = np.random.default_rng(1).standard_normal((8, 3))
    found = stepfold.record(by_day, (tokens, day, gap, week), made.params, table=table)
    expected = stepfold.record(by_day, (table[tokens], day, gap, week), made.params)
    close(found.output, expected.output, "float64")
    close(
        found.backward(np.ones((3, 5))).params["D"], expected.backward(np.ones((3, 5))).params["D"], "float64"
    )


def test_what_does_not_fit() -> None:
    made = LookupProblem(by_word)
    (word,) = made.inputs

    def refused(cell: Cell, given: Any, error: type[Exception], words: str, **more: Any) -> None:
        with pytest.raises(error, match=words):
            stepfold.scan(cell, given, more.pop("params", made.params), **more)

    refused(
        by_word,
        word + 7,
        IndexError,
        r"^input word is 1?\d at \(0, 0\), but E, of shape \(7, 5\), has the row",
    )
    refused(
        by_word, word - 7, IndexError, r"rows 0…6; make it longer, or replace such integers by one for all"
    )
    refused(
        by_word, word.astype(float), TypeError, "input word holds integers.*not float64; convert them with"
    )
    refused(by_word, word > 3, TypeError, "not bool")
    refused(
        by_word,
        word[..., None],
        ValueError,
        r"input word has shape \(3, 6, 1\), expected \(batch, time\), an",
    )
    refused(
        by_word,
        word,
        ValueError,
        "has no input without a name, whose vectors a table",
        table=made.params["E"],
    )
    refused(by_word, word, ValueError, r"F has shape \(6, 3\), expected \(vocabulary, embed\) = \(7, 3\)",
            params=made.params | {"F": made.params["F"][:6]})  # fmt: skip
    other = LookupProblem(by_day)
    x, day, gap, week = other.inputs
    refused(by_day, (x, day[:, :5], gap, week), ValueError, r"input day has shape \(3, 5\), expected \(3, 6",
            params=other.params)  # fmt: skip
    refused(by_day, (x, day), TypeError, "by_day has 4 inputs, x, day, gap, week", params=other.params)
    with pytest.raises(ValueError, match="by_word reads integers; an engine is of the step that is scanned"):
        Engine(by_word.step, 5, "float32")


@every
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_stream_reads_integers(cell: Cell, dtype: str) -> None:
    made = LookupProblem(cell, dtype)
    outputs = stepfold.scan(cell, made.given, made.params, return_sequences=True)
    one, many = Stream(cell, made.params), Stream(cell, made.params, 3)
    for t in range(made.time):
        first, rows = [a[0, t] for a in made.inputs], [a[:, t] for a in made.inputs]
        alone = tuple(first) if len(first) > 1 else first[0]
        close(one.step(alone), outputs[:1, t], dtype)
        close(many.step(tuple(rows) if len(rows) > 1 else rows[0]), outputs[:, t], dtype)
        if t == 2:
            again = Stream(cell, made.params, 3)
            again.load_state(many.save_state())
            many = again


def test_a_stream_refuses_what_is_no_integer() -> None:
    made = LookupProblem(by_word, "float32")
    one, many = Stream(by_word, made.params), Stream(by_word, made.params, 3)
    expected = stepfold.scan(by_word, np.full((1, 1), 3), made.params)
    made.params["E"][...] = 0  # the stream has copies
    close(one.step(3), expected, "float32")
    close(many.step(np.full(3, 3)), np.repeat(expected, 3, axis=0), "float32")
    with pytest.raises(IndexError, match=r"input word is 7 at \(1,\), but E, of shape \(7, 5\)"):
        many.step([0, 7, 0])
    for wrong in (np.zeros(5, np.float32), np.zeros((1, 5), np.float32), 1.0):
        with pytest.raises(TypeError, match="input word holds integers"):
            one.step(wrong)
    with pytest.raises(ValueError, match=r"word has shape \(2,\), expected an integer a row, \(3,\)"):
        many.step([1, 2])
