"""Keras models as data: the same numbers without Keras, and errors that name what cannot be exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from keras_helpers import arrays, mask_of, quiet, random, randomised

import stepfold
import stepfold.keras as ours
from stepfold.data import KerasWords
from stepfold.keras import to_model
from stepfold.model import Model, Sequences, Texts
from tests.kinds import KINDS

pytestmark = quiet
IDS = np.random.default_rng(1).integers(1, 9, (5, 6)) * mask_of(5, 6, "left")  # row 0 is masked throughout
VALUES = random(5, 6, 3) * mask_of(5, 6, "right")[:, :, None]


def sequential(*stack: Any, ids: bool = False) -> Any:
    """A model of some layers with random weights, none of them alike."""
    given = keras.Input((6,), dtype="int32") if ids else keras.Input((6, 3))
    return randomised(keras.Sequential([given, *stack]), scale=0.8)


def same(network: Any, values: Any, model: Model | None = None) -> Model:
    """Assert that the exported model gives what Keras gives; return it."""
    model = to_model(network) if model is None else model
    expected = network.predict_on_batch(values)
    found = model.run(values)
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert np.ptp(expected, axis=0).max() > 1e-3, "rows differ, so that there is something to compare"
    return model


@pytest.mark.parametrize("name", KINDS)
def test_every_cell_in_both_directions_stacked_behind_a_mask(name: str) -> None:
    same(
        sequential(
            layers.Masking(),
            layers.Bidirectional(ours.Recurrent(name, 2, return_sequences=True, zoneout=0.2)),
            ours.Recurrent(name, 3, go_backwards=True),
        ),
        VALUES,
    )


def test_the_options_of_keras_s_layers() -> None:
    stack = [
        ours.LSTM(3, return_sequences=True, go_backwards=True, recurrent_activation="hard_sigmoid"),
        ours.GRU(2, return_sequences=True, go_backwards=True, use_bias=False),
        ours.GRU(3, reset_after=False, activation="relu", return_sequences=True),
        ours.SimpleRNN(2, activation="softsign", dropout=0.5, recurrent_dropout=0.5),
    ]
    same(sequential(*stack), random(5, 6, 3))


def test_keras_s_own_layers_and_cells() -> None:
    same(
        sequential(
            layers.GRU(3, return_sequences=True),
            layers.RNN(layers.LSTMCell(2), return_sequences=True),
            layers.SimpleRNN(2, return_sequences=True),
        ),
        random(5, 6, 3),
    )


@pytest.mark.parametrize("merge", ["concat", "sum", "mul", "ave"])
def test_the_ways_to_merge_directions(merge: str) -> None:
    sequence = layers.Bidirectional(ours.GRU(3, return_sequences=True), merge_mode=merge)
    last = layers.Bidirectional(ours.LSTM(2), merge_mode=merge, backward_layer=ours.GRU(2, go_backwards=True))
    same(sequential(layers.Embedding(9, 4, mask_zero=True), sequence, last, ids=True), IDS)


@pytest.mark.parametrize("mask", [True, False])
@pytest.mark.parametrize(
    "pooling",
    [
        layers.GlobalMaxPooling1D,
        layers.GlobalAveragePooling1D,
        lambda: ours.MaskedPooling1D("max_mean"),
        lambda: ours.MaskedPooling1D("mean"),
    ],
)
@pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask")
def test_pooling_with_and_without_a_mask(pooling: Any, mask: bool) -> None:
    network = sequential(
        ours.Embedding(9, 4, mask_zero=mask),
        layers.SpatialDropout1D(0.5),
        ours.LSTM(3, return_sequences=True),
        layers.GaussianNoise(0.5),
        pooling(),
        layers.Dense(1, "sigmoid"),
        ids=True,
    )
    model = same(network, IDS[1:])
    assert model.labels == (0, 1)
    assert model.inputs == Sequences(None, 6)
    texts = to_model(
        network, vocabulary=KerasWords(("a", "b", "c", "d")), labels=["no", "yes"], name="reviews"
    )
    assert isinstance(texts.inputs, Texts)
    (expected,) = arrays(network(np.array([[0, 0, 0, 1, 4, 2]]), training=False))
    np.testing.assert_allclose(texts.predict_proba(["a unheard"])[:, 1:], expected, rtol=1e-5)
    np.testing.assert_allclose(texts.predict_proba(["a unheard", "a b c d a"])[:1, 1:], expected, rtol=1e-5)
    assert texts.name == "reviews"


def test_what_stands_around_recurrent_layers() -> None:
    scale = layers.Normalization()
    values = random(5, 6, 3) * 0.1 + 1000  # a scale and a shift in one would cancel to nothing
    scale.adapt(values)
    inner = keras.Sequential(
        [keras.Input((6, 3)), ours.GRU(4, return_sequences=True), layers.BatchNormalization()]
    )
    for weight in inner.weights:
        weight.assign(np.abs(random(*weight.shape)) + 0.5)
    given = keras.Input((6, 3))
    hidden = layers.TimeDistributed(layers.Dense(4, "gelu"))(inner(layers.Rescaling(2.0, 1.0)(scale(given))))
    hidden = layers.ELU()(layers.ActivityRegularization(0.1)(layers.ReLU()(hidden)))
    network = keras.Model(
        given, layers.Softmax()(layers.Dense(3)(layers.Dropout(0.5)(layers.LSTM(2)(hidden))))
    )
    assert same(network, values).labels == (0, 1, 2)
    same(keras.Model(given, inner(scale(given))), values)


def test_a_saved_and_loaded_model(tmp_path: Path) -> None:
    given = keras.Input((6,), dtype="int32")
    hidden = ours.Embedding(9, 4, mask_zero=True)(ours.WordDropout(0.5)(given))
    hidden = ours.LSTM(3, return_sequences=True)(layers.Dropout(0.5)(hidden))
    network = randomised(keras.Model(given, ours.LSTM(3)(hidden)), scale=0.8)
    network.save(tmp_path / "network.keras")
    again = keras.saving.load_model(tmp_path / "network.keras")
    model = same(again, IDS)
    stepfold.export(again, tmp_path / "network.safetensors")
    np.testing.assert_array_equal(stepfold.load(tmp_path / "network.safetensors").run(IDS), model.run(IDS))


@pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask")
def test_a_mask_as_an_input_and_a_mask_into_a_model() -> None:
    values, mask = keras.Input((None, 3)), keras.Input((None,), dtype="bool")
    inner = keras.Sequential([keras.Input((None, 3)), ours.LSTM(3, return_sequences=True)])
    hidden = inner(ours.WithMask()([values, mask]))
    network = randomised(keras.Model([values, mask], ours.MaskedPooling1D()(hidden)))
    active = mask_of(5, 6, "holes")
    (expected,) = arrays(network([random(5, 6, 3), active], training=False))
    found = to_model(network).run(random(5, 6, 3), active)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_float64_stays_and_half_precision_does_not() -> None:
    network = sequential(layers.LSTM(3, dtype="mixed_bfloat16"), layers.Dense(2, dtype="mixed_bfloat16"))
    (rough,) = arrays(network(VALUES, training=False))
    np.testing.assert_allclose(to_model(network).run(VALUES), np.float32(rough), atol=3e-2)


def test_labels_of_logits_get_a_softmax() -> None:
    network = sequential(layers.LSTM(3), layers.Dense(3))
    (logits,) = arrays(network(VALUES, training=False))
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    found = to_model(network, labels=np.array(["a", "b", "c"]))
    np.testing.assert_allclose(found.predict_proba(list(VALUES)), expected, rtol=1e-5)
    assert found.predict(list(VALUES)).tolist() == np.array(["a", "b", "c"])[logits.argmax(axis=1)].tolist()
    assert to_model(network).labels is None
    with pytest.raises(ValueError, match="the model has 2 labels, but its last layer gives"):
        to_model(network, labels=[0, 1])


class Own(layers.LSTM):
    pass


def _two_inputs() -> Any:
    first, second = keras.Input((6, 3)), keras.Input((6, 3))
    return keras.Model([first, second], layers.LSTM(2)(layers.Add()([first, second])))


def _states() -> Any:
    given = keras.Input((6, 3))
    return keras.Model(given, layers.LSTM(2, return_state=True)(given)[0])


def _always_random() -> Any:
    given = keras.Input((6, 3))
    return keras.Model(given, layers.LSTM(2)(layers.Dropout(0.5)(given, training=True)))


def _initial() -> Any:
    given, state = keras.Input((6, 3)), keras.Input((2,))
    return keras.Model([given, state], layers.GRU(2)(given, initial_state=state))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: sequential(layers.Conv1D(2, 2, name="c")),
            r"the layer 'c' \(Conv1D\) .* It may|it may be made of",
        ),
        (
            lambda: sequential(Own(2, name="o")),
            r"the layer 'o' \(Own\) cannot be exported: a Model has no such",
        ),
        (
            lambda: sequential(layers.LSTM(2, activation="sparsemax")),
            "activation 'sparsemax' is not one of stepfold's",
        ),
        (
            lambda: sequential(layers.LSTM(2), layers.Dense(2, "sparsemax")),
            "'sparsemax' is not one of linear, tanh",
        ),
        (lambda: sequential(layers.LSTM(2), layers.ReLU(6.0)), "max_value must be None, not 6.0"),
        (lambda: sequential(layers.GRU(2, go_backwards=True, return_sequences=True)), "last timestep first"),
        (
            lambda: sequential(layers.Masking(), layers.GRU(2, go_backwards=True, return_sequences=True)),
            "its outputs are in reverse, and the mask",
        ),
        (
            lambda: sequential(layers.Masking(), layers.LSTM(2, zero_output_for_mask=True)),
            "zero_output_for_mask",
        ),
        (
            lambda: sequential(
                layers.Masking(),
                layers.Bidirectional(layers.LSTM(2, return_sequences=True)),
                layers.GlobalMaxPooling1D(),
            ),
            "use stepfold.keras.MaskedPooling1D",
        ),
        (
            lambda: sequential(layers.Bidirectional(layers.LSTM(2), merge_mode=None)),
            "(?s)several outputs|2 outputs",
        ),
        (lambda: sequential(layers.RNN([layers.LSTMCell(2)])), "its cell is StackedRNNCells"),
        (lambda: sequential(layers.TimeDistributed(layers.LayerNormalization())), "not LayerNormalization"),
        (
            lambda: keras.Sequential([keras.Input(batch_shape=(2, 6, 3)), layers.LSTM(2, stateful=True)]),
            "stateful=True carries its state",
        ),
        (_two_inputs, "'add.*Add.* it takes more than one input"),
        (_states, "return_state=True"),
        (_always_random, "training=True"),
        (_initial, "takes more than one input"),
        (lambda: keras.Sequential([layers.LSTM(2)]), "has no weights yet"),
        (
            lambda: keras.Sequential([keras.Input((3,)), layers.Dense(2)]),
            r"has the shape \(None, 3\), expected",
        ),
        (type("Subclassed", (keras.Model,), {}), "Subclassed is a subclassed model"),
    ],
)
@pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask")
def test_what_cannot_be_said_is_named(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_model(make())


def test_what_is_no_model() -> None:
    with pytest.raises(TypeError, match=r"or functional keras.Model, not LSTM"):
        to_model(layers.LSTM(2))
    network = sequential(layers.Embedding(9, 4), layers.LSTM(2), ids=True)
    with pytest.raises(ValueError, match="the vocabulary has 14 ids"):
        to_model(network, vocabulary=KerasWords(tuple("abcdefghij")))
    with pytest.raises(ValueError, match="length must be an integer from 1"):
        to_model(network, length=0)
    with pytest.raises(ValueError, match="a vocabulary is for a model of texts"):
        to_model(sequential(layers.LSTM(2)), vocabulary=KerasWords(("a",)), length=3)
