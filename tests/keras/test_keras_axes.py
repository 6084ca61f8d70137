"""`Recurrent` around cells with axes of their own, several inputs, outputs that are no state."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

import stepfold
from stepfold import Cell, cells
from stepfold._dims import size_of
from stepfold._reference import Reference
from stepfold._transform import expected_zoneout
from stepfold.keras import Recurrent
from tests.core import test_core_axes as examples

CELLS = (
    examples.projected,
    examples.low_rank,
    examples.read_out,
    examples.decayed,
    cells.projected_lstm,
    cells.mogrifier_lstm,
    cells.phased_lstm,
    cells.gru_d,
    examples.fast_weights,
    examples.selective,
    cells.mlstm,
    cells.gated_delta_net,
    cells.gated_linear_attention,
    cells.mamba,
    cells.s4d,
    examples.parted,
    cells.lmu,
)
SIZES = {"projection": 3, "rank": 2, "key": 3, "order": 2, "value": 6}
BATCH, TIME, UNITS, FEATURES = 3, 5, 6, 4


def array(tensor: Any) -> np.ndarray:
    """A tensor of any backend, with or without a gradient, as an array."""
    return tensor.detach().numpy() if hasattr(tensor, "detach") else ops.convert_to_numpy(tensor)


def sizes(cell: Cell) -> dict[str, int]:
    own = SIZES | {"rank": 3} if cell is examples.parted else SIZES  # both parts are the units
    return {axis: own[axis] for axis in cell.step.own_axes if axis in own}


def width(cell: Cell) -> int:
    every = {**SIZES, "features": FEATURES, "units": UNITS, "1": 1}
    named = sum(int(np.prod([every[a] for a in dims])) for dims in cell.step.inputs.values())
    return named + FEATURES * cell.step.takes_features


def reference(layer: Any, cell: Cell, x: np.ndarray, mask: np.ndarray | None) -> Reference:
    """The plain loop with the layer's weights."""
    own = layer.cell
    first, named = own.split(x)
    params = {
        n: array(v.value).astype(np.float64)
        for n, v in zip(cell.step.parameters, own.parameters, strict=True)
    }
    every = own.all_sizes
    states = [
        np.zeros((len(x), *(size_of(a, every) for a in cell.step.dims_of(s)))) for s in cell.step.states
    ]
    return Reference(
        cell.step,
        np.zeros((*x.shape[:2], 1)) if first is None else np.asarray(first, np.float64),
        params,
        states,
        mask=mask,
        named={n: np.asarray(v, np.float64) for n, v in named.items()},
    )


@pytest.mark.parametrize("cell", CELLS, ids=lambda c: c.name)
def test_the_layer_is_the_reference(cell: Cell) -> None:
    random = np.random.default_rng(0)
    x = random.standard_normal((BATCH, TIME, width(cell))).astype(np.float32)
    mask = random.random((BATCH, TIME)) < 0.7
    layer = Recurrent(cell, UNITS, return_sequences=True, return_state=True, **sizes(cell))
    for given in (None, mask):
        outputs, *states = layer(x, mask=given)
        for weight in layer.cell.parameters:
            weight.assign(random.standard_normal(weight.shape) * 0.5)
        outputs, *states = layer(x, mask=given)
        expected = reference(layer, cell, x, given)
        assert outputs.shape == layer.compute_output_shape(x.shape)[0]
        np.testing.assert_allclose(array(outputs), expected.outputs, rtol=1e-4, atol=1e-5)
        for found, state in zip(states, expected.states[cell.step.output :], strict=True):
            np.testing.assert_allclose(array(found), state.reshape(found.shape), rtol=1e-4, atol=1e-5)


def test_a_legendre_memory_begins_as_the_cell_says() -> None:
    layer = Recurrent(cells.lmu.replace(theta=8.0), UNITS, order=4)
    layer.build((None, TIME, FEATURES))
    expected = cells.lmu.replace(theta=8.0).init(FEATURES, UNITS, order=4)
    weights = dict(zip(layer.cell.definition.step.parameters, layer.cell.parameters, strict=True))
    for name in ("A", "B", "e_m"):
        np.testing.assert_allclose(array(weights[name].value), expected[name], rtol=1e-6)


