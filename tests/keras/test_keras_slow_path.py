"""Where no kernel serves, Keras's own loop runs, gives its own numbers, and one warning says why."""

from __future__ import annotations

import subprocess
import sys
import warnings
from typing import Any

import keras
import pytest
from keras_helpers import LAYERS, close, kernels, pair, quiet, random, randomised

import stepfold.keras
from stepfold.keras import SlowPathWarning

pytestmark = quiet
SHAPE = (4, 6, 3)


@pytest.mark.parametrize("name", LAYERS)
def test_an_activation_without_a_word(name: str) -> None:
    own, ours = pair(name, 5, SHAPE, activation="sparsemax", return_sequences=True, go_backwards=True)
    inputs = random(*SHAPE)
    with kernels() as ran:
        with pytest.warns(SlowPathWarning) as caught:
            found = ours(inputs)
        assert len(caught) == 1
        text = str(caught[0].message)
        assert text == (
            f"{name} {ours.name!r} runs Keras's own loop, not a compiled kernel: "
            "activation 'sparsemax' is not one of stepfold's functions"
        )
        with warnings.catch_warnings():
            warnings.simplefilter("error", SlowPathWarning)
            ours(inputs)  # said once
    assert not ran
    close(found, own(inputs))


def test_a_function_of_the_user_s_own() -> None:
    def twice_tanh(x: Any) -> Any:
        return 2 * keras.ops.tanh(x)

    own, ours = pair(
        "GRU", 5, SHAPE, recurrent_activation=twice_tanh, seed=1, dropout=0.5, recurrent_dropout=0.5
    )
    with pytest.warns(
        SlowPathWarning, match="recurrent_activation 'twice_tanh' is not one of stepfold's functions"
    ):
        found = ours(random(*SHAPE), training=True)
    close(found, own(random(*SHAPE), training=True))


@pytest.mark.parametrize("layer", [*LAYERS, "Recurrent"])
def test_another_backend(layer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if layer == "Recurrent":
        ours = stepfold.keras.Recurrent("lstm", 5, recurrent_dropout=0.3, dropout=0.2)
    else:
        ours = getattr(stepfold.keras, layer)(5)
    ours.build(SHAPE)
    randomised(ours)
    expected = ours(random(*SHAPE))
    monkeypatch.setattr(keras.backend, "backend", lambda: "openvino")
    with (
        kernels() as ran,
        pytest.warns(SlowPathWarning, match="backends jax, torch, tensorflow, numpy, and this is openvino"),
    ):
        found = ours(random(*SHAPE))
    assert not ran
    close(found, expected)
    ours(random(*SHAPE), training=True)


def test_zoneout_needs_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = stepfold.keras.Recurrent("lstm", 5, zoneout=0.2)
    expected = layer(random(*SHAPE))
    monkeypatch.setattr(keras.backend, "backend", lambda: "openvino")
    with pytest.warns(SlowPathWarning):
        close(layer(random(*SHAPE)), expected)
    with pytest.raises(NotImplementedError, match="zoneout in training needs the kernels"):
        layer(random(*SHAPE), training=True)


def test_another_device(monkeypatch: pytest.MonkeyPatch) -> None:
    own, ours = pair("LSTM", 5, SHAPE)
    reason = "JAX computes on gpu, and the kernels are for CPUs"
    monkeypatch.setattr(ours._backend(), "unsupported_reason", lambda array: reason)
    with pytest.warns(SlowPathWarning, match="computes on gpu, and the kernels are for CPUs"):
        found = ours(random(*SHAPE))
    close(found, own(random(*SHAPE)))


def test_numpy_s_backend_predicts() -> None:
    code = (
        "import os, numpy as np; os.environ['KERAS_BACKEND'] = 'numpy'; import keras, stepfold.keras;"
        "x = np.random.default_rng(0).normal(size=(2, 4, 3)).astype('float32');"
        "own, ours = (m.GRU(3, return_sequences=True, seed=1) for m in (keras.layers, stepfold.keras));"
        "expected = own(x); ours.build(x.shape); ours.set_weights([w.value for w in own.weights]);"
        "print(abs(ours(x) - expected).max() < 1e-6)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"
