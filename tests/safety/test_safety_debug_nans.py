"""JAX_DEBUG_NANS: residuals that no active step wrote are not taken for NaN."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from safety_helpers import alone

NAN_EVERYWHERE = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "1000000000",
                  "MALLOC_TRIM_THRESHOLD_": "1000000000", "MALLOC_TOP_PAD_": "300000000"}  # fmt: skip
"""With these glibc hands out memory that was used before, as it was left."""


def leave_nan() -> None:
    """Fill memory that will be handed out next with NaN."""
    for size in (1 << 24, 1 << 20, 1 << 16, 1 << 12):
        held = [np.full(size, np.nan, np.float32) for _ in range(3)]
        del held
    assert np.isnan(np.empty(1 << 16, np.float32)).any()


def train(jitted: bool) -> None:
    """What the test below runs: training steps of masked layers, under jit or not."""
    import jax
    import keras

    import stepfold.keras

    assert jax.config.jax_debug_nans
    ids = np.random.default_rng(0).integers(1, 50, (20, 30)).astype(np.int32)
    for row, length in enumerate(np.linspace(0, 30, 20).astype(int)):
        ids[row, length:] = 0
    for embedding in (stepfold.keras.Embedding(50, 8, mask_zero=True),
                      keras.layers.Embedding(50, 8, mask_zero=True)):  # fmt: skip
        layers = [
            stepfold.keras.LSTM(16, return_sequences=True),
            stepfold.keras.GRU(12),
            keras.layers.Dense(1),
        ]
        model = keras.Sequential([keras.Input((None,), dtype="int32"), embedding, *layers])
        fixed = [v.value for v in model.non_trainable_variables]
        weights = [v.value for v in model.trainable_variables]

        def loss(weights: Any, model: Any = model, fixed: Any = fixed) -> Any:
            return (model.stateless_call(weights, fixed, ids)[0] ** 2).mean()

        derived = jax.value_and_grad(loss)
        derived = jax.jit(derived) if jitted else derived
        for _ in range(3):
            leave_nan()
            value, gradients = derived(weights)
            assert np.isfinite(value)
            assert all(np.isfinite(g).all() for g in gradients)
            weights = [w - 0.1 * g for w, g in zip(weights, gradients, strict=True)]
    if jitted:
        model.compile(keras.optimizers.SGD(0.1), "mse")
        leave_nan()
        assert np.isfinite(model.train_on_batch(ids, np.zeros((20, 1), np.float32)))


@pytest.mark.parametrize("jitted", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_masked_training_step_raises_no_false_alarm(jitted: bool) -> None:
    settings = {"KERAS_BACKEND": "jax", "JAX_DEBUG_NANS": "True"}
    alone(train, jitted, environment=NAN_EVERYWHERE | settings)


def true_alarm() -> None:
    """What the test below runs: inputs that are NaN."""
    import jax

    import stepfold.keras

    layer = stepfold.keras.LSTM(4)
    layer(np.zeros((2, 3, 3), np.float32))
    try:
        jax.block_until_ready(layer(np.full((2, 3, 3), np.nan, np.float32)))
    except FloatingPointError:
        return
    raise AssertionError("NaN came out and nobody said so")


@pytest.mark.slow
def test_a_true_alarm_is_raised() -> None:
    alone(true_alarm, environment={"KERAS_BACKEND": "jax", "JAX_DEBUG_NANS": "True"})
