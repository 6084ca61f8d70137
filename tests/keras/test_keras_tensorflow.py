"""What TensorFlow does with models beside `fit`: exports, XLA, derivatives of derivatives, forward mode."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras_helpers import BACKEND, LAYERS, close, kernels, mask_of, pair, quiet, random, weights_of

import stepfold.keras
from stepfold.keras import SlowPathWarning

pytestmark = [quiet, pytest.mark.skipif(BACKEND != "tensorflow", reason="about TensorFlow")]
SHAPE = (4, 6, 3)


def classifiers(name: str = "LSTM", **options: Any) -> tuple[Any, Any]:
    """Keras's model and ours, with the same weights."""
    found = []
    for package in (keras.layers, stepfold.keras):
        layers = [getattr(package, name)(5, **options), keras.layers.Dense(1)]
        found.append(keras.Sequential([keras.Input(SHAPE[1:]), *layers]))
    found[1].set_weights(weights_of(found[0]))
    return found[0], found[1]


def operations_of(function: Any) -> set[str]:
    graph = function.graph.as_graph_def()
    nodes = [*graph.node, *(node for each in graph.library.function for node in each.node_def)]
    return {node.op for node in nodes}


@pytest.mark.parametrize("way", ["model.export", "saved_model.save"])
@pytest.mark.parametrize("name", LAYERS)
def test_a_saved_model_calls_no_python(name: str, way: str, tmp_path: Path) -> None:
    import tensorflow as tf

    _, model = classifiers(name)
    expected = model(random(*SHAPE))
    save = {"model.export": model.export, "saved_model.save": lambda to: tf.saved_model.save(model, to)}[way]
    with pytest.warns(SlowPathWarning, match="a model that is exported runs where there is no Python"):
        save(str(tmp_path / "model"))
    function = tf.saved_model.load(str(tmp_path / "model")).signatures["serving_default"]
    assert not operations_of(function) & {"PyFunc", "PyFuncStateless", "EagerPyFunc"}
    (found,) = function(tf.constant(random(*SHAPE))).values()
    close(found, expected)
    with kernels() as ran:
        model(random(*SHAPE))
    assert len(ran) == 1  # the model itself goes on with its kernels


def test_xla_compiles_keras_s_loop() -> None:
    import tensorflow as tf

    _, model = classifiers()
    expected = model(random(*SHAPE))
    compiled = tf.function(lambda x: model(x), jit_compile=True, autograph=False)
    with pytest.warns(SlowPathWarning, match=r"XLA \(jit_compile\) cannot call Python"):
        close(compiled(tf.constant(random(*SHAPE))), expected)
    with pytest.warns(UserWarning, match="Model doesn't support `jit_compile=True`"):  # Keras's own
        model.compile("sgd", "mse", jit_compile=True)
    with kernels() as ran:
        model.fit(random(*SHAPE), np.zeros((4, 1)), verbose=0)
    assert ran.backward


def test_a_function_of_one_s_own_holds_the_kernels() -> None:
    import tensorflow as tf

    _, model = classifiers()
    function = tf.function(lambda x: model(x), autograph=False)
    assert "PyFunc" in operations_of(function.get_concrete_function(tf.constant(random(*SHAPE))))


def twice(layer: Any, inputs: Any, wrapped: Callable[[Any], Any], **call: Any) -> list[Any]:
    """The gradient of a gradient's square, with regard to inputs and weights."""
    import tensorflow as tf

    weights = [variable.value for variable in layer.trainable_variables]

    def derive(inputs: Any) -> Any:
        with tf.GradientTape() as outer:
            outer.watch(inputs)
            with tf.GradientTape() as inner:
                inner.watch(inputs)
                results = keras.tree.flatten(layer(inputs, **call))
                total = sum(tf.reduce_sum(tf.sin(each)) for each in results)
            first = inner.gradient(total, inputs)
            square = tf.reduce_sum(first**2)
        return outer.gradient(square, [inputs, *weights])

    return [tf.convert_to_tensor(each) for each in wrapped(derive)(tf.constant(inputs))]


@pytest.mark.filterwarnings("ignore:stepfold has no fused kernel for second derivatives")
@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("LSTM", {"return_sequences": True, "return_state": True}),
        ("GRU", {"go_backwards": True}),
        ("SimpleRNN", {"return_sequences": True, "go_backwards": True}),
    ],
)
def test_second_derivatives(name: str, options: dict[str, Any], graph: bool) -> None:
    import tensorflow as tf

    own, ours = pair(name, 5, SHAPE, **options)
    wrapped = tf.function if graph else lambda function: function
    call = {"mask": tf.constant(mask_of(*SHAPE[:2], "right"))} if name == "LSTM" else {}
    with kernels() as ran:
        found = twice(ours, random(*SHAPE), wrapped, **call)
    assert ran.backward
    close(found, twice(own, random(*SHAPE), wrapped, **call), 1e-4)


@pytest.mark.filterwarnings("ignore:stepfold has no fused kernel for second derivatives")
def test_forward_mode() -> None:
    import tensorflow as tf

    x, tangent = tf.constant(random(*SHAPE)), tf.constant(random(*SHAPE, seed=9))
    found = []
    for layer in pair("GRU", 5, SHAPE):
        with tf.autodiff.ForwardAccumulator(x, tangent) as accumulator:
            outputs = layer(x)
        found.append(accumulator.jvp(outputs))
    close(found[1], found[0])


def test_second_derivatives_are_said_once_to_be_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    from stepfold import _warn

    monkeypatch.setattr(_warn, "_said", set())
    _, ours = pair("SimpleRNN", 5, SHAPE)
    with pytest.warns(SlowPathWarning, match="no fused kernel for second derivatives yet: a loop of Tensor"):
        twice(ours, random(*SHAPE), lambda function: function)
    with warnings.catch_warnings():
        warnings.simplefilter("error", SlowPathWarning)
        twice(ours, random(*SHAPE), lambda function: function)


def test_keras_s_loop_in_fit() -> None:
    own, ours = classifiers(activation="sparsemax")
    for model in (own, ours):
        model.compile("sgd", "mse")
    own.fit(random(*SHAPE), np.ones((4, 1)), epochs=2, verbose=0)
    with pytest.warns(SlowPathWarning, match="activation 'sparsemax' is not one of stepfold's functions"):
        ours.fit(random(*SHAPE), np.ones((4, 1)), epochs=2, verbose=0)
    close(weights_of(ours), weights_of(own))


def test_a_batch_of_tf_data_and_vectorised_derivatives() -> None:
    import tensorflow as tf

    own, ours = classifiers()
    batches = tf.data.Dataset.from_tensor_slices((random(*SHAPE), np.ones((4, 1), np.float32))).batch(3)
    found = []
    for model in (own, ours):
        model.compile("sgd", "mse")
        model.fit(batches, epochs=2, verbose=0, shuffle=False)
        x = tf.constant(random(*SHAPE))
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = model(x)
        found.append([model.predict(batches, verbose=0), tape.batch_jacobian(outputs, x)])
        found[-1].append(tf.vectorized_map(lambda row, model=model: model(row[None])[0], x))
    close(found[1], found[0])
