"""Tests of the layers on Keras's TensorFlow backend: a process of its own, because Keras chooses its backend
once. TensorFlow is not among what the tests install (CONTRIBUTING.md says how to run these)."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from keras_helpers import BACKEND

MODULES = (
    *("test_keras_layers.py", "test_keras_models.py", "test_keras_accelerate.py"),
    *(
        "test_keras_slow_path.py",
        "test_keras_tensorflow.py",
        "test_keras_habits.py",
        "test_keras_own_tests.py",
        "test_keras_lookups.py",
    ),
)


@pytest.mark.slow
@pytest.mark.skipif(BACKEND == "tensorflow", reason="that is this process")
@pytest.mark.skipif(importlib.util.find_spec("tensorflow") is None, reason="TensorFlow is not installed")
def test_the_layers_on_tensorflow() -> None:
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    here = Path(__file__).parent
    command = [sys.executable, "-m", "pytest", "-x", *(str(here / module) for module in MODULES)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:]
    assert " passed" in done.stdout