@pytest.mark.parametrize("cell", CELLS, ids=lambda c: c.name)
def test_saved_loaded_and_kerass_own_loop(cell: Cell) -> None:
    x = np.random.default_rng(1).standard_normal((BATCH, TIME, width(cell))).astype(np.float32)
    model = keras.Sequential([keras.Input((TIME, width(cell))), Recurrent(cell, UNITS, **sizes(cell))])
    again = keras.Sequential.from_config(model.get_config())
    for own, other in zip(again.weights, model.weights, strict=True):
        own.assign(other.value)
    found = array(model(x))
    np.testing.assert_allclose(found, array(again(x)), rtol=1e-6, atol=1e-7)
    layer = model.layers[0]
    begin = layer.get_initial_state(BATCH)
    last, _, _ = layer.keras_loop(ops.convert_to_tensor(x), begin, None, False)
    np.testing.assert_allclose(found, array(last), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cell", CELLS, ids=lambda c: c.name)
def test_the_gradient_of_the_layer(cell: Cell) -> None:
    """The backend's derivative against the reference's."""
    if keras.backend.backend() != "jax":
        pytest.skip("JAX derives here")
    import jax
    import jax.numpy as jnp

    random = np.random.default_rng(2)
    x = random.standard_normal((BATCH, TIME, width(cell))).astype(np.float32)
    layer = Recurrent(cell, UNITS, return_sequences=True, dropout=0.0, **sizes(cell))
    layer.build(x.shape)
    to_outputs = random.standard_normal(layer.compute_output_shape(x.shape)).astype(np.float32)
    values = [v.value for v in layer.trainable_variables]

    def loss(values: Any, x: Any) -> Any:
        outputs, _ = layer.stateless_call(values, [v.value for v in layer.non_trainable_variables], x)
        return jnp.sum(outputs * to_outputs)

    of_weights, of_x = jax.grad(loss, argnums=(0, 1))(values, jnp.asarray(x))
    expected = reference(layer, cell, x, None)
    to_inputs, to_params, _ = expected.backward(to_outputs.astype(np.float64))
    for name, found in zip(cell.step.parameters, of_weights, strict=True):
        np.testing.assert_allclose(found, to_params[name], rtol=2e-3, atol=2e-4, err_msg=name)
    own = ([to_inputs] if cell.step.takes_features else []) + list(expected.named_gradients.values())
    np.testing.assert_allclose(of_x, np.concatenate(own, -1), rtol=2e-3, atol=2e-4)


def test_dropout_and_zoneout_train() -> None:
    model = keras.Sequential(
        [
            keras.Input((TIME, FEATURES)),
            Recurrent("projected_lstm", UNITS, projection=3, dropout=0.2, recurrent_dropout=0.2, zoneout=0.1),
            keras.layers.Dense(1),
        ]
    )
    model.compile("adam", "mse")
    x = np.random.default_rng(0).standard_normal((8, TIME, FEATURES)).astype(np.float32)
    before = [array(w.value).copy() for w in model.trainable_weights]
    model.fit(x, np.ones((8, 1), np.float32), verbose=0)
    after = [array(w.value) for w in model.trainable_weights]
    assert all(np.any(a != b) for a, b in zip(before, after, strict=True))


def test_zoneout_of_a_matrix_keeps_its_elements() -> None:
    x = np.random.default_rng(0).standard_normal((BATCH, TIME, FEATURES)).astype(np.float32)
    layer = Recurrent("fast_weights", UNITS, zoneout=0.4, return_sequences=True)
    layer.build(x.shape)
    layer.set_weights(
        [np.random.default_rng(k).standard_normal(w.shape) for k, w in enumerate(layer.weights)]
    )
    found = array(layer(x))
    step = expected_zoneout(layer.definition.step, 0.4)
    params = dict(zip(step.parameters, (array(v.value) for v in layer.cell.parameters), strict=True))
    zeros = [np.zeros((BATCH, UNITS)), np.zeros((BATCH, UNITS, UNITS))]
    expected = Reference(step, x, params, zeros).outputs
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-4)
    noisy = array(layer(x, training=True))
    assert np.isfinite(noisy).all()
    assert not np.allclose(noisy, found)


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"^projected_lstm needs the size of projection; give projection=…$"):
        Recurrent("projected_lstm", UNITS)
    with pytest.raises(
        ValueError,
        match=r"takes x \(features,\), observed \(features,\), gap \(features,\) one after .* which "
        "has 4 elements, not",
    ):
        Recurrent("gru_d", UNITS)(np.zeros((1, 2, 4), np.float32))
    with pytest.raises(ValueError, match=r"Unrecognized keyword|unexpected|rank"):
        Recurrent("lstm", UNITS, rank=3)
    assert cells.by_name("gru_d").step.inputs


def test_noise_of_a_step_is_drawn_in_training() -> None:
    @stepfold.cell
    def rough(x, h, *, W, U):
        return stepfold.noise(stepfold.tanh(W @ x + U @ stepfold.dropout(h, 0.5)), 0.1)

    x = np.random.default_rng(0).standard_normal((BATCH, TIME, FEATURES)).astype(np.float32)
    layer = Recurrent(rough, UNITS, seed=1)
    calm = [array(layer(x)) for _ in range(2)]
    np.testing.assert_array_equal(*calm)
    drawn = [array(layer(x, training=True)) for _ in range(2)]
    assert np.abs(drawn[0] - drawn[1]).min() > 1e-4
    assert np.abs(drawn[0] - calm[0]).max() < 2.0
