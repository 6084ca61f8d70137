"""Branches that are concatenated, in ONNX."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx_helpers import BATCH, TIME, UNITS, VOCABULARY, check, holes, layer, model, session, values

import stepfold
from stepfold import cells
from stepfold.model import (
    ConcatenateLayer,
    DenseLayer,
    EmbeddingLayer,
    Layer,
    MaskingLayer,
    PoolingLayer,
)
from stepfold.onnx import OnnxError, to_onnx

RANDOM = np.random.default_rng(5)


def array(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(dtype)


def ids() -> np.ndarray:
    found = np.random.default_rng(1).integers(0, VOCABULARY, (BATCH, TIME)).astype(np.int32)
    found[0], found[1, :4], found[2, 3:] = 0, 0, 0
    return found


def chain(random: np.random.Generator, features: int, depth: int) -> tuple[list[Layer], int]:
    """A few layers that keep time, some with branches of such, and the features that they give."""
    found: list[Layer] = []
    for _ in range(int(random.integers(0, 4))):
        kind = int(random.integers(0, 4 if depth else 3))
        if kind == 0:
            reverse = bool(random.integers(0, 2))
            cell = cells.gru if random.integers(0, 2) else cells.ugrnn  # an operator, and a Scan
            found.append(layer(cell, features=features, sequences=True, reverse=reverse))
            features = UNITS
        elif kind == 1:
            found.append(MaskingLayer(0.25))
        elif kind == 2:
            found.append(DenseLayer(random.normal(size=(features, 2)).astype(np.float32), None, "tanh"))
            features = 2
        else:
            branches = [chain(random, features, depth - 1) for _ in range(int(random.integers(2, 4)))]
            found.append(ConcatenateLayer(tuple(tuple(each) for each, _ in branches)))
            features = sum(width for _, width in branches)
    return found, features


@pytest.mark.parametrize("seed", range(12))
def test_random_branches(seed: int) -> None:
    random, inputs = np.random.default_rng(seed), values(seed)
    inputs[~holes(seed + 1)] = 0.25
    layers, features = chain(random, 3, 2)
    others, width = chain(random, features, 1)
    ways = ((*others, PoolingLayer("sum")), (PoolingLayer("max_mean"),), (PoolingLayer("last"),))
    check([*layers, ConcatenateLayer(ways)], inputs)
    check([*layers, ConcatenateLayer(ways)], inputs, holes(seed), mask_input=True)
    check([*layers, ConcatenateLayer((tuple(others), ()))], inputs, holes(seed), mask_input=True)
    assert model([*layers, ConcatenateLayer(ways)]).width == width + 3 * features


@pytest.mark.parametrize("mask_zero", [(True, True), (True, False), (False, False)])
def test_branches_of_the_same_ids(mask_zero: tuple[bool, bool]) -> None:
    tables = [EmbeddingLayer(array(VOCABULARY, 3), each) for each in mask_zero]
    ways = ((layer(cells.lstm, features=9, sequences=True), PoolingLayer("max_mean")), (PoolingLayer("sum"),))
    first = ConcatenateLayer(((tables[0], layer(cells.gru, sequences=True)), (tables[1],)))
    proto = check([first, ConcatenateLayer(ways), DenseLayer(array(21, 2), array(2))], ids())
    kinds = [node.op_type for node in proto.graph.node]
    assert (kinds.count("Equal"), kinds.count("Or")) == (int(mask_zero[0]), 0)
    reader = stepfold.from_onnx(proto)
    found = reader.run({"ids": ids()})["output"]
    np.testing.assert_allclose(found, session(proto).run(None, {"ids": ids()})[0], atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_branches_of_several_masks_within_one_another(dtype: Any) -> None:
    def cell(features: int) -> Any:
        return layer(cells.gru, features=features, sequences=True, dtype=dtype)

    masking, inputs = MaskingLayer(0.25), values(dtype=dtype)
    inputs[~holes(1)] = 0.25
    inner = ConcatenateLayer(((), (masking, cell(3)), (MaskingLayer(float(inputs[1, 1, 0])),)))
    for first in (
        ConcatenateLayer(((masking,), (inner,))),
        ConcatenateLayer(((masking, cell(3)), (cell(3), DenseLayer(array(UNITS, 2, dtype=dtype))))),
        ConcatenateLayer(((cell(3),), (cell(3),))),
    ):
        proto = check([first, PoolingLayer("sum")], inputs, holes())
        assert [i.name for i in proto.graph.input] == ["values", "mask"]
        check([first, PoolingLayer("last")], inputs)
        check([first], inputs, holes(), mask_input=True)
    masked = check([ConcatenateLayer(((masking,), (masking, cell(3)))), PoolingLayer("mean")], inputs)
    assert [i.name for i in masked.graph.input] == ["values"]  # nothing reads a mask but that of values
    scores = DenseLayer(array(3, 2, dtype=dtype))
    check([masking, scores, PoolingLayer("mean")], inputs, holes(), mask_input=True)
    erf = ConcatenateLayer(((DenseLayer(array(3, 2, dtype=np.float64), None, "gelu"),), ()))
    with pytest.raises(OnnxError, match="no erf in float64"):
        to_onnx(model([erf]))
