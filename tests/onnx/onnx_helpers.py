"""Models to export, and what ONNX Runtime computes with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime

from stepfold import Cell
from stepfold.model import Layer, Model, RecurrentLayer, Sequences
from stepfold.onnx import to_onnx
from strategies import parameters

BATCH, TIME, FEATURES, UNITS = 5, 7, 3, 6
VOCABULARY = 9


def values(seed: int = 0, dtype: Any = np.float32) -> np.ndarray:
    """Sequences (batch, time, features)."""
    return np.random.default_rng(seed).standard_normal((BATCH, TIME, FEATURES)).astype(dtype)


def holes(seed: int = 0) -> np.ndarray:
    """A mask (batch, time) with holes; the first row is masked as a whole, the second not at all."""
    mask = np.random.default_rng(seed).random((BATCH, TIME)) < 0.6
    mask[0], mask[1] = False, True
    return mask


def layer(
    cell: Cell,
    *,
    features: int = FEATURES,
    units: int = UNITS,
    reverse: bool = False,
    sequences: bool = False,
    seed: int = 1,
    dtype: Any = np.float32,
) -> RecurrentLayer:
    """A recurrent layer with random parameters."""
    return RecurrentLayer(cell, parameters(cell, features, units, seed, dtype), reverse, sequences)


def model(layers: Sequence[Layer], features: int | None = FEATURES) -> Model:
    """A model of sequences."""
    return Model(tuple(layers), Sequences(features))


def session(proto: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """ONNX Runtime on one thread, after ONNX's own checker."""
    onnx.checker.check_model(proto, full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3  # it warns of every input that may be left out
    return onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def check(
    layers: Sequence[Layer],
    inputs: np.ndarray,
    mask: np.ndarray | None = None,
    mask_input: bool | None = None,
    **options: Any,
) -> onnx.ModelProto:
    """ONNX Runtime gives what `Model.run` gives; returns the ONNX model."""
    ids = inputs.dtype.kind == "i"
    made = model(layers, None if ids else inputs.shape[-1])
    proto = to_onnx(made, mask=mask_input, **options)
    feed = {"ids" if ids else "values": inputs} | feed_of(mask)
    (found,) = session(proto).run(["output"], feed)
    expected = made.run(inputs, mask)
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5, strict=True)
    return proto


def feed_of(mask: np.ndarray | None) -> dict[str, np.ndarray]:
    """The mask as an input, if there is one."""
    return {} if mask is None else {"mask": mask}


def kinds(proto: onnx.ModelProto) -> set[str]:
    """The operators of the graph."""
    return {node.op_type for node in proto.graph.node}
