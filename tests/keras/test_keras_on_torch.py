"""The same tests on Keras's torch backend: a process of its own, because Keras chooses its backend once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from keras_helpers import BACKEND


@pytest.mark.slow
@pytest.mark.skipif(BACKEND == "torch", reason="that is this process")
def test_all_of_it_on_torch() -> None:
    pytest.importorskip("torch")
    environment = {**os.environ, "KERAS_BACKEND": "torch"}
    command = [sys.executable, "-m", "pytest", "-x", str(Path(__file__).parent)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:]
    assert " passed" in done.stdout
