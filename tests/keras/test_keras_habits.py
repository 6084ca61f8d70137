"""What people do with models of keras.layers.LSTM: each with Keras's layers and ours, to the same end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras_helpers import arrays, quiet, random, weights_of

import stepfold.keras

pytestmark = [
    pytest.mark.slow,
    quiet,
    pytest.mark.filterwarnings("ignore::stepfold.keras.SlowPathWarning"),
    pytest.mark.filterwarnings("ignore:Gradients do not exist"),  # Keras's on TensorFlow, of stop_gradient
]
X, Y = random(6, 5, 8), np.zeros((6, 4), np.float32)


def model_of(package: Any, **options: Any) -> Any:
    keras.utils.set_random_seed(1)
    layers = [package.LSTM(16, name="recurrent", **options), keras.layers.Dense(4, name="head")]
    return keras.Sequential([keras.Input((5, 8)), *layers], name="model")


def fitted(model: Any, optimizer: Any = "adam", **options: Any) -> Any:
    """The model's predictions after two epochs."""
    model.compile(optimizer, "mse")
    model.fit(X, Y, epochs=2, batch_size=3, verbose=0, shuffle=False, **options)
    return model.predict(X, verbose=0)


def cloned(package: Any) -> Any:
    model = model_of(package)
    copies = [
        keras.models.clone_model(model),
        keras.models.clone_model(
            model, clone_function=lambda layer: type(layer).from_config(layer.get_config())
        ),
        keras.models.model_from_json(model.to_json()),
    ]
    for copy in copies:
        copy.set_weights(model.get_weights())
    return [copy(X) for copy in copies]


def described(package: Any) -> Any:
    model, lines = model_of(package), list[str]()
    model.summary(print_fn=lambda text, **_: lines.append(text))
    config = model.layers[0].get_config()
    weights = [(w.name, w.path, tuple(w.shape), w.trainable) for w in model.weights]
    return lines, dict(sorted(config.items())), weights, model.count_params()


def frozen(package: Any) -> Any:
    whole, part = model_of(package), model_of(package)
    whole.layers[0].trainable = False
    whole.get_layer("head").enable_lora(2)
    part.layers[0].cell.recurrent_kernel.trainable = False
    before = weights_of(whole.layers[0])
    found = [fitted(whole), fitted(part), len(whole.trainable_weights), len(part.trainable_weights)]
    assert all(np.array_equal(a, b) for a, b in zip(before, weights_of(whole.layers[0]), strict=True))
    return found


class Stopped(keras.Model):  # type: ignore[misc]
    """No gradient reaches the first layer."""

    def __init__(self, package: Any) -> None:
        super().__init__()
        keras.utils.set_random_seed(1)
        self.first, self.second = package.LSTM(8, return_sequences=True), package.LSTM(4)

    def call(self, inputs: Any) -> Any:
        return self.second(keras.ops.stop_gradient(self.first(inputs)))


