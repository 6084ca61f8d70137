"""Training on several devices, or in several processes, gives the weights of one, and gathers no batch."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_helpers import BACKEND, only_jax, quiet
from sharded_worker import KINDS, train

if BACKEND == "jax":
    import jax
    from jax.extend.core import Primitive

    from stepfold.keras import _jax_sharding
    from stepfold.keras._jax_sharding import Rows, _rule, register_lowering

pytestmark = [quiet, only_jax]
WORKER = Path(__file__).parent / "sharded_worker.py"


def started(*arguments: object, devices: int = 1) -> subprocess.Popen[str]:
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    return subprocess.Popen(
        [sys.executable, str(WORKER), *map(str, arguments)],
        env={**os.environ, "XLA_FLAGS": flags, "KERAS_BACKEND": "jax", "PYTHONWARNINGS": "ignore"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(*processes: subprocess.Popen[str]) -> None:
    """Wait for processes, none of which outlives this."""
    try:
        for process in processes:
            text, _ = process.communicate(timeout=300)
            assert process.returncode == 0, text
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def alone() -> dict[str, list[Any]]:
    """The weights that one device ends with."""
    return {kind: train(kind)[1] for kind in KINDS}


def same_weights(file: Path, alone: dict[str, list[Any]]) -> None:
    with np.load(file) as found:
        for kind in KINDS:
            for number, expected in enumerate(alone[kind]):
                np.testing.assert_allclose(found[f"{kind} {number}"], expected, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_two_devices_train_to_the_weights_of_one_and_gather_nothing(
    tmp_path: Path, alone: dict[str, list[Any]]
) -> None:
    file = tmp_path / "weights.npz"
    ended(started(file, devices=2))
    same_weights(file, alone)
    with np.load(file) as found:
        for kind in KINDS:
            text = str(found[f"{kind} compiled"])
            calls = re.findall(r'custom-call\((.*)\), custom_call_target="stepfold"', text)
            assert len(calls) == {"tokens": 6}.get(kind, 4), text
            assert not re.search(r"all-gather|all-to-all|collective-permute", text)
            assert len(re.findall(r"= .* all-reduce\(", text)) == 1


@pytest.mark.slow
def test_two_processes_train_to_the_weights_of_one(tmp_path: Path, alone: dict[str, list[Any]]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    files = [tmp_path / f"weights{rank}.npz" for rank in range(2)]
    ended(*(started(file, address, 2, rank) for rank, file in enumerate(files)))
    for file in files:
        same_weights(file, alone)


def test_the_rule_lets_the_batch_be_cut_and_nothing_else() -> None:
    class Type:
        def __init__(self, *shape: int) -> None:
            self.shape = shape

    rows = Rows((True, False), (True, False))
    rule, kinds = _rule(rows, None, [Type(4, 7, 3), Type(3, 5)], [Type(4, 5), Type(3, 5)])
    assert rule == "b n0 n1, n2 n3 -> b n4, n5 n6"
    assert kinds == {"need_replication_factors": tuple(f"n{k}" for k in range(7))}


@pytest.mark.parametrize("cuts", [True, False])
def test_one_device_calls_the_kernel_itself_as_does_a_jax_that_cannot_cut(
    cuts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_jax_sharding, "CUTS", cuts)
    primitive = Primitive(f"twice_{cuts}")
    primitive.multiple_results = True
    primitive.def_abstract_eval(lambda x: [x])
    register_lowering(primitive, lambda x: [2 * x], lambda count: pytest.fail("no rule is asked for"))
    assert jax.jit(lambda x: primitive.bind(x)[0])(3.0) == 6.0
