"""Models in ONNX: inputs, masks, layers, metadata, files, and what is refused."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx_helpers import BATCH, TIME, UNITS, VOCABULARY, check, holes, kinds, layer, model, session, values

import stepfold.onnx
from ensemble_helpers import ensemble_model
from stepfold import cells
from stepfold.data import UnicodeWords
from stepfold.model import (
    ACTIVATIONS,
    POOLS,
    ActivationLayer,
    AffineLayer,
    BidirectionalLayer,
    DenseLayer,
    EmbeddingLayer,
    MaskingLayer,
    Model,
    PoolingLayer,
    Sequences,
    Texts,
)
from stepfold.onnx import OnnxError, to_onnx, write_onnx
from stepfold.onnx import _export as export

RANDOM = np.random.default_rng(5)


def array(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(dtype)


def ids(dtype: Any = np.int32) -> np.ndarray:
    found = np.random.default_rng(1).integers(0, VOCABULARY, (BATCH, TIME)).astype(dtype)
    found[0], found[1, :4], found[2, 3:] = 0, 0, 0
    return found


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("mask_zero", [False, True])
def test_a_stack_on_tokens(pool: Any, mask_zero: bool) -> None:
    both = BidirectionalLayer(
        layer(cells.gru, sequences=True), layer(cells.gru, reverse=True, sequences=True, seed=2)
    )
    for second in (cells.lstm, cells.ugrnn):
        check(
            [
                EmbeddingLayer(array(VOCABULARY, 3), mask_zero),
                both,
                layer(second, features=2 * UNITS, units=4, sequences=True),
                PoolingLayer(pool),
                DenseLayer(array(8 if pool == "max_mean" else 4, 2), array(2), "softmax"),
            ],
            ids(),
        )


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_the_dtype_of_ids(dtype: Any) -> None:
    layers = [EmbeddingLayer(array(VOCABULARY, 3), True), layer(cells.lstm)]
    proto = check(layers, ids(dtype), ids=dtype)
    assert [i.type for i in session(proto).get_inputs()] == [f"tensor({dtype})"]
    check(layers, ids(dtype), ids=dtype, mask_input=True)
    check(
        [EmbeddingLayer(array(VOCABULARY, 3)), *layers[1:]], ids(dtype), holes(), ids=dtype, mask_input=True
    )


def test_batch_and_length_vary() -> None:
    layers = [layer(cells.lstm, sequences=True), layer(cells.indrnn, features=UNITS)]
    ready = session(to_onnx(model(layers)))
    for shape in ((1, 1, 3), (9, 4, 3), (2, 30, 3)):
        inputs = array(*shape)
        found = ready.run(None, {"values": inputs})[0]
        np.testing.assert_allclose(found, model(layers).run(inputs), atol=1e-5)
    assert [(i.name, i.shape) for i in ready.get_inputs()] == [("values", ["batch", "time", 3])]
    assert [(o.name, o.shape) for o in ready.get_outputs()] == [("output", ["batch", UNITS])]


def test_the_mask_may_be_left_out() -> None:
    layers = [layer(cells.lstm, sequences=True), PoolingLayer("max_mean")]
    check(layers, values(), holes())
    proto = check(layers, values())
    assert [i.name for i in session(proto).get_overridable_initializers()] == ["mask"]
    without = check(layers, values(), mask_input=False)
    assert [i.name for i in without.graph.input] == ["values"]
    last = to_onnx(model([PoolingLayer("last")]))
    assert [i.name for i in last.graph.input] == ["values"]


def test_masking_and_affine() -> None:
    inputs = values()
    inputs[~holes()] = 0.25
    shift = [MaskingLayer(0.25), AffineLayer(array(3), array(3)), layer(cells.gru, sequences=True)]
    for pool in POOLS:
        proto = check([*shift, PoolingLayer(pool)], inputs)
        assert [i.name for i in proto.graph.input] == ["values"]
    inputs[3, 2] = np.nan
    proto = to_onnx(model([MaskingLayer(0.25)]))
    found = session(proto).run(None, {"values": inputs})[0]
    np.testing.assert_array_equal(found, model([MaskingLayer(0.25)]).run(inputs))


def test_pooling_of_values_and_embeddings() -> None:
    for pool in POOLS:
        for masked in (False, True):
            check([PoolingLayer(pool, masked)], values(), holes() if masked and pool != "last" else None)
            check([EmbeddingLayer(array(VOCABULARY, 3), True), PoolingLayer(pool, masked)], ids())
    check([EmbeddingLayer(array(VOCABULARY, 3))], ids())


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name: str) -> None:
    check([DenseLayer(array(3, 4) * np.float32(0.3), None, name), ActivationLayer(name)], values())


def test_metadata(tmp_path: Path) -> None:
    vocabulary = UnicodeWords.learn(["good bad", "good"], 8)
    layers = (EmbeddingLayer(array(8, 3)), layer(cells.lstm), DenseLayer(array(UNITS, 1), None, "sigmoid"))
    made = Model(layers, Texts(vocabulary, 40), labels=("neg", "pos"), name="reviews")
    write_onnx(made, tmp_path / "m.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]
    proto = onnx.load(tmp_path / "m.onnx")
    found = {p.key: p.value for p in proto.metadata_props}
    assert (found["name"], json.loads(found["labels"]), found["length"]) == ("reviews", ["neg", "pos"], "40")
    assert found["vocabulary"] == vocabulary.to_json()
    assert proto.producer_name == "stepfold"
    scale, shift = np.array([2.0]), np.array([-1.0])
    valued = Model((layer(cells.gru, units=1),), Sequences(3), name="", scale=scale, shift=shift)
    proto = to_onnx(valued)
    onnx.checker.check_model(proto)
    found = {p.key: p.value for p in proto.metadata_props}
    assert found == {"name": "", "scale": "[2.0]", "shift": "[-1.0]"}


def test_without_the_package_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"needs the package onnx: pip install 'stepfold\[onnx\]'"):
        importlib.reload(stepfold.onnx)


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_onnx(model([layer(cells.gru)]), tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_operators_that_the_graph_needs_and_no_others() -> None:
    proto = to_onnx(model([layer(cells.lstm), DenseLayer(array(UNITS, 1))]), mask=False)
    assert kinds(proto) == {"Transpose", "LSTM", "Squeeze", "MatMul", "Identity"}
    made = {name for node in proto.graph.node for name in node.output} | {"values"}
    read = {name for node in proto.graph.node for name in node.input}
    assert {tensor.name for tensor in proto.graph.initializer} == read - made


@pytest.mark.parametrize(
    ("layers", "options", "said"),
    [
        ([layer(cells.gru)], {"opset": 17}, "opset must be 18 to 22, not 17"),
        ([layer(cells.gru)], {"ids": "int8"}, "ids must be 'int32' or 'int64', not 'int8'"),
        (
            [DenseLayer(array(3, 1, dtype=np.float64), None, "gelu")],
            {},
            "ONNX Runtime has no erf in float64, which gelu needs; convert the model to float32",
        ),
        (
            [layer(cells.simple_rnn_with(stepfold.gelu), dtype=np.float64)],
            {},
            "ONNX Runtime has no erf in float64",
        ),
    ],
)
def test_refused(layers: list[Any], options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        to_onnx(model(layers), **options)


def test_ngrams_are_refused() -> None:
    with pytest.raises(
        OnnxError, match=r"layer 0 \(EvidenceLayer\) of an ensemble looks n-grams up.* to .safe"
    ):
        to_onnx(ensemble_model())


def test_arrays_of_more_than_2_gib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "_MOST_BYTES", 100)
    with pytest.raises(OnnxError, match=r"model holds [\d,]+ bytes of arrays, and an ONNX file at most 2"):
        to_onnx(model([layer(cells.gru)]))
