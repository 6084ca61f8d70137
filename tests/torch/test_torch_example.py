"""The example learns what it says it learns, and prints its speed beside the loop's."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_cell_torch.py"


@pytest.mark.slow
def test_own_cell() -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), "--quick"], capture_output=True, text=True, check=True, timeout=300
    )
    error = re.search(r"error on new sequences: (\d+\.\d+)", done.stdout)
    assert error is not None, done.stdout
    assert float(error[1]) < 0.05
    assert re.search(r"forward and backward: .* ms here, .* ms as a loop of torch: \d+ x", done.stdout)
