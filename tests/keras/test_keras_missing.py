"""What is said where a framework, or Keras's backend, is not installed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("module", "absent", "said"),
    [
        (
            "keras",
            "keras",
            'stepfold.keras needs keras, which is not installed: pip install "stepfold[keras]"',
        ),
        (
            "torch",
            "torch",
            'stepfold.torch needs torch, which is not installed: pip install "stepfold[torch]"',
        ),
        (
            "keras",
            "tensorflow",
            "Keras looks for the backend tensorflow, which is not installed; set KERAS_BACKEND=jax before "
            'Keras is imported, and have JAX: pip install "stepfold[keras]"',
        ),
        ("keras", "absl", "import of absl halted; None in sys.modules"),
    ],
)
def test_the_cure_is_named(module: str, absent: str, said: str) -> None:
    if module != absent:
        pytest.importorskip("keras")
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.modules['{absent}'] = None; import stepfold.{module}"],
        env={**os.environ, "KERAS_BACKEND": "tensorflow" if absent == "tensorflow" else "jax"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.endswith(f"ModuleNotFoundError: {said}\n")
