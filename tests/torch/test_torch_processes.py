"""Two processes train to the weights of one: DDP, FSDP2, and both compiled."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

WORKER = Path(__file__).parent / "torch_worker.py"


@pytest.mark.slow
def test_two_processes_train_to_the_weights_of_one(tmp_path: Path) -> None:
    files = [tmp_path / f"found{rank}.json" for rank in range(2)]
    processes = [
        subprocess.Popen(
            [sys.executable, str(WORKER), str(file), str(rank), "2", str(tmp_path / "store")],
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank, file in enumerate(files)
    ]
    try:
        for process in processes:
            text, _ = process.communicate(timeout=400)
            assert process.returncode == 0, text
    finally:
        for process in processes:
            process.kill()
            process.wait()
    for file in files:
        found = json.loads(file.read_text())
        assert [*found] == ["ddp", "fsdp", "compiled ddp", "compiled fsdp"]
        for way, said in found.items():
            assert said["difference"] < 1e-9, way
            assert said["moved"] > 1e-6, way
            assert said["sharded"] == way.endswith("fsdp")
