"""A model read one timestep a call gives what it gives for the whole sequence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_helpers import WORDS, normal, recurrent, text_model, value_model

from stepfold import cells
from stepfold.model import (
    ActivationLayer,
    AffineLayer,
    BidirectionalLayer,
    DenseLayer,
    EmbeddingLayer,
    MaskingLayer,
    Model,
    ModelStream,
    PoolingLayer,
    RecurrentLayer,
    Sequences,
    Texts,
)
from stepfold.model._layers import POOLS
from tests.kinds import KINDS


def stack(name: str, pool: str | None, *, masked: bool = True) -> Model:
    """Normalisation, masks, two recurrent layers with a dense one between them, pooling, a dense one."""
    cell = cells.by_name(name)
    layers: list[Any] = [
        MaskingLayer(-1.0),
        AffineLayer(normal(3), normal(3)),
        recurrent(cell, 3, 5, return_sequences=True),
        DenseLayer(normal(5, 4), None, "tanh"),
        recurrent(cells.gru, 4, 6, seed=1, return_sequences=pool is not None),
        ActivationLayer("softsign"),
    ]
    if pool is not None:
        layers.append(PoolingLayer(pool, masked))
    width = 12 if pool == "max_mean" else 6
    return Model((*layers, DenseLayer(normal(width, 2), normal(2))), Sequences(3))


def sequences(count: int, time: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(time)
    values = random.standard_normal((count, time, 3)).astype("float32")
    values[random.random((count, time)) < 0.2] = -1  # masked by the layer
    return values, random.random((count, time)) < 0.8


STACKS = [(name, "max_mean", True) for name in KINDS]
STACKS += [("lstm", pool, masked) for pool in (None, *POOLS) for masked in (True, False)]


@pytest.mark.parametrize(("name", "pool", "masked"), STACKS)
def test_every_step_equals_the_run_of_the_sequence_so_far(name: str, pool: str | None, masked: bool) -> None:
    model = stack(name, pool, masked=masked)
    values, mask = sequences(3, 7)
    stream = model.stream(3)
    for t in range(7):
        found = stream.step(values[:, t], mask=mask[:, t])
        expected = model.run(values[:, : t + 1], mask[:, : t + 1])
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(stream.outputs_of(), found)


def test_one_sequence_without_masks_and_a_model_with_time_left() -> None:
    layers = (recurrent(cells.lstm, 3, 5, return_sequences=True), DenseLayer(normal(5, 2)))
    model = Model(layers, Sequences(3))
    values = normal(1, 6, 3)
    stream = model.stream()
    assert np.isnan(stream.outputs_of()).all()
    found = np.stack([stream.step(values[:, t]) for t in range(6)], axis=1)
    np.testing.assert_allclose(found, model.run(values), rtol=1e-5, atol=1e-5)


def test_sequences_join_and_leave_at_their_own_times() -> None:
    model = stack("gru", "max_mean")
    random = np.random.default_rng(0)
    values, _ = sequences(60, 30)
    stream, read = model.stream(), dict.fromkeys(range(60), 0)
    waiting, living = list(range(1, 60)), [0]
    for _ in range(40):
        joined = stream.join(int(random.integers(0, min(4, len(waiting) + 1)))).tolist()
        assert joined == waiting[: len(joined)]
        waiting, living = waiting[len(joined) :], living + joined
        gone = [row for row in living if random.random() < 0.05]
        stream.leave(gone)
        living = [row for row in living if row not in gone]
        assert stream.rows.tolist() == living
        chosen = random.permutation([row for row in living if read[row] < 30]).astype(int)[:9]
        found = stream.step([values[row, read[row]] for row in chosen] or np.zeros((0, 3)), rows=chosen)
        for row, output in zip(chosen.tolist(), found, strict=True):
            read[row] += 1
            expected = model.run(values[row : row + 1, : read[row]])
            np.testing.assert_allclose(output, expected[0], rtol=1e-5, atol=1e-5)
    gone = stream.rows[:-1]
    stream.leave(gone)
    with pytest.raises(IndexError, match=f"row {gone[0]} has left the stream"):
        stream.step(np.zeros((1, 3)), rows=gone[:1])


@pytest.mark.parametrize("mask_zero", [True, False])
def test_texts_begin_with_the_start_mark(mask_zero: bool) -> None:
    layers = (recurrent(cells.lstm, 4, 5, return_sequences=True), PoolingLayer("max"))
    model = Model(
        (
            EmbeddingLayer(normal(WORDS.size, 4), mask_zero),
            *layers,
            DenseLayer(normal(5, 1), None, "sigmoid"),
        ),
        Texts(WORDS, 9),
        ("no", "yes"),
    )
    stream = model.stream()
    text = "the film was unheard of"
    ids = WORDS.encode(text)
    np.testing.assert_allclose(stream.outputs_of(), model.run(ids[None, :1]), rtol=1e-5)
    for k, (token, outputs) in enumerate(stream.read(text), 2):
        assert token == text.split()[k - 2]
        np.testing.assert_allclose(outputs, model.run(ids[None, :k]), rtol=1e-5)
    row = stream.join()
    np.testing.assert_allclose(stream.step([0], rows=row), model.run(np.array([[1, 0]])), rtol=1e-5)
    ((_, outputs),) = stream.read("good", rows=row)
    np.testing.assert_allclose(outputs, model.run(np.array([[1, 0, 4]])), rtol=1e-5)
    stream.reset(row)
    np.testing.assert_allclose(stream.outputs_of(row), model.run(ids[None, :1]), rtol=1e-5)


def test_explanations_are_the_same() -> None:
    model = text_model(recurrent(cells.gru, 4, 5))
    explained = model.explain("the film was bad")
    read = [model.answers(outputs)[0] for _, outputs in model.stream().read("the film was bad")]
    np.testing.assert_allclose(read, explained.outputs, rtol=1e-5)


def test_a_layer_that_reads_backward_is_named() -> None:
    with pytest.raises(ValueError, match=r"layer 3 \(bidirectional\) of model reads from the last timestep"):
        value_model().stream()
    backward = recurrent(cells.lstm, 4, 5, reverse=True)
    assert isinstance(backward, RecurrentLayer)
    with pytest.raises(ValueError, match=r"layer 1 \(recurrent\) of a model of texts reads from the last"):
        text_model(backward).stream()
    assert isinstance(value_model().layers[3], BidirectionalLayer)


def test_what_does_not_fit_is_refused_before_anything_changes() -> None:
    stream, texts = stack("lstm", "mean").stream(2), text_model().stream()
    states = stream.save_state(), texts.save_state()
    x = np.ones((2, 3))
    for values, options, error, message in (
        (x[:1], {}, ValueError, r"values have shape \(1, 3\), expected \(n, features\) = \(2, 3\)"),
        (x.astype(object), {}, TypeError, "values are object, expected numbers"),
        (np.ma.masked_array(x), {}, TypeError, "values are a masked array"),
        (x, {"mask": [1, 0]}, TypeError, "mask must be of booleans"),
        (x, {"mask": [True]}, ValueError, r"mask has shape \(1,\), expected \(n,\) = \(2,\)"),
        (x, {"rows": [0, 7]}, IndexError, "there is no row 7; the next one to join gets the number 2"),
    ):
        with pytest.raises(error, match=message):
            stream.step(values, **options)
    with pytest.raises(IndexError, match="the ids run from 9 to 9, but the table has 9 rows"):
        texts.step([9])
    with pytest.raises(TypeError, match="values are float64, expected ids"):
        texts.step([1.0])
    with pytest.raises(TypeError, match="text must be a string, not int"):
        next(texts.read(3))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="model reads sequences, not texts; use step"):
        next(stream.read("text"))
    for batch in (0, True, 1.5):
        with pytest.raises(ValueError, match="batch must be an integer of at least 1"):
            ModelStream(stream.model, batch)  # type: ignore[arg-type]
    assert (stream.save_state(), texts.save_state()) == states


def test_a_stored_state_goes_on_bit_for_bit() -> None:
    model = stack("layer_norm_lstm", "max_mean")
    values, mask = sequences(20, 8)
    stream, other = model.stream(), model.stream(5)
    stream.leave(stream.join(20)[::7])
    count = len(stream)
    for t in range(4):
        stream.step(values[:count, t], mask=mask[:count, t])
    state = stream.save_state()
    for wrong in (state[:-1], text_model().stream().save_state(), state.replace(b"layer 2", b"layer 9")):
        with pytest.raises(ValueError, match="state"):
            other.load_state(wrong)
    assert other.rows.tolist() == [0, 1, 2, 3, 4]
    other.load_state(state)
    for t in range(4, 8):
        expected = stream.step(values[:count, t], mask=mask[:count, t])
        np.testing.assert_array_equal(other.step(values[:count, t], mask=mask[:count, t]), expected)
    assert other.save_state() == stream.save_state()
    assert other.join().tolist() == stream.join().tolist()


CONTINUE = """
import sys
import numpy as np
from model_helpers import text_model

stream = text_model().stream()
stream.load_state(open(sys.argv[1], "rb").read())
list(stream.read("was bad"))
open(sys.argv[1], "wb").write(stream.save_state())
"""


@pytest.mark.slow
def test_another_process_goes_on_bit_for_bit(tmp_path: Path) -> None:
    stream, file = text_model().stream(), tmp_path / "state"
    list(stream.read("the film"))
    file.write_bytes(stream.save_state())
    subprocess.run([sys.executable, "-c", CONTINUE, str(file)], check=True, cwd=Path(__file__).parent)
    list(stream.read("was bad"))
    assert file.read_bytes() == stream.save_state()
