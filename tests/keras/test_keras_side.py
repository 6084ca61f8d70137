"""Side features beside embedded tokens: the numbers of the dense concatenation, and which path ran."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras_helpers import BACKEND, LAYERS, Ran, arrays, close, kernels, quiet, random, randomised, weights_of

import stepfold.keras
from stepfold.keras import Embedding, SideFeatures

pytestmark = quiet
WORDS, FEATURES, UNITS, SIDE = 11, 3, 4, 2
IDS = np.random.default_rng(0).integers(0, WORDS, size=(5, 7)).astype(np.int32)
IDS[:, 3] = 2  # a word that comes often: its gradients add up
IDS[1, :4] = 0
BESIDE = random(5, 7, SIDE, seed=8)


def model(layer: Any, *, ours: bool, mask_zero: bool = False, trained_side: bool = False) -> Any:
    """Ids and side features into a recurrent layer; `trained_side`: they come from weights."""
    ids, side = keras.Input((None,), dtype="int32"), keras.Input((None, SIDE))
    embedding = (Embedding if ours else keras.layers.Embedding)(WORDS, FEATURES, mask_zero=mask_zero)
    beside = keras.layers.Dense(SIDE)(side) if trained_side else side
    vectors = embedding(ids)
    if ours:
        both = SideFeatures()([vectors, beside])
        mask = None
    else:
        both = keras.ops.concatenate([vectors, beside], -1)
        mask = keras.ops.not_equal(ids, 0) if mask_zero else None
    outputs = layer(both) if mask is None else layer(both, mask=mask)
    return randomised(keras.Model([ids, side], outputs))


def gradients(made: Any) -> tuple[Any, list[Any]]:
    """What a model gives, and the gradients of its weights and side features."""
    if BACKEND == "jax":
        import jax

        def function(weights: Any, side: Any) -> Any:
            results, _ = made.stateless_call(weights, fixed, [IDS, side])
            weighted = [
                (r * random(*r.shape, seed=n)).sum() for n, r in enumerate(keras.tree.flatten(results))
            ]
            return sum(weighted), results

        weights = [v.value for v in made.trainable_variables]
        fixed = [v.value for v in made.non_trainable_variables]
        found, results = jax.jit(jax.grad(function, argnums=(0, 1), has_aux=True))(weights, BESIDE)
        return results, arrays(found)
    import torch

    side = torch.tensor(BESIDE, requires_grad=True)
    results = made([torch.tensor(IDS), side])
    flat = keras.tree.flatten(results)
    total = sum((r * torch.tensor(random(*r.shape, seed=n))).sum() for n, r in enumerate(flat))
    leaves = [*(v.value for v in made.trainable_variables), side]
    return results, [g.numpy() for g in torch.autograd.grad(total, leaves)]


def paths(ran: Ran) -> set[tuple[bool, bool]]:
    assert ran
    return {(key.recipe.tokens, key.recipe.side) for key in (*ran.forward, *ran.backward)}


def compare(make: Any, **options: Any) -> list[Any]:
    """Compare everything with the dense layer; returns what the programs that ran were recorded for."""
    ours, dense = (model(make(), ours=which, **options) for which in (True, False))
    with kernels() as ran:
        found = gradients(ours)
    assert paths(ran) == {(True, True)}
    keys = [*ran.forward, *ran.backward]
    with kernels() as other:
        expected = gradients(dense)
    assert paths(other) == {(False, False)}
    close(found[0], expected[0])
    close(found[1], expected[1])
    return keys


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("mask_zero", [False, True])
def test_tokens_and_side_features_reach_the_kernels(name: str, mask_zero: bool) -> None:
    make = getattr(stepfold.keras, name)
    keys = compare(lambda: make(UNITS, return_sequences=True), mask_zero=mask_zero)
    assert [key.recipe.active for key in keys] == ["mask" if mask_zero else "all"] * 2


@pytest.mark.parametrize("trained_side", [False, True])
def test_directions_states_and_dropout(trained_side: bool) -> None:
    options = {"trained_side": trained_side, "mask_zero": True}
    assert len(compare(lambda: keras.layers.Bidirectional(stepfold.keras.LSTM(UNITS)), **options)) == 4
    compare(lambda: stepfold.keras.GRU(UNITS, go_backwards=True, return_state=True), **options)
    compare(lambda: stepfold.keras.Recurrent("layer_norm_lstm", UNITS), **options)


def test_rows_share_no_prefix() -> None:
    assert not any(key.recipe.shares for key in compare(lambda: stepfold.keras.LSTM(UNITS)))


@pytest.mark.parametrize("change", ["other embedding", "between", "twice", "behind"])
def test_anything_else_takes_the_vectors(change: str) -> None:
    ids, side = keras.Input((None,), dtype="int32"), keras.Input((None, SIDE))
    vectors = (keras.layers.Embedding if change == "other embedding" else Embedding)(WORDS, FEATURES)(ids)
    vectors = keras.layers.LayerNormalization()(vectors) if change == "between" else vectors
    both = SideFeatures()([vectors, side])
    both = SideFeatures()([both, side]) if change == "twice" else both
    both = keras.layers.LayerNormalization()(both) if change == "behind" else both
    made = keras.Model([ids, side], stepfold.keras.GRU(UNITS)(both))
    with kernels() as ran:
        made([IDS, BESIDE])
    assert paths(ran) == {(False, False)}


def test_training_saving_and_half_precision(tmp_path: Path) -> None:
    ours, dense = (model(stepfold.keras.LSTM(UNITS), ours=which, mask_zero=True) for which in (True, False))
    for trained in (ours, dense):
        trained.compile(keras.optimizers.SGD(0.5), "mse")
        trained.fit([IDS, BESIDE], np.ones((5, UNITS)), epochs=3, batch_size=5, shuffle=False, verbose=0)
    close(weights_of(ours), weights_of(dense), 1e-4)
    path = tmp_path / "model.keras"
    ours.save(path)
    loaded = keras.saving.load_model(path)
    close(loaded.predict([IDS, BESIDE], verbose=0), dense.predict([IDS, BESIDE], verbose=0), 1e-4)
    layer = SideFeatures(dtype="mixed_bfloat16")
    assert layer.get_config()["dtype"]
    vectors = Embedding(WORDS, FEATURES, dtype="mixed_bfloat16")(IDS)
    found = layer([vectors, BESIDE])
    assert keras.backend.standardize_dtype(found.dtype) == "bfloat16"


@pytest.mark.skipif(BACKEND != "jax", reason="about JAX")
@pytest.mark.parametrize(
    ("shape", "text"),
    [
        ((5, 7, 1), "weight 0 has shape"),
        ((5, 6, 2), r"side features has shape \(5, 6, 2\), expected \(5, 7, 2\)"),
        ((7, 2), r"side features has shape \(7, 2\), expected \(5, 7, 2\)"),
        ((), r"side features has shape \(\), expected"),
        (None, r"side features has shape \(4, 5\), expected"),
    ],
)
def test_what_the_handler_refuses(shape: Any, text: str) -> None:
    import jax.numpy as jnp
    from jax import ShapeDtypeStruct

    from stepfold import cells
    from stepfold._runtime import Recipe
    from stepfold.keras._xla import Attributes, call

    recipe = Recipe.of(cells.simple_rnn.step, UNITS, tokens=True, side=True)
    side = [] if shape is None else [jnp.zeros(shape)]
    weights = [jnp.zeros((UNITS, FEATURES + SIDE)), jnp.zeros((UNITS, UNITS)), jnp.zeros(UNITS)]
    given = [jnp.zeros((WORDS, FEATURES)), jnp.asarray(IDS), *side, *weights]
    with pytest.raises(Exception, match=text):
        np.asarray(call(Attributes(recipe.text), given, [ShapeDtypeStruct((5, UNITS), "float32")])[0])


def test_what_side_features_refuse() -> None:
    vectors = np.zeros((5, 7, 3), np.float32)
    layer = SideFeatures(name="beside")
    assert layer.compute_output_shape([(None, 7, 3), (None, 7, 2)]) == (None, 7, 5)
    with pytest.raises(ValueError, match=r"'beside' takes a list of two, \[vectors, side_features\]"):
        layer(vectors)
    with pytest.raises(ValueError, match=r"shape \(5, 7, 3\) and side features of shape \(5, 6, 2\)"):
        layer([vectors, np.zeros((5, 6, 2), np.float32)])
