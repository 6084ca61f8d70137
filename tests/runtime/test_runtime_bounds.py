"""Memory of a process: large batches leave little behind, ever other shapes no more than the tables may
hold."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads memory in use as Linux tells it")

PRELUDE = """
import gc
import resource
import numpy as np
from stepfold import cells, record, scan

def used():
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20

params = cells.lstm.init(16, 32, seed=0)
table = np.ones((50, 16), "float32")

def train(batch, time, **more):
    made = record(cells.lstm, np.ones((batch, time, 16), "float32"), params, **more)
    made.backward(made.output)

def small(times):
    for _ in range(times):
        scan(cells.lstm, np.ones((4, 5, 16), "float32"), params)
        train(4, 5)
"""

LARGE_THEN_SMALL = """
small(3)
before = used()
lengths, mask = np.arange(25600) % 5, np.ones((25600, 4), bool)
for more in ({}, {"lengths": lengths}, {"mask": mask}, {"checkpoint": True}):
    train(25600, 4, **more)
    small(100)
    print(used() - before)
scan(cells.lstm, np.ones((25600, 4, 16), "float32"), params)
small(3)
print(used() - before)
"""

SHAPES = """
def round(count=300):
    for n in range(count):
        batch, time = 1 + n % 20, 1 + n // 20
        random = np.random.default_rng(n)
        tokens, lengths = random.integers(0, 50, (batch, time)), random.integers(0, time + 1, batch)
        made = record(cells.lstm, tokens, params, table=table, lengths=lengths)
        made.backward(made.output)

round(1)
before = used()
round()
first = used()
round()
round()
print(first - before)
print(used() - first)
"""

VOCABULARIES = """
cell, few = cells.simple_rnn, cells.simple_rnn.init(2, 3, seed=0)

def round():
    for n in range(300):
        made = record(cell, np.zeros((2, 3), int), few, table=np.zeros((100_000 + n, 2), "float32"))
        made.backward(made.output)

round()
before = used()
round()
print(used() - before)
"""


def megabytes(script: str) -> list[float]:
    """What a script prints, run in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + script], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return [float(line) for line in done.stdout.split()]


def test_25600_rows_leave_little_behind() -> None:
    found = megabytes(LARGE_THEN_SMALL)
    # workspaces of 64 MB at most stay for later calls
    assert max(found) < 80, found


def test_300_shapes_leave_little_behind() -> None:
    first, rest = megabytes(SHAPES)
    assert first < 30
    assert rest < 10


def test_300_sizes_of_a_vocabulary_leave_little_behind() -> None:
    (grown,) = megabytes(VOCABULARIES)
    assert grown < 10
