"""`Recurrent` around cells with integers that choose rows of parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops
from keras_helpers import BACKEND, only_jax, quiet

import stepfold
from stepfold import Cell
from stepfold.keras import Recurrent, to_model
from tests.lookup_cells import CELLS, UNITS, LookupProblem, by_day, by_word

pytestmark = quiet
every = pytest.mark.parametrize("cell", CELLS, ids=lambda c: c.name)


def array(tensor: Any) -> np.ndarray:
    return tensor.detach().numpy() if hasattr(tensor, "detach") else ops.convert_to_numpy(tensor)


def sequence_of(problem: LookupProblem) -> np.ndarray:
    """The inputs side by side; an integer alone is int32."""
    columns = [v if v.ndim == 3 else v[..., None] for v in problem.inputs]
    return np.concatenate(columns, -1).astype("int32" if len(columns) == 1 else problem.dtype)


def layer_of(problem: LookupProblem, **options: Any) -> Recurrent:
    layer = Recurrent(problem.cell, UNITS, return_sequences=True, **problem.sizes, **options)
    layer.build(sequence_of(problem).shape)
    for weight, value in zip(layer.cell.parameters, problem.params.values(), strict=True):
        weight.assign(value)
    return layer


@every
def test_the_layer_is_the_scan(cell: Cell) -> None:
    problem = LookupProblem(cell, "float32")
    layer, x = layer_of(problem), sequence_of(problem)
    mask = np.random.default_rng(0).random((3, 6)) < 0.7
    for given in (None, mask):
        expected = stepfold.scan(cell, problem.given, problem.params, mask=given, return_sequences=True)
        np.testing.assert_allclose(array(layer(x, mask=given)), expected, rtol=1e-4, atol=1e-5)
    begin = layer.get_initial_state(3)
    _, outputs, _ = layer.keras_loop(ops.convert_to_tensor(x), begin, None, False)
    whole = stepfold.scan(cell, problem.given, problem.params, return_sequences=True)
    np.testing.assert_allclose(array(outputs), whole, rtol=1e-4, atol=1e-5)
    if BACKEND != "jax":  # which has no float64 without its flag
        exact = LookupProblem(cell)
        wide = layer_of(exact, dtype="float64")
        expected = stepfold.scan(cell, exact.given, exact.params, return_sequences=True)
        np.testing.assert_allclose(array(wide(sequence_of(exact))), expected, rtol=1e-10, atol=1e-11)


@only_jax
@every
def test_gradients_of_the_tables(cell: Cell) -> None:
    import jax
    import jax.numpy as jnp

    problem = LookupProblem(cell, "float32")
    layer, x = layer_of(problem), sequence_of(problem)
    weights = np.random.default_rng(1).standard_normal((3, 6, UNITS)).astype(np.float32)
    values = [v.value for v in layer.trainable_variables]

    @jax.jit
    def gradients(values: Any) -> Any:
        def loss(values: Any) -> Any:
            others = [v.value for v in layer.non_trainable_variables]
            return jnp.sum(layer.stateless_call(values, others, x)[0] * weights)

        return jax.grad(loss)(values)

    run = stepfold.record(cell, problem.given, problem.params, return_sequences=True)
    expected = run.backward(weights).params
    for (name, value), found in zip(expected.items(), gradients(values), strict=True):
        np.testing.assert_allclose(found, value, rtol=1e-3, atol=1e-4, err_msg=name)


def test_an_integer_alone_needs_no_axis(tmp_path: Path) -> None:
    problem = LookupProblem(by_word, "float32")
    words = problem.inputs[0].astype("int32")
    model = keras.Sequential([keras.Input((None,), dtype="int32"), layer_of(problem), keras.layers.Dense(2)])
    found = array(model(words))
    np.testing.assert_allclose(found, array(model.layers[1](model.layers[0](words[..., None]))), rtol=1e-5)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(array(again(words)), found)
    data = to_model(model)
    np.testing.assert_allclose(data.run(words[..., None].astype("float32")), found, rtol=1e-4, atol=1e-5)


def test_fit_moves_the_rows_that_are_read() -> None:
    problem = LookupProblem(by_day, "float32")
    problem.inputs[1] %= 3
    problem.inputs[3] %= 3
    layer = layer_of(problem, dropout=0.3)
    model = keras.Sequential([keras.Input((6, 6)), layer])
    model.compile("sgd", "mse")
    model.fit(sequence_of(problem), np.ones((3, 6, UNITS), "float32"), verbose=0)
    table = layer.cell.parameters[list(by_day.step.parameters).index("D")]
    moved = np.abs(array(table.value) - problem.params["D"]).max(1)
    assert (moved[:3] > 0).all()
    assert moved[3] == 0


def test_initialisers_and_what_does_not_fit() -> None:
    layer = Recurrent(by_word, UNITS, vocabulary=50, embed=3, kernel_regularizer="l2")
    layer.build((None, None, 1))
    begun = dict(
        zip(by_word.step.parameters, map(array, (w.value for w in layer.cell.parameters)), strict=True)
    )
    assert 0.04 < np.abs(begun["E"]).max() <= 0.05
    assert not begun["g"].any()
    with pytest.raises(ValueError, match="by_word needs the size of embed, vocabulary; give embed=…"):
        Recurrent(by_word, UNITS)
    with pytest.raises(
        ValueError, match=r"those of by_word are integers; write dropout\(E\[word\], 0.1\) in the"
    ):
        Recurrent(by_word, UNITS, vocabulary=50, embed=3, dropout=0.1)
    with pytest.raises(ValueError, match="takes word an integer one after the other on the last axis"):
        Recurrent(by_word, UNITS, vocabulary=50, embed=3).build((None, 5, 2))
    with pytest.raises(ValueError, match="is an integer up to 499, and bfloat16 does not have all of these"):
        Recurrent(by_word, UNITS, vocabulary=500, embed=3, dtype="mixed_bfloat16")(
            np.zeros((2, 3, 1), "float32")
        )
    with pytest.raises(IndexError, match=r"input word is 50, but E, of shape \(50, 5\), has the rows 0…49"):
        layer(np.full((2, 3), 50))


@pytest.mark.parametrize("wrong", [1.5, np.nan])
def test_a_number_that_is_no_integer_is_refused(wrong: float) -> None:
    problem = LookupProblem(by_day, "float32")
    layer, x = layer_of(problem), sequence_of(problem)
    x[1, 2, -1] = wrong
    with pytest.raises(ValueError, match=rf"input week is {wrong:g}, but it holds integers.*round them"):
        layer(x)
