"""Contestants in processes of their own start from the same weights and find the same gradients."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks._harness import check
from benchmarks._program_task import LENGTH, Task
from benchmarks.program import CONTESTANTS, TOLERANCE, Worker


@pytest.mark.slow
@pytest.mark.parametrize(("cell", "mask"), [("gru", False), ("layer_norm_lstm", True)])
def test_contestants_agree_and_train(tmp_path: Path, cell: str, mask: bool) -> None:
    random = np.random.default_rng(0)
    x = random.integers(1, 100, (64, LENGTH), dtype=np.int32)
    for row, length in zip(x, random.integers(1, LENGTH + 1, 64), strict=True):
        row[: LENGTH - length] = 0
    np.savez(tmp_path / "reviews.npz", x=x, y=random.integers(0, 2, 64).astype(np.float32))

    def worker(name: str) -> Worker:
        return Worker(Task(name, *CONTESTANTS[name], cell, mask, str(tmp_path), threads=2))

    with worker("keras on jax") as one, worker("torch loop") as other:
        assert set(check([one.side(), other.side()], TOLERANCE)) == {"torch loop"}
        assert one.seconds(2) > 0
        assert other.seconds(1) > 0


def test_a_contestant_that_dies_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    task = Task("nobody", "torch loop", "torch", "lstm", False, str(tmp_path), threads=2)
    with Worker(task) as worker, pytest.raises(RuntimeError, match="'nobody' ended with status 1"):
        worker.ask("train 1")
    assert "reviews.npz" in capfd.readouterr().err
