"""What our sides are compared with computes the very same cells, forward and gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks import _ours, _peers_jax, _peers_torch
from benchmarks._cells import CELLS
from benchmarks._harness import Side, check
from benchmarks._problems import Problem, problem
from stepfold import cells
from stepfold._reference import Reference

SHAPE = (3, 6, 4, 5)
TOLERANCE = 1e-5


def reference(p: Problem, *, training: bool) -> Side:
    states = [np.zeros((p.shape[0], p.shape[3]), np.float32) for _ in p.cell.states]

    def run() -> Any:
        fold = Reference(p.cell.step, p.inputs, p.params, states)
        return fold.outputs, fold.backward(p.output_gradient) if training else None

    def arrays(result: Any) -> Any:
        output, gradients = result
        if gradients is None:
            return {"output": output}
        return {"output": output, "inputs": gradients[0], **CELLS[p.cell.name].fused(gradients[1])}

    return Side("reference", run, arrays)


@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize("name", CELLS)
def test_peers_compute_the_cell(name: str, training: bool) -> None:
    p = problem(cells.by_name(name), SHAPE)
    sides = [
        reference(p, training=training),
        _ours.ours(p, 2, training=training),
        _peers_torch.loop_side(p, training=training),
        _peers_jax.scan_side(p, training=training),
    ]
    if _peers_torch.has_layer(name):
        sides.append(_peers_torch.layer_side(p, training=training))
    assert len(check(sides, TOLERANCE)) == len(sides) - 1


def test_peers_drop_the_same_states() -> None:
    p = problem(cells.lstm, SHAPE, dropout=0.5)
    sides = [_peers_torch.loop_side(p, training=True), _peers_jax.scan_side(p, training=True)]
    check([_ours.ours(p, 2, training=True), *sides], TOLERANCE)
    kept = _peers_torch.loop_side(problem(cells.lstm, SHAPE), training=True)
    with pytest.raises(AssertionError, match="output: torch loop differs"):
        check([sides[1], kept], TOLERANCE)


@pytest.mark.parametrize("name", ["lstm", "gru", "simple_rnn"])
def test_onnx_models_compute_the_cell(name: str) -> None:
    pytest.importorskip("onnxruntime", reason="only the bench extra installs it")
    pytest.importorskip("openvino", reason="only the bench extra installs it")
    from benchmarks import _peers_onnx

    p = problem(cells.by_name(name), SHAPE)
    sides = [
        reference(p, training=False),
        _peers_onnx.onnxruntime_side(p, 1),
        _peers_onnx.openvino_side(p, 1),
    ]
    check(sides, TOLERANCE)


@pytest.mark.parametrize("name", ["lstm", "gru", "simple_rnn"])
def test_streams_compute_the_cell(name: str) -> None:
    pytest.importorskip("onnxruntime", reason="only the bench extra installs it")
    pytest.importorskip("openvino", reason="only the bench extra installs it")
    from benchmarks import stream

    p = problem(cells.by_name(name), (1, 20, 4, 5))
    sides = [stream.with_stepfold(p), stream.by_hand(p), stream.with_torch(p), stream.with_onnxruntime(p, 1)]
    check([reference(p, training=False), *(side.side(p) for side in sides)], TOLERANCE)
    # a second run begins with the first state again
    check([reference(p, training=False), *(side.side(p) for side in sides)], TOLERANCE)
