"""The line that an error names, of a built-in cell and of a script; attributes that a value has not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import stepfold
from stepfold import CellError, cell


def test_the_line_of_a_built_in_cell() -> None:
    with pytest.raises(CellError, match=r"_simple\.py:\d+: numpy\.cosh cannot take"):
        stepfold.cells.simple_rnn_with(np.cosh)


def test_the_line_in_a_script(tmp_path: Path) -> None:
    script = tmp_path / "mine.py"
    script.write_text(
        "import stepfold\n@stepfold.cell\ndef step(x, h, *, W):\n    y = stepfold.tanh(x)\n    return W @ y\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"stepfold.CellError: {script}:4: the input has features" in done.stderr


def test_hasattr_of_a_value_is_false() -> None:
    seen = []

    @cell
    def step(x, h, *, W):
        seen.append(hasattr(h, "shape"))
        return W @ x

    assert seen == [False, False]  # traced twice, which must give the same
    assert step.states == ("h",)
