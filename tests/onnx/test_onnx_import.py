"""ONNX models run by the kernels: every attribute against ONNX Runtime, and models that we have written."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx_helpers import FEATURES, UNITS, VOCABULARY, feed_of, holes, layer, model, session, values

import stepfold
from stepfold import cells
from stepfold.model import (
    POOLS,
    BidirectionalLayer,
    DenseLayer,
    EmbeddingLayer,
    MaskingLayer,
    Model,
    PoolingLayer,
    Sequences,
)
from stepfold.onnx import OnnxModel, from_onnx, to_onnx

GATES = {"RNN": 1, "LSTM": 4, "GRU": 3}
NAMES = ["X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"]
BATCH, TIME = 3, 5


def proto_of(
    kind: str, inputs: dict[str, np.ndarray], outputs: tuple[str, ...] = (), **attributes: Any
) -> onnx.ModelProto:
    """A model of one node; X is its only input, the others are arrays of the model."""
    names = [name if name in inputs else "" for name in NAMES]
    while not names[-1]:
        names.pop()
    outputs = outputs or (("Y", "Y_h", "Y_c") if kind == "LSTM" else ("Y", "Y_h"))
    node = helper.make_node(kind, names, outputs, **attributes)
    type_ = helper.np_dtype_to_tensor_dtype(inputs["X"].dtype)
    graph = helper.make_graph(
        [node],
        kind,
        [helper.make_tensor_value_info("X", type_, [None, None, inputs["X"].shape[-1]])],
        [
            helper.make_tensor_value_info(name, type_, [None] * (4 if name == "Y" else 3))
            for name in outputs
            if name
        ],
        [numpy_helper.from_array(value, name) for name, value in inputs.items() if name != "X"],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def operands(kind: str, directions: int, *optional: str, dtype: Any = np.float32) -> dict[str, np.ndarray]:
    """Random inputs of a node."""
    random, gates = np.random.default_rng(3), GATES[kind]
    shapes = {
        "X": (TIME, BATCH, FEATURES),
        "W": (directions, gates * UNITS, FEATURES),
        "R": (directions, gates * UNITS, UNITS),
        "B": (directions, 2 * gates * UNITS),
        "initial_h": (directions, BATCH, UNITS),
        "initial_c": (directions, BATCH, UNITS),
        "P": (directions, 3 * UNITS),
    }
    found = {n: (random.standard_normal(s) * 0.5).astype(dtype) for n, s in shapes.items()}
    found["sequence_lens"] = np.array([2, 5, 1], np.int32)
    return {name: found[name] for name in NAMES if name in ("X", "W", "R", *optional)}


# Softplus has a test of its own: ONNX Runtime's overflows where gates without bounds make numbers large
ACTIVATIONS: list[tuple[str, list[float], list[float]]] = [
    ("Tanh", [], []),
    ("Sigmoid", [], []),
    ("Relu", [], []),
    ("Softsign", [], []),
    ("Affine", [0.5], [0.1]),
    ("LeakyRelu", [0.2], []),
    ("ThresholdedRelu", [0.3], []),
    ("ScaledTanh", [0.7], [0.3]),
    ("HardSigmoid", [0.3], [0.4]),
    ("Elu", [0.5], []),
]


@st.composite
def nodes(draw: Any) -> tuple[str, int, set[str], dict[str, Any]]:
    """A node with any of its inputs and attributes."""
    kind = draw(st.sampled_from(("RNN", "LSTM", "GRU")))
    direction = draw(st.sampled_from(("forward", "reverse", "bidirectional")))
    directions = 2 if direction == "bidirectional" else 1
    names = NAMES[3:] if kind == "LSTM" else NAMES[3:6]
    attributes: dict[str, Any] = {"direction": direction, "hidden_size": UNITS}
    if draw(st.booleans()):
        count = directions * {"RNN": 1, "LSTM": 3, "GRU": 2}[kind]
        chosen = draw(st.lists(st.sampled_from(ACTIVATIONS), min_size=count, max_size=count))
        attributes["activations"] = [name for name, _, _ in chosen]
        alphas = [a for _, alpha, _ in chosen for a in alpha]
        betas = [b for _, _, beta in chosen for b in beta]
        attributes |= {"activation_alpha": alphas} if alphas else {}
        attributes |= {"activation_beta": betas} if betas else {}
    if draw(st.booleans()):
        attributes["clip"] = draw(st.sampled_from((0.25, 0.5)))
    flag = {"LSTM": "input_forget", "GRU": "linear_before_reset"}.get(kind)
    if flag is not None:
        attributes[flag] = draw(st.integers(0, 1))
    return kind, directions, draw(st.sets(st.sampled_from(names))), attributes


def as_in_onnx_runtime(kind: str, inputs: dict[str, np.ndarray], attributes: dict[str, Any]) -> None:
    proto = proto_of(kind, inputs, **attributes)
    expected = session(proto).run(None, {"X": inputs["X"]})
    found = from_onnx(proto).run({"X": inputs["X"]})
    for value, right in zip(found.values(), expected, strict=True):
        # gates without bounds make numbers large, hence the relative part
        np.testing.assert_allclose(value, right, rtol=1e-4, atol=1e-5, strict=True)


@pytest.mark.slow
@settings(max_examples=60)
@given(nodes())
def test_any_node_as_in_onnx_runtime(node: tuple[str, int, set[str], dict[str, Any]]) -> None:
    kind, directions, optional, attributes = node
    as_in_onnx_runtime(kind, operands(kind, directions, *optional), attributes)


@pytest.mark.parametrize(
    ("kind", "direction", "attributes"),
    [
        ("RNN", "reverse", {"clip": 0.5, "activations": ["LeakyRelu"], "activation_alpha": [0.2]}),
        ("RNN", "forward", {"activations": ["Softplus"]}),
        ("GRU", "bidirectional", {"linear_before_reset": 1, "clip": 0.5}),
        ("GRU", "reverse", {"activations": ["HardSigmoid", "Softsign"]}),
        ("LSTM", "bidirectional", {"clip": 0.25}),
        ("LSTM", "forward", {"input_forget": 1}),
        (
            "LSTM",
            "reverse",
            {
                "activations": ["HardSigmoid", "ScaledTanh", "Elu"],
                "activation_alpha": [0.3, 0.7],
                "activation_beta": [0.4, 0.3],
            },
        ),
    ],
)
def test_nodes_with_every_input(kind: str, direction: str, attributes: dict[str, Any]) -> None:
    names = NAMES[3:] if kind == "LSTM" else NAMES[3:6]
    inputs = operands(kind, 2 if direction == "bidirectional" else 1, *names)
    as_in_onnx_runtime(kind, inputs, {"direction": direction, "hidden_size": UNITS, **attributes})


@pytest.mark.parametrize("kind", GATES)
def test_layout_1_is_batch_first(kind: str) -> None:
    names = NAMES[3:6] if kind != "LSTM" else NAMES[3:]
    inputs = operands(kind, 2, *names)
    first = from_onnx(proto_of(kind, inputs, direction="bidirectional")).run({"X": inputs["X"]})
    swapped = {n: v.swapaxes(0, 1) if n in ("X", "initial_h", "initial_c") else v for n, v in inputs.items()}
    proto = proto_of(kind, swapped, direction="bidirectional", layout=1)
    for name, value in from_onnx(proto).run({"X": swapped["X"]}).items():
        axes = (2, 0, 1, 3) if name == "Y" else (1, 0, 2)
        np.testing.assert_array_equal(value, first[name].transpose(axes))


@pytest.mark.parametrize("kind", GATES)
def test_float64(kind: str) -> None:
    inputs = operands(kind, 1, "B", "initial_h", dtype=np.float64)
    found = from_onnx(proto_of(kind, inputs)).run({"X": inputs["X"]})
    narrow = {name: value.astype(np.float32) for name, value in inputs.items()}
    for name, value in from_onnx(proto_of(kind, narrow)).run({"X": narrow["X"]}).items():
        assert found[name].dtype == np.float64
        np.testing.assert_allclose(found[name], value, atol=1e-6)


def test_outputs_that_are_left_out() -> None:
    inputs = operands("LSTM", 1)
    every = from_onnx(proto_of("LSTM", inputs)).run({"X": inputs["X"]})
    for outputs in (("Y",), ("", "Y_h"), ("", "", "Y_c"), ("Y", "", "Y_c")):
        found = from_onnx(proto_of("LSTM", inputs, outputs)).run({"X": inputs["X"]})
        assert list(found) == [name for name in outputs if name]
        for name, value in found.items():
            np.testing.assert_array_equal(value, every[name])


def again(made: Model, inputs: np.ndarray, mask: np.ndarray | None = None, **options: Any) -> OnnxModel:
    """A model written and read again computes what it computed."""
    ids = inputs.dtype.kind == "i"
    found = from_onnx(to_onnx(made, **options))
    output = found.run({"ids" if ids else "values": inputs} | feed_of(mask))["output"]
    np.testing.assert_allclose(output, made.run(inputs, mask), rtol=1e-5, atol=1e-6, strict=True)
    return found


@pytest.mark.parametrize("pool", POOLS)
def test_models_that_to_onnx_wrote(pool: Any) -> None:
    random = np.random.default_rng(2)

    def array(*shape: int) -> np.ndarray:
        return random.standard_normal(shape).astype(np.float32)

    ids = random.integers(0, VOCABULARY, (4, 6)).astype(np.int32)
    for cell in (cells.lstm, cells.gru, cells.simple_rnn_relu):
        both = BidirectionalLayer(
            layer(cell, sequences=True), layer(cell, reverse=True, sequences=True, seed=2)
        )
        last = PoolingLayer(pool), DenseLayer(array(2 * UNITS * (2 if pool == "max_mean" else 1), 2))
        for mask_zero in (False, True):
            table = EmbeddingLayer(array(VOCABULARY, FEATURES), mask_zero)
            again(Model((table, both, *last), Sequences(None)), ids)
        masked = model([MaskingLayer(0.0), both, *last])
        found = again(masked, np.where(holes()[..., None], values(), np.float32(0)))
        assert [(each.name, each.dtype, each.shape) for each in found.inputs] == [
            ("values", np.float32, ("batch", "time", FEATURES))
        ]
        softmax = DenseLayer(array(UNITS, 3), None, "softmax")
        again(model([layer(cell), softmax]), values(), holes(), opset=22)


def test_a_file(tmp_path: Path) -> None:
    made = model([layer(cells.gru)])
    stepfold.export(made, tmp_path / "m.onnx")
    found = stepfold.from_onnx(tmp_path / "m.onnx").run({"values": values()})
    np.testing.assert_allclose(found["output"], made.run(values()), atol=1e-6)


def test_attributes_as_old_models_have_them() -> None:
    """Axes and sizes as attributes, as before opset 13; a Gemm; a transposed matrix."""
    random = np.random.default_rng(0)
    w = random.standard_normal((2, 4)).astype(np.float32)
    nodes = [
        helper.make_node("Unsqueeze", ["x"], ["u"], axes=[0]),
        helper.make_node("Squeeze", ["u"], ["s"], axes=[0]),
        helper.make_node("Gemm", ["s", "w", "b"], ["g"], transB=1, alpha=2.0, beta=0.5),
        helper.make_node("Split", ["g"], ["l", "r"], axis=1, split=[1, 1]),
        helper.make_node("Constant", [], ["three"], value_float=3.0),
        helper.make_node("Mul", ["r", "three"], ["m"]),
        helper.make_node("ReduceSum", ["m"], ["y"], axes=[1], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "old",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])],
        [numpy_helper.from_array(w, "w"), numpy_helper.from_array(np.ones(2, np.float32), "b")],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 12)], ir_version=7)
    x = random.standard_normal((5, 4)).astype(np.float32)
    found = from_onnx(proto).run({"x": x})["y"]
    np.testing.assert_allclose(found, session(proto).run(None, {"x": x})[0], rtol=1e-5)


def in_both(kind: str, dtype: Any, axes: int = 1, **inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What one node, whose output has so many axes, computes here, and in ONNX Runtime."""
    given = {name: helper.np_dtype_to_tensor_dtype(value.dtype) for name, value in inputs.items()}
    graph = helper.make_graph(
        [helper.make_node(kind, list(inputs), ["y"])],
        "one",
        [helper.make_tensor_value_info(name, number, [None]) for name, number in given.items()],
        [helper.make_tensor_value_info("y", helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), [None] * axes)],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return from_onnx(proto).run(inputs)["y"], session(proto).run(None, inputs)[0]


def test_integers_are_divided_exactly_and_towards_zero() -> None:
    a = np.array([2**62 + 1, 2**53 + 1, -7, 7, -7, 7, -6])
    found, expected = in_both("Div", np.int64, a=a, b=np.array([1, 1, 2, -2, -2, 2, 2]))
    np.testing.assert_array_equal(found, expected)


def test_an_output_of_no_axes() -> None:
    a = np.arange(4, dtype=np.float32)
    found, expected = in_both("MatMul", np.float32, 0, a=a, b=a)
    np.testing.assert_allclose(found, expected, strict=True)


@pytest.mark.parametrize("step", [-2, -1, 2])
def test_slices_beyond_both_ends(step: int) -> None:
    for first, last in itertools.product((-9, -6, -5, -1, 4, 5, 2**62), (-(2**62), -6, -5, -1, 0, 5)):
        bounds = {name: np.array([value]) for name, value in (("first", first), ("last", last))}
        x, axis = np.arange(5, dtype=np.float32), np.array([0])
        found, expected = in_both("Slice", np.float32, x=x, **bounds, axis=axis, step=np.array([step]))
        np.testing.assert_array_equal(found, expected)
