"""The layers inside models: stacks, wrappers, masks on their way, training, saving, accelerate."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras_helpers import LAYERS, close, compare, kernels, mask_of, quiet, random, randomised, weights_of

import stepfold
import stepfold.keras

pytestmark = quiet
SHAPE = (4, 6, 3)


def twins(build: Any, inputs: Any = None) -> tuple[Any, Any]:
    """The same model with Keras's layers and with ours, with the same random weights."""
    own, ours = build(keras.layers), build(stepfold.keras)
    for made in (own, ours):
        made(random(*SHAPE) if inputs is None else inputs)
    randomised(own)
    ours.set_weights(weights_of(own))
    return own, ours


@pytest.mark.parametrize("merge", ["concat", "sum", "mul", "ave"])
@pytest.mark.parametrize("masked", [False, True])
def test_bidirectional(merge: str, masked: bool) -> None:
    def build(module: Any) -> Any:
        return keras.layers.Bidirectional(module.LSTM(4, return_sequences=True), merge_mode=merge)

    compare(*twins(build), random(*SHAPE), mask=mask_of(4, 6, "right") if masked else None)


def test_bidirectional_apart_with_states_and_two_kinds() -> None:
    def build(module: Any) -> Any:
        return keras.layers.Bidirectional(
            module.GRU(4, return_state=True),
            merge_mode=None,
            backward_layer=module.GRU(4, return_state=True, go_backwards=True, activation="relu"),
        )

    compare(*twins(build), random(*SHAPE), [random(4, 4, seed=n) for n in range(2)])


def test_time_distributed() -> None:
    def build(module: Any) -> Any:
        return keras.layers.TimeDistributed(module.LSTM(4))

    inputs = random(2, 3, 5, 2)
    compare(*twins(build, inputs), inputs)


def test_a_functional_encoder_and_decoder_with_states() -> None:
    def build(module: Any) -> Any:
        source, target = keras.Input((5, 3)), keras.Input((None, 2))
        _, *states = module.LSTM(4, return_state=True)(source)
        outputs = module.LSTM(4, return_sequences=True)(target, initial_state=states)
        return keras.Model([source, target], keras.layers.Dense(2)(outputs))

    own, ours = build(keras.layers), build(stepfold.keras)
    randomised(own)
    ours.set_weights(weights_of(own))
    inputs = [random(4, 5, 3), random(4, 7, 2)]
    close(ours.predict(inputs, verbose=0), own.predict(inputs, verbose=0))


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("source", ["embedding", "masking"])
def test_masks_travel_through_a_stack(name: str, source: str) -> None:
    ids = np.array([[1, 2, 0, 0], [3, 0, 0, 0], [4, 5, 6, 7]], np.int32)
    vectors = random(3, 4, 3) * (ids > 0)[:, :, None]

    def build(module: Any) -> Any:
        first = (
            keras.layers.Embedding(9, 3, mask_zero=True) if source == "embedding" else keras.layers.Masking()
        )
        layer = getattr(module, name)
        return keras.Sequential([first, layer(4, return_sequences=True), layer(3), keras.layers.Dense(2)])

    inputs = ids if source == "embedding" else vectors
    own, ours = twins(build, inputs)
    compare(own, ours, inputs)
    with kernels() as ran:
        ours(inputs)
    assert len(ran) == 2


@pytest.mark.parametrize("name", LAYERS)
def test_fit_evaluate_and_predict_as_keras_does(name: str) -> None:
    def build(module: Any) -> Any:
        return keras.Sequential([keras.Input((None, 3)), getattr(module, name)(4), keras.layers.Dense(1)])

    own, ours = twins(build)
    inputs, targets = random(22, 6, 3, seed=4), random(22, 1, seed=5)
    histories = []
    for model in (own, ours):
        model.compile(keras.optimizers.SGD(0.1), "mse", metrics=["mae"])
        fitted = model.fit(
            inputs, targets, epochs=2, batch_size=8, shuffle=False, verbose=0, validation_split=0.2
        )
        histories.append([fitted.history[key] for key in ("loss", "mae", "val_loss")])
    np.testing.assert_allclose(histories[1], histories[0], rtol=1e-4)
    close(weights_of(ours), weights_of(own), 1e-4)
    np.testing.assert_allclose(
        ours.evaluate(inputs, targets, verbose=0), own.evaluate(inputs, targets, verbose=0), rtol=1e-4
    )
    close(ours.predict(inputs, verbose=0), own.predict(inputs, verbose=0), 1e-4)


