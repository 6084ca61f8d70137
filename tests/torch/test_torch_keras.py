"""A Keras model on the torch backend trains with a module of ours inside."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CODE = """
import keras
import numpy as np
import torch
from stepfold.torch import GRU


class Last(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = GRU(3, 16, batch_first=True)

    def forward(self, x):
        return self.gru(x)[0][:, -1]


assert keras.backend.backend() == "torch"
keras.utils.set_random_seed(0)
x = np.random.default_rng(0).standard_normal((256, 12, 3)).astype("float32")
y = (x[:, :, 0].sum(axis=1) > 0).astype("float32")
wrapped = keras.layers.TorchModuleWrapper(Last(), output_shape=(None, 16))
model = keras.Sequential([keras.Input((12, 3)), wrapped, keras.layers.Dense(1)])
model.compile(keras.optimizers.Adam(0.02), keras.losses.BinaryCrossentropy(from_logits=True))
history = model.fit(x, y, epochs=8, batch_size=32, verbose=0).history["loss"]
print(history[0], history[-1])
"""


@pytest.mark.slow
def test_keras_on_torch_trains_a_module_of_ours() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "KERAS_BACKEND": "torch"},
    )
    assert done.returncode == 0, done.stderr
    first, last = map(float, done.stdout.split())
    assert last < 0.5 * first
