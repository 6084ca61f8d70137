"""Keras's own tests of its recurrent layers, which its wheel carries, with our classes in place of theirs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

MODULES = (
    *("simple_rnn", "lstm", "gru", "rnn", "bidirectional", "time_distributed", "stacked_rnn_cells"),
    "dropout_rnn_cell",
)
PRIVATE = "fused_lstm_eligibility or fused_gru_eligibility or cudnn_bidirectional or cudnn_dispatch"
"""Whether Keras's Bidirectional would hand its own classes, and no others, to cuDNN."""
SWAP = """
import keras.src.layers
import stepfold.keras
for name in ("SimpleRNN", "LSTM", "GRU", "RNN", "Embedding"):
    setattr(keras.src.layers, name, getattr(stepfold.keras, name))
"""


@pytest.mark.slow
def test_keras_s_own_tests_pass_with_our_classes(tmp_path: Path) -> None:
    (tmp_path / "swapped.py").write_text(SWAP)
    modules = [f"keras.src.layers.rnn.{module}_test" for module in MODULES]
    options = ["-p", "swapped", "-c", "/dev/null", "--rootdir", str(tmp_path), "-k", f"not ({PRIVATE})"]
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import pytest; sys.exit(pytest.main())"
    command = [
        sys.executable,
        "-c",
        code,
        "-x",
        "-q",
        "-p",
        "no:cacheprovider",
        *options,
        "--pyargs",
        *modules,
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    found = re.search(r"(\d+) passed", done.stdout)
    assert found is not None
    assert int(found[1]) > 55
