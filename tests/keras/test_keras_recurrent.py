"""Any cell as a layer: its weights, options, and the same numbers as the cell's own definition."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras_helpers import (
    close,
    compare,
    kernels,
    mask_of,
    quiet,
    random,
    randomised,
    weights_of,
    with_gradients,
)

import stepfold
import stepfold.keras
from stepfold import cells
from stepfold._ops import TABLE
from stepfold.keras._activations import OPERATIONS
from tests.kinds import KINDS

pytestmark = quiet
SHAPE = (4, 6, 3)
UNITS = 5


def layer_of(cell: Any, **options: Any) -> Any:
    layer = stepfold.keras.Recurrent(cell, UNITS, **options)
    layer.build(SHAPE)
    return randomised(layer)


def in_keras_s_loop(layer: Any) -> Any:
    """The same layer and weights, run by Keras's own loop over the cell's graph in Keras's operations."""
    other = type(layer).from_config(layer.get_config())
    other.build(SHAPE)
    other.set_weights(weights_of(layer))
    other.inner_loop = other.keras_loop
    return other


@pytest.mark.parametrize("name", KINDS)
def test_every_cell_against_keras_s_loop(name: str) -> None:
    layer = layer_of(name, return_sequences=True, return_state=True)
    compare(in_keras_s_loop(layer), layer, random(*SHAPE), mask=mask_of(4, 6, "holes"))


@pytest.mark.parametrize("given", [None, "glorot_uniform", keras.initializers.RandomNormal()])
def test_every_parameter_begins_with_values_of_its_own(given: Any) -> None:
    layer = stepfold.keras.Recurrent("lstm", UNITS, kernel_initializer=given, recurrent_initializer=given)
    layer.build(SHAPE)
    kernels_of_gates = [w.tobytes() for w in weights_of(layer) if w.ndim == 2]
    assert len(set(kernels_of_gates)) == len(kernels_of_gates) == 8


@stepfold.cell(kernels={"U": ("identity", 2.0), "W": ("normal", 0.001)})
def begins_so(x, h, *, W, U):
    return stepfold.tanh(W @ x + U @ h)


def test_kernels_begin_as_the_cell_says() -> None:
    layer = stepfold.keras.Recurrent(begins_so, 50)
    layer.build((None, None, 40))
    W, U = weights_of(layer)
    np.testing.assert_array_equal(U, 2 * np.eye(50))
    assert 0.0009 < W.std() < 0.0011


@pytest.mark.parametrize("name", KINDS)
def test_weights_are_the_cell_s_parameters(name: str) -> None:
    layer = stepfold.keras.Recurrent(cells.by_name(name), UNITS, name="it")
    layer.build(SHAPE)
    expected = cells.by_name(name).parameter_shapes(features=3, units=UNITS)
    assert {w.path.rsplit("/")[-1]: tuple(w.shape) for w in layer.weights} == expected
    for (weight, shape), (parameter, dims) in zip(
        ((w, w.shape) for w in weights_of(layer)), cells.by_name(name).step.parameters.items(), strict=True
    ):
        if cells.by_name(name).step.kernels.get(parameter) == ("identity", 1.0):
            np.testing.assert_array_equal(weight, np.eye(UNITS))
        elif dims == ("units", "units"):
            np.testing.assert_allclose(weight @ weight.T, np.eye(UNITS), atol=1e-5)
        elif dims == ("units", "features"):
            assert 0 < np.abs(weight).max() <= np.sqrt(6 / sum(shape))
        else:
            np.testing.assert_array_equal(weight, cells.by_name(name).step.vectors.get(parameter, 0.0))


def test_one_lstm_by_two_names() -> None:
    named, own = layer_of(cells.lstm), stepfold.keras.LSTM(UNITS)
    own.build(SHAPE)
    weights = dict(zip(cells.lstm.step.parameters, weights_of(named), strict=True))
    fused = [np.concatenate([weights[f"{kind}_{gate}"].T for gate in "ifco"], axis=-1) for kind in "WUb"]
    own.set_weights(fused)
    close(named(random(*SHAPE)), own(random(*SHAPE)))