def test_constraints_hold_after_training() -> None:
    model = keras.Sequential(
        [stepfold.keras.LSTM(4, kernel_constraint="non_neg", recurrent_constraint="max_norm")]
    )
    model.compile("sgd", "mse")
    model.fit(random(8, 6, 3), random(8, 4, seed=2), verbose=0)
    kernel = weights_of(model)[0]
    assert (kernel >= 0).all()
    assert (kernel == 0).any()


@stepfold.cell(vectors={"leak": 0.5})
def leaky(x: Any, h: Any, *, W: Any, U: Any, leak: Any) -> Any:
    return leak * h + stepfold.tanh(W @ x + U @ h)


def every_layer() -> Any:
    inputs = keras.Input((None,), dtype="int32")
    x = stepfold.keras.Embedding(9, 3, mask_zero=True)(inputs)
    x = stepfold.keras.SimpleRNN(4, return_sequences=True, activation="relu", recurrent_dropout=0.1)(x)
    x = keras.layers.Bidirectional(stepfold.keras.GRU(3, return_sequences=True, reset_after=False))(x)
    x = stepfold.keras.Recurrent(leaky, 4, return_sequences=True, kernel_regularizer="l2", zoneout=0.2)(x)
    return randomised(keras.Model(inputs, stepfold.keras.LSTM(2)(x)))


IDS = np.random.default_rng(0).integers(0, 9, size=(3, 5)).astype(np.int32)


def test_saving_and_loading(tmp_path: Path) -> None:
    model = every_layer()
    expected = model.predict(IDS, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    close(loaded.predict(IDS, verbose=0), expected, 1e-6)
    model.save_weights(tmp_path / "only.weights.h5")
    fresh = every_layer()
    randomised(fresh, seed=99)
    fresh.load_weights(tmp_path / "only.weights.h5")
    close(fresh.predict(IDS, verbose=0), expected, 1e-6)
    (own_cell,) = (layer for layer in loaded.layers if isinstance(layer, stepfold.keras.Recurrent))
    assert own_cell.definition == leaky
    assert own_cell.cell.zoneout == 0.2


def test_an_own_cell_is_saved_as_its_graph_and_a_bad_one_is_refused(tmp_path: Path) -> None:
    every_layer().save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        names = archive.namelist()
        config = archive.read("config.json").decode()
        files = {name: archive.read(name) for name in names}
    assert "lambda" not in config.lower()
    layers = json.loads(config)["config"]["layers"]
    (saved,) = (layer["config"]["cell"] for layer in layers if layer["class_name"] == "Recurrent")
    assert stepfold.Cell.from_json(saved) == leaky
    files["config.json"] = config.replace('\\"tanh\\"', '\\"system\\"').encode()
    with zipfile.ZipFile(tmp_path / "bad.keras", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    with pytest.raises(Exception, match="not a saved cell"):
        keras.models.load_model(tmp_path / "bad.keras")


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    every_layer().save(tmp_path / "model.keras")
    whole = (tmp_path / "model.keras").read_bytes()
    (tmp_path / "half.keras").write_bytes(whole[: len(whole) // 2])
    with pytest.raises((ValueError, OSError, zipfile.BadZipFile)):
        keras.models.load_model(tmp_path / "half.keras")


def test_clone_model() -> None:
    model = every_layer()
    clone = keras.models.clone_model(model)
    clone.set_weights(weights_of(model))
    close(clone.predict(IDS, verbose=0), model.predict(IDS, verbose=0), 1e-6)


@pytest.mark.filterwarnings("ignore:Layer (InputLayer|LSTM|LSTMCell|Sequential) does not have a `quantize`")
@pytest.mark.parametrize("mode", ["int8", "int4"])
def test_a_quantised_model_is_keras_s(mode: str, tmp_path: Path) -> None:
    def build(module: Any) -> Any:
        return keras.Sequential(
            [
                keras.Input((None,), dtype="int32"),
                module.Embedding(9, 8),
                module.LSTM(4),
                keras.layers.Dense(2),
            ]
        )

    own, ours = twins(build, IDS)
    for model in (own, ours):
        model.quantize(mode)
    assert [layer.quantization_mode for layer in ours.layers] == [mode, None, mode]
    close(ours(IDS), own(IDS))
    ours.save(tmp_path / "quantised.keras")
    loaded = keras.models.load_model(tmp_path / "quantised.keras")
    close(loaded(IDS), own(IDS))
    assert loaded.layers[0].quantization_mode == mode


@pytest.mark.slow
def test_importing_the_package_is_enough_to_load_a_model(tmp_path: Path) -> None:
    every_layer().save(tmp_path / "model.keras")
    code = (
        "import sys, keras, stepfold.keras;"
        "print(keras.models.load_model(sys.argv[1]).layers[1].__class__.__module__)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "model.keras")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("stepfold.keras.")
