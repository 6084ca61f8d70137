"""The examples that search run, where what they need is installed."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name: str) -> str:
    if not importlib.util.find_spec(name.partition("_")[0]):
        pytest.skip(f"{name.partition('_')[0]} is not installed")
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py"), "--quick"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_optuna_chooses_cell_units_and_dropout():
    printed = run("optuna_search")
    assert len(re.findall(r"^ +\d  (?:0\.\d+|1\.0+|pruned)  \{'cell': ", printed, re.MULTILINE)) == 4
    assert re.search(r"best: validation accuracy 0\.\d+ with \{'cell': .*'units': \d+, 'dropout'", printed)


@pytest.mark.slow
def test_ray_trains_a_task_for_each_cell():
    printed = run("ray_tasks")
    for cell in ("lstm", "gru"):
        assert re.search(rf"^{cell}, seed 0: validation accuracy 0\.\d+$", printed, re.MULTILINE)
        assert re.search(rf"^{cell}: 0\.\d+ on average of 1$", printed, re.MULTILINE)