def called_back(package: Any, folder: Path) -> Any:
    seen: list[Any] = []
    callbacks = [
        keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append((epoch, sorted(logs)))),
        keras.callbacks.EarlyStopping("loss"),
        keras.callbacks.ReduceLROnPlateau("loss"),
        keras.callbacks.ModelCheckpoint(str(folder / "best.weights.h5"), "loss", save_weights_only=True),
        keras.callbacks.SwapEMAWeights(),
    ]
    found = fitted(model_of(package), keras.optimizers.Adam(use_ema=True), callbacks=callbacks)
    loaded = model_of(keras.layers)
    loaded.load_weights(folder / "best.weights.h5")
    return found, seen, loaded(X)


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """A data set that makes its batches."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Any:
        return X[3 * index : 3 * index + 3], Y[3 * index : 3 * index + 3]


def of_generators(package: Any) -> Any:
    model = model_of(package)
    at_once = 1 if keras.backend.backend() == "torch" else 2  # which Keras on torch refuses
    model.compile("sgd", "mse", steps_per_execution=at_once)
    model.fit(Batches(), epochs=2, verbose=0, shuffle=False)
    model.fit((Batches()[0] for _ in range(4)), steps_per_epoch=2, epochs=2, verbose=0, shuffle=False)
    return model.predict(Batches(), verbose=0), model.train_on_batch(X, Y)


def several_inputs(package: Any) -> Any:
    keras.utils.set_random_seed(1)
    one, other = keras.Input((5, 8)), keras.Input((None, 8))
    joined = keras.layers.concatenate([package.LSTM(4)(one), package.GRU(4)(other)])
    model = keras.Model([one, other], [keras.layers.Dense(4)(joined), joined])
    model.compile("sgd", ["mse", "mse"])
    model.fit([X, X], [Y, np.zeros((6, 8))], verbose=0, shuffle=False)
    return model.predict([X, X[:, :3]], verbose=0)


def encoder_decoder(package: Any) -> Any:
    keras.utils.set_random_seed(1)
    inputs = keras.Input((5, 8))
    outputs, *states = package.LSTM(4, return_sequences=True, return_state=True)(
        keras.layers.Masking()(inputs)
    )
    outputs = package.LSTM(4, return_sequences=True)(outputs, initial_state=states)
    attended = keras.layers.Attention()([outputs, outputs])
    return fitted(keras.Model(inputs, keras.layers.GlobalAveragePooling1D()(attended)))


def in_time_distributed(package: Any) -> Any:
    keras.utils.set_random_seed(1)
    layers = [keras.layers.TimeDistributed(package.LSTM(4)), package.LSTM(4)]
    model = keras.Sequential([keras.Input((3, 5, 8)), *layers])
    model.compile("sgd", "mse")
    inputs = random(2, 3, 5, 8)
    model.fit(inputs, np.zeros((2, 4)), verbose=0)
    return model.predict(inputs, verbose=0)


def of_a_policy(package: Any) -> Any:
    found: list[Any] = []
    for policy in ("mixed_bfloat16", "mixed_float16"):
        layer = model_of(package, dtype=policy).layers[0]
        outputs = layer(X)
        found.append((keras.backend.standardize_dtype(outputs.dtype), [w.dtype for w in layer.weights]))
        found.append(outputs)
    return found


HABITS: dict[str, Callable[[Any, Path], Any]] = {
    "clone": lambda package, _: cloned(package),
    "describe": lambda package, _: described(package),
    "freeze, LoRA": lambda package, _: frozen(package),
    "stop_gradient": lambda package, _: fitted(Stopped(package)),
    "callbacks": called_back,
    "generators": lambda package, _: of_generators(package),
    "several inputs": lambda package, _: several_inputs(package),
    "encoder and decoder": lambda package, _: encoder_decoder(package),
    "TimeDistributed": lambda package, _: in_time_distributed(package),
    "policies": lambda package, _: of_a_policy(package),
    "regularisers": lambda package, _: fitted(
        model_of(package, kernel_regularizer="l2", recurrent_constraint="max_norm", activity_regularizer="l1")
    ),
    "PReLU": lambda package, _: fitted(model_of(package, activation=keras.layers.PReLU())),
    "gradients accumulated": lambda package, _: fitted(
        model_of(package), keras.optimizers.SGD(gradient_accumulation_steps=2, clipnorm=0.1)
    ),
}


@pytest.mark.parametrize("name", HABITS)
def test_it_is_the_same_with_ours(name: str, tmp_path: Path) -> None:
    theirs, mine = (HABITS[name](package, tmp_path) for package in (keras.layers, stepfold.keras))
    equal(mine, theirs)


def equal(mine: Any, theirs: Any) -> None:
    if isinstance(theirs, (list, tuple)):
        assert len(mine) == len(theirs)
        for one, other in zip(mine, theirs, strict=True):
            equal(one, other)
    elif hasattr(theirs, "shape") or isinstance(theirs, float):
        for one, other in zip(arrays(mine), arrays(theirs), strict=True):
            half = one.dtype.itemsize == 2
            one, other = one.astype(np.float64), other.astype(np.float64)
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-2 if half else 1e-4)
    else:
        assert mine == theirs
