"""Pooling over time and dropout of words: against NumPy, in models, saved and loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras_helpers import BACKEND, arrays, kernels, mask_of, quiet, random

import stepfold.keras
from stepfold.keras import MaskedPooling1D, WordDropout

pytestmark = quiet


def pooled(values: Any, mask: Any, kind: str) -> Any:
    """What the layer means, row by row."""
    found = []
    for row, active in zip(values, mask, strict=True):
        steps = row[active].astype(np.float64)
        nothing = np.zeros(row.shape[1])
        each = {
            "max": steps.max(axis=0) if len(steps) else nothing,
            "mean": steps.mean(axis=0) if len(steps) else nothing,
            "sum": steps.sum(axis=0),
        }
        found.append(np.concatenate([each[k] for k in kind.split("_")]))
    return np.array(found).reshape(len(values), -1)


@pytest.mark.parametrize("kind", ["max", "mean", "sum", "max_mean"])
@pytest.mark.parametrize("mask", ["left", "right", "holes", None])
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_pooling_is_numpy_s(kind: str, mask: str | None, dtype: str) -> None:
    values = random(6, 9, 5) - 3.0  # below zero, so that a padded zero would be the maximum
    active = np.ones((6, 9), bool) if mask is None else mask_of(6, 9, mask)
    layer = MaskedPooling1D(kind, dtype=dtype)
    (found,) = arrays(layer(values, mask=None if mask is None else active))
    half = dtype.startswith("mixed")
    assert keras.backend.standardize_dtype(found.dtype) == layer.compute_dtype
    expected = pooled(values, active, kind)
    relative = 1e-2 if half and kind == "sum" else 1e-7
    np.testing.assert_allclose(found.astype(np.float64), expected, relative, atol=3e-2 if half else 4e-6)


def test_values_that_are_no_numbers_stay_masked_forward_and_backward() -> None:
    values, active = random(3, 4, 2), mask_of(3, 4, "right")  # row 0 is masked throughout
    values[~active] = np.nan
    layer = MaskedPooling1D()
    (found,) = arrays(layer(values, mask=active))
    np.testing.assert_allclose(found, pooled(values, active, "max_mean"), rtol=1e-5)
    assert not found[0].any()
    gradient = _gradient(layer, values, active)
    expected = np.zeros_like(values)
    for row, chosen in enumerate(active):
        for step in np.flatnonzero(chosen):
            best = values[row, step] == values[row, chosen].max(axis=0)
            expected[row, step] = best + 1 / chosen.sum()
    np.testing.assert_allclose(gradient, expected, rtol=1e-5)


def _gradient(layer: Any, values: Any, active: Any) -> Any:
    if BACKEND == "jax":
        import jax

        return jax.grad(lambda x: layer(x, mask=active).sum())(values)
    import torch

    given = torch.tensor(values, requires_grad=True)
    layer(given, mask=torch.tensor(active)).sum().backward()
    return given.grad.numpy()


def test_no_timestep_and_no_row() -> None:
    for shape in ((2, 0, 3), (0, 4, 3)):
        for mask in (None, np.ones(shape[:2], bool)):
            (found,) = arrays(MaskedPooling1D()(np.zeros(shape, np.float32), mask=mask))
            assert found.shape == (shape[0], 6)
            assert not found.any()


def test_the_mask_reaches_pooling_and_ends_there() -> None:
    model = keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            stepfold.keras.Embedding(7, 3, mask_zero=True),
            stepfold.keras.LSTM(4, return_sequences=True),
            MaskedPooling1D(),
        ]
    )
    assert model.output_shape == (None, 8)
    assert getattr(model.outputs[0], "_keras_mask", None) is None
    ids = np.array([[0, 0, 3, 4], [1, 2, 5, 6], [0, 0, 0, 0]], np.int32)
    outputs = keras.Sequential(model.layers[:-1])
    (steps,), (found,) = arrays(outputs(ids)), arrays(model(ids))
    np.testing.assert_allclose(found, pooled(steps, ids != 0, "max_mean"), rtol=1e-5, atol=1e-7)


def test_what_pooling_refuses() -> None:
    with pytest.raises(ValueError, match=r"kind must be one of 'max', 'mean', 'sum', 'max_mean', not 'min'"):
        MaskedPooling1D("min")
    with pytest.raises(ValueError, match="expected ndim=3, found ndim=2"):
        MaskedPooling1D()(np.zeros((2, 3), np.float32))
    with pytest.raises(
        ValueError, match=r"has shape \(2,\), expected \(batch, time\) for inputs \(2, 3, 4\)"
    ):
        MaskedPooling1D()(np.zeros((2, 3, 4), np.float32), mask=np.ones(2, bool))


IDS = np.random.default_rng(0).integers(0, 50, size=(40, 60)).astype(np.int32)


def test_words_become_unknown_in_training_at_the_rate_and_the_kept_ones_never() -> None:
    layer = WordDropout(0.3, seed=4)
    (found,) = arrays(layer(IDS, training=True))
    assert found.dtype == IDS.dtype
    changed = found != IDS
    assert (found[changed] == 2).all()
    assert not changed[IDS <= 1].any()
    rest = IDS > 2
    assert abs(changed[rest].mean() - 0.3) < 4 * np.sqrt(0.21 / rest.sum())
    (again,) = arrays(layer(IDS, training=True))
    assert (again != found).any()
    (other,) = arrays(WordDropout(0.3, seed=4)(IDS, training=True))
    np.testing.assert_array_equal(other, found)  # the same seed


@pytest.mark.parametrize("dtype", ["int32", "uint8", "float32"])
def test_words_stay_outside_training_and_keep_their_dtype(dtype: str) -> None:
    ids = IDS.astype(dtype)
    layer = WordDropout(1.0, unknown=5, keep=[7], dtype="mixed_bfloat16")
    np.testing.assert_array_equal(arrays(layer(ids))[0], ids)
    (found,) = arrays(layer(ids, training=True))
    assert found.dtype == ids.dtype
    np.testing.assert_array_equal(found, np.where(ids == 7, 7, 5))
    np.testing.assert_array_equal(arrays(WordDropout(0.0)(ids, training=True))[0], ids)


def test_the_embedding_behind_it_hands_on_ids() -> None:
    model = keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            WordDropout(0.5),
            stepfold.keras.Embedding(50, 3, mask_zero=True),
            stepfold.keras.GRU(4),
        ]
    )
    with kernels() as ran:
        model(IDS, training=True)
    assert [key.recipe.tokens for key in ran.forward] == [True]


def test_what_word_dropout_refuses() -> None:
    with pytest.raises(ValueError, match=r"rate must lie in 0…1, not 1\.5"):
        WordDropout(1.5)
    with pytest.raises(ValueError, match="unknown must be an id, an integer of at least 0, not -1"):
        WordDropout(0.1, unknown=-1)
    with pytest.raises(ValueError, match=r"keep must be an id, an integer of at least 0, not 1\.0"):
        WordDropout(0.1, keep=(1.0,))  # type: ignore[arg-type]


def test_both_survive_saving_and_train(tmp_path: Path) -> None:
    model = keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            WordDropout(0.25, unknown=3, keep=(0, 1, 2), seed=9),
            stepfold.keras.Embedding(50, 3, mask_zero=True),
            stepfold.keras.SimpleRNN(4, return_sequences=True),
            MaskedPooling1D("max"),
            keras.layers.Dense(1),
        ]
    )
    model.compile("sgd", "mse")
    model.fit(IDS, np.zeros((40, 1)), epochs=1, verbose=0)
    path = tmp_path / "model.keras"
    model.save(path)
    loaded = keras.saving.load_model(path)
    np.testing.assert_allclose(loaded.predict(IDS, verbose=0), model.predict(IDS, verbose=0), rtol=1e-6)
    config = loaded.layers[0].get_config()
    assert (config["rate"], config["unknown"], config["keep"], config["seed"]) == (0.25, 3, [0, 1, 2], 9)
    assert loaded.layers[3].get_config()["kind"] == "max"
