"""The embedding that hands on its ids: the same numbers and gradients, and proof of which path ran."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras_helpers import (
    BACKEND,
    LAYERS,
    Ran,
    arrays,
    close,
    kernels,
    only_torch,
    quiet,
    randomised,
    weights_of,
    with_gradients,
)

import stepfold.keras

pytestmark = quiet
WORDS, FEATURES, UNITS = 11, 3, 4
IDS = np.random.default_rng(0).integers(0, WORDS, size=(5, 7)).astype(np.int32)
IDS[:, 3] = 2  # a word that comes often: its gradients add up
IDS[1, :4] = 0


def model(embedding: Any, *layers: Any) -> Any:
    made = keras.Sequential([keras.Input((None,), dtype="int32"), embedding, *layers])
    return randomised(made)


def twin(*layers: Any, **embedding: Any) -> Any:
    """The same layers and weights behind Keras's own embedding."""
    return model(keras.layers.Embedding(WORDS, FEATURES, **embedding), *layers)


def used_tokens(ran: Ran) -> set[bool]:
    assert ran
    return {key.recipe.tokens for key in (*ran.forward, *ran.backward)}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("mask_zero", [False, True])
def test_tokens_reach_the_kernels_and_gradients_the_embedding(name: str, mask_zero: bool) -> None:
    make = getattr(stepfold.keras, name)
    ours = model(
        stepfold.keras.Embedding(WORDS, FEATURES, mask_zero=mask_zero), make(UNITS, return_sequences=True)
    )
    own = twin(make(UNITS, return_sequences=True), mask_zero=mask_zero)
    with kernels() as ran:
        found = with_gradients(ours, IDS)
    assert used_tokens(ran) == {True}
    with kernels() as ran:
        expected = with_gradients(own, IDS)
    assert used_tokens(ran) == {False}
    for one, other in zip(found, expected, strict=True):
        close(one, other)
    assert np.abs(found[1][0]).max() > 0.1  # the embedding's own


def test_both_directions_get_tokens() -> None:
    def two_way() -> Any:
        return keras.layers.Bidirectional(stepfold.keras.GRU(UNITS))

    with kernels() as ran:
        found = with_gradients(model(stepfold.keras.Embedding(WORDS, FEATURES), two_way()), IDS)
    assert used_tokens(ran) == {True}
    assert len(ran) == 4
    expected = with_gradients(twin(two_way()), IDS)
    for one, other in zip(found, expected, strict=True):
        close(one, other)


@pytest.mark.parametrize(
    "between",
    [keras.layers.Dropout(0.5), keras.layers.LayerNormalization(), keras.layers.Masking()],
    ids=lambda layer: type(layer).__name__,
)
def test_anything_between_takes_the_vectors(between: Any) -> None:
    between = type(between).from_config(between.get_config())
    ours = model(stepfold.keras.Embedding(WORDS, FEATURES), between, stepfold.keras.LSTM(UNITS))
    with kernels() as ran:
        ours(IDS, training=True)
    assert used_tokens(ran) == {False}


def test_dropout_of_inputs_takes_the_vectors_in_training_only() -> None:
    ours = model(stepfold.keras.Embedding(WORDS, FEATURES), stepfold.keras.LSTM(UNITS, dropout=0.5))
    with kernels() as ran:
        ours(IDS, training=True)
    assert used_tokens(ran) == {False}
    with kernels() as ran:
        ours(IDS)
    assert used_tokens(ran) == {True}


def test_a_frozen_embedding_and_a_frozen_layer() -> None:
    ours = model(stepfold.keras.Embedding(WORDS, FEATURES, trainable=False), stepfold.keras.LSTM(UNITS))
    with kernels() as ran:
        with_gradients(ours, IDS)
    (key,) = ran.backward
    assert not key.wanted.inputs
    assert all(key.wanted.weights)
    ours.layers[0].trainable, ours.layers[1].trainable = True, False
    with kernels() as ran:
        with_gradients(ours, IDS)
    (key,) = ran.backward
    assert key.wanted.inputs
    assert not any(key.wanted.weights)


def test_training_moves_the_embedding_as_keras_s_does() -> None:
    ours = model(stepfold.keras.Embedding(WORDS, FEATURES, mask_zero=True), stepfold.keras.LSTM(UNITS))
    own = twin(keras.layers.LSTM(UNITS), mask_zero=True)
    targets = np.random.default_rng(1).normal(size=(5, UNITS)).astype(np.float32)
    for trained in (ours, own):
        trained.compile(keras.optimizers.SGD(0.5), "mse")
        trained.fit(IDS, targets, epochs=3, batch_size=5, shuffle=False, verbose=0)
    close(weights_of(ours), weights_of(own), 1e-4)
    close(ours.predict(IDS, verbose=0), own.predict(IDS, verbose=0), 1e-4)


def test_lora_is_part_of_the_table() -> None:
    ours = model(stepfold.keras.Embedding(WORDS, FEATURES, lora_rank=2), stepfold.keras.LSTM(UNITS))
    own = twin(stepfold.keras.LSTM(UNITS), lora_rank=2)
    with kernels() as ran:
        found = with_gradients(ours, IDS)
    assert used_tokens(ran) == {True}
    for one, other in zip(found, with_gradients(own, IDS), strict=True):
        close(one, other)


