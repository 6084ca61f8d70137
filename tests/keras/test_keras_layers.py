"""SimpleRNN, LSTM and GRU against Keras's own: every option, forward and gradients, on the backend set."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

import keras
import numpy as np
import pytest
from keras_helpers import (
    BACKEND,
    LAYERS,
    arrays,
    close,
    compare,
    kernels,
    mask_of,
    pair,
    quiet,
    random,
    randomised,
    weights_of,
)

import stepfold.keras
import stepfold.model
from stepfold.keras._activations import function_of

pytestmark = quiet
BATCH, TIME, FEATURES, UNITS = 4, 6, 3, 5
SHAPE = (BATCH, TIME, FEATURES)
OPTIONS: list[dict[str, Any]] = [
    {},
    {"return_sequences": True},
    {"return_state": True},
    {"return_sequences": True, "return_state": True, "go_backwards": True},
    {"go_backwards": True},
    {"use_bias": False, "unroll": True},
    {"activation": "relu", "return_sequences": True},
]


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_options(name: str, options: dict[str, Any]) -> None:
    compare(*pair(name, UNITS, SHAPE, **options), random(*SHAPE))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("LSTM", {"unit_forget_bias": False}),
        ("LSTM", {"recurrent_activation": "hard_sigmoid", "activation": None}),
        ("GRU", {"reset_after": False}),
        ("GRU", {"reset_after": False, "use_bias": False, "return_sequences": True}),
        ("GRU", {"recurrent_activation": "hard_sigmoid", "activation": "silu"}),
    ],
    ids=str,
)
def test_options_of_one_layer(name: str, options: dict[str, Any]) -> None:
    compare(*pair(name, UNITS, SHAPE, **options), random(*SHAPE))


PARAMETERISED = [
    partial(keras.activations.elu, alpha=0.6),
    partial(keras.activations.threshold, threshold=0.1, default_value=-0.2),
    partial(keras.activations.gelu, approximate=True),
    keras.ops.gelu,
    keras.ops.tanh,
    keras.layers.LeakyReLU(0.1),
    keras.layers.ReLU(max_value=0.3, negative_slope=0.2, threshold=0.05),
    keras.layers.Activation("mish"),
]


def named(activation: Any) -> str:
    return getattr(activation, "__name__", None) or str(activation).split(" at ")[0]


@pytest.mark.parametrize("activation", ["elu", "gelu", "softmax", "mish", PARAMETERISED[1]], ids=named)
def test_activations(activation: Any) -> None:
    compare(*pair("SimpleRNN", UNITS, SHAPE, activation=activation), random(*SHAPE))


@pytest.mark.slow
@pytest.mark.parametrize("activation", [*stepfold.model.ACTIVATIONS, *PARAMETERISED], ids=named)
def test_every_activation(activation: Any) -> None:
    compare(*pair("GRU", UNITS, SHAPE, activation=activation), random(*SHAPE))


def test_every_activation_is_keras_s_function() -> None:
    values = np.linspace(-8, 8, 161, dtype=np.float32).reshape(7, 23) + np.float32(0.01)
    for activation in [*stepfold.model.ACTIVATIONS, *PARAMETERISED]:
        theirs = keras.activations.get(activation)
        ours = function_of(theirs)
        assert ours is not None, activation
        close(ours(values), theirs(values), 1e-6)


def test_activations_that_stepfold_has_not() -> None:
    assert function_of(keras.activations.relu) is stepfold.relu
    assert function_of(keras.layers.ReLU()) is stepfold.relu
    assert function_of(partial(keras.activations.elu, alpha=0.5)) == function_of(keras.layers.ELU(0.5))
    for activation in (
        keras.activations.sparsemax,
        keras.activations.glu,
        keras.activations.threshold,
        partial(keras.activations.softmax, axis=0),
        partial(keras.activations.elu, alpha=np.ones(5)),
        partial(keras.activations.elu, beta=2.0),
        partial(keras.activations.elu, 2.0),
        keras.layers.PReLU(),
        keras.layers.Softmax(axis=1),
    ):
        assert function_of(activation) is None, activation


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("kind", ["left", "right", "holes"])
@pytest.mark.parametrize(
    "options",
    [{}, {"return_sequences": True, "return_state": True}, {"go_backwards": True, "return_sequences": True}],
    ids=str,
)
def test_masks(name: str, kind: str, options: dict[str, Any]) -> None:
    own, ours = pair(name, UNITS, SHAPE, **options)
    compare(own, ours, random(*SHAPE), mask=mask_of(BATCH, TIME, kind))


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("options", [{"return_sequences": True}, {"go_backwards": True}, {}], ids=str)
def test_zero_output_for_mask(name: str, options: dict[str, Any]) -> None:
    own, ours = pair(name, UNITS, SHAPE, zero_output_for_mask=True, **options)
    compare(own, ours, random(*SHAPE), mask=mask_of(BATCH, TIME, "holes"))


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("kind", [None, "right"])
def test_initial_state(name: str, kind: str | None) -> None:
    own, ours = pair(name, UNITS, SHAPE, return_state=True)
    states = [random(BATCH, UNITS, seed=n) for n in range(len(own.state_size))]
    mask = None if kind is None else mask_of(BATCH, TIME, kind)
    if mask is not None and BACKEND != "jax":
        mask[:, 0] = (
            True  # there Keras alone forgets the initial state in its outputs before a row's first real step
        )
    compare(own, ours, random(*SHAPE), states, mask=mask)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize(
    "options",
    [{"dropout": 0.4}, {"recurrent_dropout": 0.4}, {"dropout": 0.3, "recurrent_dropout": 0.4}],
    ids=str,
)
def test_dropout_is_keras_s_own_with_the_same_seed(name: str, options: dict[str, Any]) -> None:
    own, ours = pair(name, UNITS, SHAPE, seed=7, return_sequences=True, **options)
    compare(own, ours, random(*SHAPE), training=True, mask=mask_of(BATCH, TIME, "right"))
    compare(*pair(name, UNITS, SHAPE, seed=7, **options), random(*SHAPE), training=False)


def test_dropout_drops_in_training_only() -> None:
    layer = randomised_lstm(dropout=0.5, recurrent_dropout=0.5, seed=1)
    still = [arrays(layer(random(*SHAPE)))[0] for _ in range(2)]
    moved = [arrays(layer(random(*SHAPE), training=True))[0] for _ in range(2)]
    np.testing.assert_array_equal(*still)
    assert np.abs(moved[0] - still[0]).max() > 1e-3
    assert np.abs(moved[0] - moved[1]).max() > 1e-3


def randomised_lstm(**options: Any) -> Any:
    layer = stepfold.keras.LSTM(UNITS, **options)
    layer.build(SHAPE)
    return randomised(layer)


@pytest.mark.parametrize("name", LAYERS)
def test_stateful(name: str) -> None:
    own, ours = pair(name, UNITS, SHAPE, stateful=True, return_sequences=True)
    for part in range(3):
        inputs = random(*SHAPE, seed=part)
        close(ours(inputs), own(inputs))
    ours.reset_state()
    own.reset_state()
    close(ours(random(*SHAPE)), own(random(*SHAPE)))


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 3), (3, 9, 1)], ids=str)
def test_odd_sizes(name: str, shape: tuple[int, int, int]) -> None:
    compare(*pair(name, 1, shape, return_sequences=True), random(*shape))


@pytest.mark.parametrize("name", LAYERS)
def test_arguments_defaults_weights_and_configuration_are_keras_s(name: str) -> None:
    own, ours = getattr(keras.layers, name), getattr(stepfold.keras, name)
    assert inspect.signature(ours) == inspect.signature(own)
    options = {
        "kernel_initializer": "he_normal",
        "recurrent_initializer": keras.initializers.Orthogonal(2.0, seed=1),
        "bias_initializer": "ones",
        "kernel_regularizer": "l2",
        "recurrent_regularizer": keras.regularizers.L1(0.1),
        "bias_regularizer": "l1",
        "activity_regularizer": "l2",
        "kernel_constraint": "max_norm",
        "recurrent_constraint": "non_neg",
        "bias_constraint": "unit_norm",
        "dropout": 0.1,
        "recurrent_dropout": 0.2,
        "return_sequences": True,
        "return_state": True,
        "go_backwards": True,
        "zero_output_for_mask": True,
        "seed": 3,
        "name": "mine",
    }
    if name == "SimpleRNN":
        del options["activity_regularizer"]  # which Keras's own takes and forgets
    one, other = ours(UNITS, **options), own(UNITS, **options)
    config = other.get_config()
    assert {**one.get_config(), "seed": 3} == {**config, "seed": 3}
    assert ours.from_config(one.get_config()).get_config() == one.get_config()
    one.build(SHAPE)
    other.build(SHAPE)
    assert [(w.path, w.shape) for w in one.weights] == [(w.path, w.shape) for w in other.weights]
    for argument in ("units", "activation", "use_bias", "dropout", "kernel_regularizer"):
        assert type(getattr(one, argument)) is type(getattr(other, argument))


@pytest.mark.parametrize("name", LAYERS)
def test_seeded_initial_weights_are_keras_s(name: str) -> None:
    made = []
    for module in (keras.layers, stepfold.keras):
        keras.utils.set_random_seed(5)
        layer = getattr(module, name)(UNITS)
        layer.build(SHAPE)
        made.append(weights_of(layer))
    for one, other in zip(*made, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", LAYERS)
def test_regularizers_and_activity(name: str) -> None:
    options = {"kernel_regularizer": "l2", "recurrent_regularizer": "l1", "activity_regularizer": "l2"}
    own, ours = pair(name, UNITS, SHAPE, **options)
    own(random(*SHAPE))
    outputs = arrays(ours(random(*SHAPE)))[0]
    assert len(ours.losses) == 3
    close(ours.losses[-2:], own.losses[-2:])
    close(
        arrays(ours.losses[0]), [np.float32(0.01 * (outputs**2).sum() / BATCH)]
    )  # Keras's own SimpleRNN forgets it


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "float16"])
def test_half_precision_results_have_the_policy_s_dtype(policy: str) -> None:
    options = {
        "recurrent_initializer": "glorot_uniform",
        "return_sequences": True,
    }  # there is no half-precision QR
    own, ours = pair("LSTM", UNITS, SHAPE, dtype=policy, **options)
    with kernels() as ran:
        found = ours(random(*SHAPE))
    expected = own(random(*SHAPE))
    assert ran
    assert keras.backend.standardize_dtype(found.dtype) == keras.backend.standardize_dtype(expected.dtype)
    difference = arrays(keras.ops.cast(found, "float32"))[0] - arrays(keras.ops.cast(expected, "float32"))[0]
    assert np.abs(difference).max() < 3e-2


def test_wrong_arguments_name_the_layer() -> None:
    with pytest.raises(TypeError, match="LSTM: missing a required argument: 'units'"):
        stepfold.keras.LSTM()
    with pytest.raises(ValueError, match="units"):
        stepfold.keras.LSTM(0)
    with pytest.raises(ValueError, match="no_such"):
        stepfold.keras.GRU(3, no_such=1)
    with pytest.raises(ValueError, match="ndim"):
        stepfold.keras.GRU(3)(random(2, 3))


def test_nan_propagates_and_stays_in_its_row() -> None:
    layer = randomised_lstm()
    inputs = random(*SHAPE)
    inputs[1, 2, 0] = np.nan
    outputs = arrays(layer(inputs))[0]
    assert np.isnan(outputs[1]).all()
    assert np.isfinite(np.delete(outputs, 1, 0)).all()


@pytest.mark.parametrize("name", ["LSTM", "GRU"])
def test_use_cudnn_is_an_attribute_and_no_part_of_the_configuration(name: str) -> None:
    layer = getattr(stepfold.keras, name)
    assert layer(2).use_cudnn == "auto"
    made = layer(2, use_cudnn=False)
    assert made.use_cudnn is False
    both = keras.layers.Bidirectional(made)
    assert both.forward_layer.use_cudnn is both.backward_layer.use_cudnn is False
    assert "use_cudnn" not in made.get_config()
    assert not hasattr(stepfold.keras.SimpleRNN(2), "use_cudnn")
