"""Keras models with branches as data: the same numbers without Keras, in files and as ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops
from keras_helpers import arrays, mask_of, quiet, random, randomised

import stepfold
import stepfold.keras as ours
from stepfold import cells
from stepfold.data import KerasWords
from stepfold.keras import to_model
from stepfold.model import ConcatenateLayer, EmbeddingLayer, Model, named_layers

pytestmark = quiet
IDS = np.random.default_rng(1).integers(1, 9, (5, 6)) * mask_of(5, 6, "left")  # row 0 is masked throughout
VALUES = random(5, 6, 3) * mask_of(5, 6, "right")[:, :, None]


def same(network: Any, values: Any, kinds: str | None = None) -> Model:
    """Assert that the exported model gives what Keras gives, and has layers of these kinds; return it."""
    model = to_model(network)
    expected = network.predict_on_batch(values)
    np.testing.assert_allclose(model.run(values), expected, rtol=1e-5, atol=1e-5)
    assert np.ptp(expected, axis=0).max() > 1e-3, "rows differ, so that there is something to compare"
    if kinds is not None:
        found = [type(each).__name__.removesuffix("Layer") for _, each in named_layers(model.layers)]
        assert " ".join(found) == kinds
    return model


def network_of(given: Any, output: Any) -> Any:
    return randomised(keras.Model(given, output), scale=0.8)


def both(cell: Any) -> Any:
    return layers.Bidirectional(ours.Recurrent(cell, 3, return_sequences=True))


def taught(length: int | None = None) -> Any:
    """Two embeddings of the same ids, of which one has been read and turned into scores, and a second network
    behind both that pools in two ways."""
    ids = keras.Input((length,), dtype="int32")
    scores = layers.Dense(2)(both(cells.ugrnn)(ours.Embedding(9, 5, mask_zero=True)(ids)))
    dropped = layers.SpatialDropout1D(0.3)(ours.Embedding(9, 3, mask_zero=True)(ids))
    joined = layers.Concatenate()([scores, dropped])
    hidden = layers.Bidirectional(ours.GRU(3, return_sequences=True))(joined)
    pooled = [ours.MaskedPooling1D("max_mean")(hidden), ours.MaskedPooling1D("sum")(joined)]
    return network_of(ids, layers.Dense(1, "sigmoid")(layers.Concatenate()(pooled)))


def test_two_embeddings_of_the_same_ids_and_two_ways_to_pool(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    network = taught()
    chain = "Embedding Bidirectional Dense Embedding Concatenate"
    model = same(network, IDS, f"{chain} Bidirectional Pooling Pooling Concatenate Dense")
    assert model.labels == (0, 1)
    assert model.masks
    network.save(tmp_path / "network.keras")
    again = keras.saving.load_model(tmp_path / "network.keras")
    stepfold.export(again, tmp_path / "network.safetensors")
    loaded = stepfold.load(tmp_path / "network.safetensors")
    np.testing.assert_array_equal(loaded.run(IDS), model.run(IDS))
    stepfold.export(again, tmp_path / "network.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "network.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(["output"], {"ids": IDS.astype(np.int32)})
    np.testing.assert_allclose(found, arrays(network(IDS, training=False))[0], atol=1e-5)
    texts = to_model(network, vocabulary=KerasWords(("a", "b", "c", "d")), length=6, labels=["no", "yes"])
    (expected,) = arrays(network(np.array([[0, 0, 0, 1, 4, 2]]), training=False))
    np.testing.assert_allclose(texts.predict_proba(["a unheard"])[:, 1:], expected, rtol=1e-5)
    np.testing.assert_allclose(texts.explain("a unheard").outputs[-1, 1:], expected[0], rtol=1e-5)


def test_skip_connections_in_a_row_and_within_one_another() -> None:
    given = keras.Input((6, 3))
    x = given
    for _ in range(2):
        x = layers.Concatenate()([x, layers.GRU(2, return_sequences=True)(x)])
    inner = layers.Concatenate()([layers.Dense(2, "tanh")(x), x])
    x = layers.Concatenate(axis=2)([inner, layers.Dropout(0.5)(x), layers.LSTM(3, return_sequences=True)(x)])
    last = [layers.GlobalMaxPooling1D()(x), layers.GlobalAveragePooling1D()(x), layers.LSTM(2)(x)]
    model = same(network_of(given, layers.Concatenate(axis=1)(last)), VALUES)
    assert [len(each.branches) for each in model.layers if isinstance(each, ConcatenateLayer)] == [2, 2, 3, 3]
    shared = layers.GRU(2)(given)  # read by two of three branches, so that each has it
    shared = layers.Concatenate()([shared])  # of one: nothing
    tops = [layers.Dense(2)(shared), layers.Dense(3, "relu")(shared), layers.LSTM(2)(given)]
    same(
        network_of(given, ops.concatenate(tops, axis=-1)),
        VALUES,
        "Recurrent Dense Recurrent Dense Recurrent Concatenate",
    )


def test_masks_that_agree_and_masks_that_do_not() -> None:
    given = keras.Input((6, 3))
    masked = layers.Masking()(given)
    lstm, twice = (
        layers.LSTM(2, return_sequences=True),
        layers.Bidirectional(layers.GRU(2, return_sequences=True)),
    )
    network = network_of(
        given, ours.MaskedPooling1D()(layers.Concatenate()([masked, lstm(masked), twice(masked)]))
    )
    same(network, VALUES)
    # where a branch masks nothing, every timestep counts
    some = layers.Concatenate()([given, layers.LSTM(2, return_sequences=True)(masked)])
    same(network_of(given, ours.MaskedPooling1D("mean")(some)), VALUES)
    ids = keras.Input((6,), dtype="int32")
    embedded = [layers.Embedding(9, 2, mask_zero=each)(ids) for each in (True, False)]
    model = same(network_of(ids, layers.GRU(3)(layers.Concatenate()(embedded))), IDS)
    assert not model.masks
    assert isinstance(model.layers[0], ConcatenateLayer)
    assert isinstance(model.layers[0].branches[1][0], EmbeddingLayer)
    with pytest.raises(ValueError, match="its inputs mask different timesteps, at which Keras has zeros"):
        to_model(keras.Model(given, ours.MaskedPooling1D()(layers.Concatenate()([given, twice(masked)]))))


@pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask")
def test_models_of_models_and_a_mask_as_an_input() -> None:
    step = keras.Input((None, 3))
    inner = keras.Model(step, layers.Concatenate()([step, ours.LSTM(2, return_sequences=True)(step)]))
    values, mask = keras.Input((None, 3)), keras.Input((None,), dtype="bool")
    hidden = ours.WithMask()([values, mask])
    pooled = [ours.MaskedPooling1D("sum")(inner(hidden)), ours.MaskedPooling1D("max")(hidden)]
    network = randomised(keras.Model([values, mask], layers.Concatenate()(pooled)))
    active = mask_of(5, 6, "holes")
    (expected,) = arrays(network([random(5, 6, 3), active], training=False))
    np.testing.assert_allclose(to_model(network).run(random(5, 6, 3), active), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_a_loaded_model_of_many_masks_in_a_row_is_read_at_once(tmp_path: Path) -> None:
    ids = keras.Input((6,), dtype="int32")
    x = ours.Embedding(9, 2, mask_zero=True)(ids)
    for _ in range(16):  # of which each mask is made of the one before it, twice
        x = layers.Concatenate()([layers.Dense(1)(x), layers.Activation("tanh")(x)])
    network = keras.Model(ids, ours.GRU(2)(x))
    network.save(tmp_path / "network.keras")
    again = keras.saving.load_model(tmp_path / "network.keras")
    assert len(to_model(again).layers) == 18


def _two_inputs() -> Any:
    first, second = keras.Input((6, 3), name="a"), keras.Input((6, 3), name="b")
    return keras.Model([first, second], layers.LSTM(2)(layers.Concatenate(name="c")([first, second])))


def _branches(*branches: Any, **options: Any) -> Any:
    given = keras.Input((6, 3))
    return keras.Model(given, layers.Concatenate(name="c", **options)([each(given) for each in branches]))


def _dropped() -> Any:
    masked = layers.Masking()(given := keras.Input((6, 3)))
    both = ops.concatenate([masked, layers.GRU(2, return_sequences=True)(masked)], axis=-1)
    return keras.Model(given, layers.GRU(2)(both))


def _mask_in_a_branch() -> Any:
    values, mask = keras.Input((6, 3)), keras.Input((6,), dtype="bool")
    both = layers.Concatenate()([values, ours.WithMask(name="m")([values, mask])])
    return keras.Model([values, mask], both)


def _ladder(steps: int) -> Any:
    one = other = given = keras.Input((6, 2))
    for _ in range(steps):
        one, other = (layers.Dense(1)(layers.Concatenate()([one, other])) for _ in range(2))
    return keras.Model(given, layers.Concatenate()([one, other]))


def _nested(depth: int) -> Any:
    x = given = keras.Input((6, 1))
    for _ in range(depth):
        x = layers.Concatenate()([given, x])
    return keras.Model(given, x)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_two_inputs, r"'c' \(Concatenate\) .* more than one input, and these come from no common one"),
        (
            lambda: _branches(layers.Identity(), layers.LSTM(3, return_sequences=True), axis=1),
            r"'c' \(Concatenate\) cannot be exported: axis=1 is not the last one",
        ),
        (
            lambda: _branches(layers.Identity(), layers.LSTM(3, return_sequences=True, go_backwards=True)),
            "one of its inputs has its timesteps in reverse",
        ),
        (
            lambda: _branches(layers.Identity(), layers.Conv1D(2, 1, name="v")),
            r"'v' \(Conv1D\) .* Concatenate, ",
        ),
        (_dropped, "takes the mask away from the layers behind it; use keras.layers.Concatenate"),
        (_mask_in_a_branch, r"'m' \(WithMask\) .* in one of several branches; give it what all of them read"),
        (lambda: _nested(17), "concatenations lie more than 16 deep within one another"),
        (lambda: _ladder(12), "with all branches the model has over 1,000 calls of layers"),
    ],
)
def test_what_cannot_be_said_is_named(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_model(make())