@pytest.mark.parametrize("bad", [-1, WORDS])
def test_ids_outside_the_vocabulary_are_an_error(bad: int) -> None:
    ours = model(stepfold.keras.Embedding(WORDS, FEATURES), stepfold.keras.LSTM(UNITS))
    ids = IDS.copy()
    ids[2, 2] = bad
    if BACKEND == "torch":  # whose own gather looks first
        with pytest.raises(IndexError):
            ours(ids)
        return
    with pytest.raises(Exception, match="token ids must lie in 0…10, for the embedding has 11 rows"):
        arrays(ours.predict(ids, verbose=0))


def test_other_kinds_of_ids() -> None:
    layer = model(stepfold.keras.Embedding(WORDS, FEATURES), stepfold.keras.LSTM(UNITS))
    expected = layer.predict(IDS, verbose=0)
    for kind in ("int64", "float32", "uint8"):
        close(layer(IDS.astype(kind)), expected)
    assert stepfold.keras.Embedding(WORDS, FEATURES)(IDS[0]).shape == (7, FEATURES)


def test_a_shared_prefix_reaches_the_kernels() -> None:
    """A layer that begins at zero says so, and rows that begin with the same run of padding share it."""
    ours = model(stepfold.keras.Embedding(WORDS, FEATURES), stepfold.keras.LSTM(UNITS))
    own = twin(keras.layers.LSTM(UNITS))
    ids = np.random.default_rng(5).integers(1, WORDS, size=(6, 40)).astype(np.int32)
    for row, length in enumerate((3, 9, 20, 31, 38, 40)):
        ids[row, : 40 - length] = 0
    with kernels() as ran:
        found = with_gradients(ours, ids)
    (forward,), (backward,) = ran.forward, ran.backward
    assert forward.recipe.shares
    assert backward.recipe.shares
    for one, other in zip(found, with_gradients(own, ids), strict=True):
        close(one, other)


def test_dropout_of_the_table_keeps_the_ids() -> None:
    ours = model(stepfold.keras.Embedding(WORDS, FEATURES, dropout=0.5, seed=3), stepfold.keras.LSTM(UNITS))
    embedding, layer = ours.layers
    with kernels() as ran:
        found = ours(IDS, training=True)
    assert used_tokens(ran) == {True}
    twin_ = stepfold.keras.Embedding.from_config(embedding.get_config())
    twin_.build()
    twin_.set_weights([weights_of(embedding)[0], *weights_of(twin_)[1:]])
    (vectors,) = arrays(twin_(IDS, training=True))  # the same seed
    close(found, layer(keras.ops.convert_to_tensor(vectors)))
    table = weights_of(embedding)[0]
    seen = np.zeros_like(table)
    seen[IDS] = vectors
    np.testing.assert_array_equal(seen[IDS], vectors)  # a word has the same values wherever it stands
    scaled = np.isclose(seen, 2 * table, rtol=1e-6)
    assert (scaled | (seen == 0)).all()
    assert 0.2 < scaled[np.unique(IDS)].mean() < 0.8
    assert not np.array_equal(arrays(twin_(IDS, training=True))[0], vectors)
    close(twin_(IDS), keras.ops.convert_to_tensor(table[IDS]))  # nothing is dropped outside training


def test_dropout_of_the_table_trains(tmp_path: Path) -> None:
    ours = model(stepfold.keras.Embedding(WORDS, FEATURES, dropout=0.25, seed=3), stepfold.keras.LSTM(UNITS))
    before = weights_of(ours.layers[0])[0]
    ours.compile("sgd", "mse")
    ours.fit(IDS, np.ones((5, UNITS)), epochs=1, verbose=0)
    assert not np.array_equal(weights_of(ours.layers[0])[0], before)
    ours.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert (loaded.layers[0].dropout, loaded.layers[0].seed) == (0.25, 3)
    close(loaded.predict(IDS, verbose=0), ours.predict(IDS, verbose=0))
    with pytest.raises(ValueError, match=r"dropout must lie in 0…1, below 1, not 1\.0"):
        stepfold.keras.Embedding(WORDS, FEATURES, dropout=1.0)


@only_torch
def test_vectors_made_without_gradients() -> None:
    import torch

    ours = model(stepfold.keras.Embedding(WORDS, FEATURES), stepfold.keras.LSTM(UNITS))
    expected = arrays(ours(IDS))
    for mode in (torch.no_grad, torch.inference_mode):
        with mode(), kernels() as ran:
            found = ours(IDS)
        assert used_tokens(ran) == {True}
        close(found, expected)
    with torch.no_grad():
        vectors = ours.layers[0](IDS)
    ours.layers[1](vectors).sum().backward()
    assert ours.layers[0].embeddings.value.grad is None


@only_torch
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_under_torch_s_compiler() -> None:
    """It gives up on Keras's code and on ours, and looks into every call below: not into native code's."""
    ours = model(stepfold.keras.Embedding(WORDS, FEATURES), stepfold.keras.LSTM(UNITS))
    own = twin(keras.layers.LSTM(UNITS))
    for trained in (ours, own):
        trained.compile(keras.optimizers.SGD(0.5), "mse", jit_compile=trained is ours)
        trained.fit(IDS, np.ones((5, UNITS)), epochs=2, batch_size=5, shuffle=False, verbose=0)
    close(weights_of(ours), weights_of(own), 1e-4)
