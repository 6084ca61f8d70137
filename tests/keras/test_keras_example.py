"""The example runs on a small slice, and its first numbers are what it says."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
from keras_helpers import only_jax, quiet

EXAMPLE = Path(__file__).parents[2] / "examples" / "from_numpy_to_lstm.py"


@quiet
@only_jax
@pytest.mark.slow
def test_from_numpy_to_lstm(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLE))["main"](["--reviews", "96", "--epochs", "1"])
    printed = capsys.readouterr().out
    assert "loop (100, 64), scan (100, 64), greatest difference" in printed
    assert "every output: (8, 100, 64)" in printed
    assert "a stack of three: (4, 20) -> (4, 32)" in printed
    assert re.search(r"96 reviews: \(96, 500\) of which 7\d to train on, [12]\d held out", printed)
    assert printed.count("best validation accuracy 0.") == 3