def test_options_and_configuration() -> None:
    options = {
        "kernel_initializer": "zeros",
        "recurrent_initializer": "ones",
        "bias_initializer": "normal",
        "kernel_regularizer": "l2",
        "recurrent_regularizer": "l1",
        "bias_regularizer": "l2",
        "kernel_constraint": "non_neg",
        "recurrent_constraint": "max_norm",
        "bias_constraint": "unit_norm",
        "activity_regularizer": "l2",
        "dropout": 0.1,
        "recurrent_dropout": 0.2,
        "zoneout": 0.3,
        "seed": 4,
        "return_sequences": True,
        "go_backwards": True,
        "dtype": "float32",
        "name": "mine",
    }
    layer = stepfold.keras.Recurrent("coupled_lstm", UNITS, **options)
    config = layer.get_config()
    again = stepfold.keras.Recurrent.from_config(config)
    assert again.get_config() == config
    assert again.definition == cells.coupled_lstm
    assert (config["zoneout"], config["seed"], config["name"], config["go_backwards"]) == (
        0.3,
        4,
        "mine",
        True,
    )
    layer.build(SHAPE)
    assert (weights_of(layer)[0] == 0).all()
    assert (weights_of(layer)[1] == 1).all()
    layer(random(*SHAPE))
    assert len(layer.losses) == 10


def test_recurrent_dropout_drops_what_enters_each_recurrent_kernel() -> None:
    layer = layer_of("peephole_lstm", recurrent_dropout=0.5, seed=3)
    inputs = random(*SHAPE)
    with kernels() as ran:
        with_gradients(layer, inputs, training=True)
    (forward,), (backward,) = ran.forward, ran.backward
    assert [name for _, name in forward.recipe.extra] == [f"recurrent_dropout.U_{gate}" for gate in "ifco"]
    assert backward.recipe.extra == forward.recipe.extra
    masks = [np.asarray(mask) for mask in layer.cell.masks(np.zeros((4, UNITS), "float32")).values()]
    for number, mask in enumerate(masks):
        assert mask.shape == (4, UNITS)
        assert set(np.unique(mask)) == {0.0, 2.0}
        assert number == 0 or (mask != masks[0]).any()
    compare(
        in_keras_s_loop(layer_of("gru", recurrent_dropout=0.4, seed=5)),
        layer_of("gru", recurrent_dropout=0.4, seed=5),
        inputs,
        training=True,
    )


def test_dropout_of_inputs_has_one_mask_a_sequence() -> None:
    @stepfold.cell
    def adding(x: Any, h: Any, *, W: Any) -> Any:
        return h + W @ x

    layer = stepfold.keras.Recurrent(adding, 3, dropout=0.5, seed=1, return_sequences=True)
    layer.build(SHAPE)
    layer.set_weights([np.eye(3, dtype=np.float32)])
    outputs = np.asarray(keras.ops.convert_to_numpy(layer(np.ones(SHAPE, np.float32), training=True)))
    steps = np.diff(outputs, axis=1, prepend=0)
    assert set(np.unique(steps)) == {0.0, 2.0}
    assert (steps == steps[:, :1]).all()


def test_zoneout_keeps_units_in_training_and_mixes_otherwise() -> None:
    @stepfold.cell
    def counting(x: Any, h: Any, *, b: Any) -> Any:
        return h + b

    layer = stepfold.keras.Recurrent(counting, 200, zoneout=0.25, seed=1, return_sequences=True)
    layer.build((3, 50, 1))
    layer.set_weights([np.ones(200, np.float32)])
    inputs = np.zeros((3, 50, 1), np.float32)
    trained = np.asarray(keras.ops.convert_to_numpy(layer(inputs, training=True)))
    steps = np.diff(trained, axis=1, prepend=0)
    assert set(np.unique(steps)) == {0.0, 1.0}
    assert 0.23 < (steps == 0).mean() < 0.27
    np.testing.assert_allclose(keras.ops.convert_to_numpy(layer(inputs))[:, -1], 50 * 0.75, rtol=1e-5)


def test_every_operation_has_its_keras_form() -> None:
    assert set(OPERATIONS) == set(TABLE)


def test_bad_arguments() -> None:
    with pytest.raises(TypeError, match=r"must be a stepfold cell.*put @stepfold.cell above the function"):
        stepfold.keras.Recurrent(lambda x, h: h, 3)
    with pytest.raises(ValueError, match="there is no cell 'lstn'; the cells are simple_rnn"):
        stepfold.keras.Recurrent("lstn", 3)
    with pytest.raises(ValueError, match="units must be an integer of at least 1, not 0"):
        stepfold.keras.Recurrent("lstm", 0)
    with pytest.raises(ValueError, match=r"recurrent_dropout must lie in 0…1, below 1, not 1\.0"):
        stepfold.keras.Recurrent("lstm", 3, recurrent_dropout=1.0)
