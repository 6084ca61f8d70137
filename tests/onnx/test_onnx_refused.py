"""ONNX models that are damaged, hostile, or use what is not served: a clear error each, soon."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import AttributeProto, TensorProto, helper, numpy_helper
from onnx_helpers import FEATURES, UNITS, layer, model, values

from stepfold import cells
from stepfold.onnx import OnnxError, from_onnx, to_onnx
from stepfold.onnx._nodes import OPERATORS
from stepfold.onnx._recurrent_nodes import ATTRIBUTES


def lstm() -> onnx.ModelProto:
    """A valid model of one LSTM."""
    return to_onnx(model([layer(cells.lstm)]), mask=False)


def of_nodes(*nodes: Any, opset: int = 18, arrays: dict[str, np.ndarray] | None = None) -> onnx.ModelProto:
    """A model with the input x (n, 4) and the output y, unchecked."""
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in (arrays or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def node(kind: str, inputs: str = "x", outputs: str = "y", **attributes: Any) -> Any:
    return helper.make_node(kind, inputs.split(), outputs.split(), **attributes)


def recurrent(**attributes: Any) -> onnx.ModelProto:
    return of_nodes(node("LSTM", "x x x", **attributes))


def with_(change: Callable[[onnx.ModelProto], object]) -> onnx.ModelProto:
    proto = lstm()
    change(proto)
    return proto


def cyclic() -> onnx.ModelProto:
    return of_nodes(node("Relu", "b", "a"), node("Relu", "a", "b"), node("Relu", "a"))


def scanned() -> onnx.ModelProto:
    return to_onnx(model([layer(cells.indrnn)]), mask=False)


def other_domain() -> onnx.ModelProto:
    return of_nodes(helper.make_node("Relu", ["x"], ["y"], domain="com.microsoft"))


def external(proto: onnx.ModelProto) -> None:
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def claims(*dims: int) -> Callable[[onnx.ModelProto], None]:
    def change(proto: onnx.ModelProto) -> None:
        proto.graph.initializer[0].dims[:] = dims

    return change


def twice(proto: onnx.ModelProto) -> None:
    proto.graph.node.append(proto.graph.node[0])


def reference(proto: onnx.ModelProto) -> None:
    made = AttributeProto(name="clip", type=AttributeProto.FLOAT, ref_attr_name="other")
    next(n for n in proto.graph.node if n.op_type == "LSTM").attribute.append(made)


def half(proto: onnx.ModelProto) -> None:
    proto.graph.initializer[0].data_type = TensorProto.FLOAT16


REFUSED: list[tuple[Callable[[], onnx.ModelProto], str]] = [
    (lambda: of_nodes(node("Conv")), "node 0, Conv: the operator Conv is not served; those served are RNN, "),
    (scanned, "Scan 'scan_.*': the operator Scan is not served"),
    (other_domain, "node 0, Relu: operators of 'com.microsoft' are not served"),
    (lambda: recurrent(layout=2), "node 0, LSTM: layout must be 0 or 1, not 2"),
    (lambda: recurrent(direction="up"), "direction must be one of forward, reverse, bidirectional, not 'up'"),
    (lambda: recurrent(activations=["Tanh"]), r"activations has 1 names, expected 3 for each of 1 direction"),
    (lambda: recurrent(activations=["Tanh", "Mish", "Tanh"]), "the activation 'Mish' is not served; those "),
    (lambda: recurrent(activations=["Affine"] * 3), "Affine needs a value of activation_alpha, which has no"),
    (lambda: recurrent(activation_alpha=[0.5]), "activation_alpha has 1 more values than activations take"),
    (lambda: recurrent(clip=-1.0), "clip must be a positive number, not -1.0"),
    (lambda: recurrent(hidden_size=0), "hidden_size must be a positive integer, not 0"),
    (lambda: recurrent(hidden_size=2.5), "the attribute hidden_size is 2.5, which is not of its type"),
    (lambda: recurrent(output_sequence=1), "the attribute output_sequence is not served"),
    (lambda: of_nodes(node("Cast", to=1, saturate=0)), "node 0, Cast: the attribute saturate is not served"),
    (lambda: of_nodes(node("Softmax"), opset=11), "Softmax of an opset before 13 is not served"),
    (lambda: of_nodes(node("Relu"), opset=6), "the operators' version .opset. is 6; 7 to "),
    (lambda: of_nodes(node("Relu"), opset=999), "the operators' version .opset. is 999; 7 to "),
    (lambda: of_nodes(node("Relu", "z")), "node 0, Relu reads 'z', which no input, initializer or earlier"),
    (cyclic, "node 0, Relu reads 'b', which no input"),
    (lambda: of_nodes(node("Relu", "x", "z")), "no node gives the output 'y'"),
    (lambda: with_(external), "data in another file is not read; save the model as one file"),
    (lambda: with_(claims(10**12, 10**6)), "elements, but there is data for"),
    (lambda: with_(claims(2, -1, 3)), r"the shape \(2, -1, 3\) has a negative size"),
    (lambda: with_(twice), "the output of node 4, Transpose .*: its name is empty, or another's"),
    (lambda: with_(reference), "the attribute clip refers to one of a function"),
    (lambda: with_(half), "the initializer 'W_0': the element type FLOAT16 is not served; those served are "),
    (lambda: with_(lambda p: p.functions.add(name="f")), "the function 'f' is not served"),
    (lambda: with_(lambda p: p.graph.sparse_initializer.add()), "sparse initializers are not served"),
    (lambda: with_(lambda p: p.graph.ClearField("output")), "the model has no outputs"),
    (lambda: with_(lambda p: p.graph.input[0].ClearField("type")), "the input 'values' is no tensor"),
]


@pytest.mark.parametrize(("make", "said"), REFUSED)
def test_refused(make: Callable[[], onnx.ModelProto], said: str) -> None:
    with pytest.raises(OnnxError, match=said):
        from_onnx(make())


X = np.ones((3, 4), np.float32)
ENDLESS = {"a": np.array(0), "b": np.array(10**15), "c": np.array(1)}
RUNS: list[tuple[onnx.ModelProto, str]] = [
    (
        of_nodes(node("Expand", "x shape"), arrays={"shape": np.array([10**6, 10**6, 1, 1])}),
        r"node 0, Expand: the result: \(1000000, 1000000, 3, 4\) has more than 268,435,456 elements",
    ),
    (of_nodes(node("Range", "a b c"), arrays=ENDLESS), "node 0, Range: the result: "),
    (of_nodes(node("ConstantOfShape", "s"), arrays={"s": np.array([10**9, 10**9])}), "has more than 268,"),
    (
        of_nodes(
            node("ConstantOfShape", "s", "z"),
            node("Transpose", "z", "t"),
            node("MatMul", "z t"),
            arrays={"s": np.array([10**5, 1])},
        ),
        r"node 2, MatMul: the result: \(100000, 100000\) has more",
    ),
    (of_nodes(node("Gather", "x i"), arrays={"i": np.array([7])}), "indices from 7 to 7, but the axis has 3"),
    (of_nodes(node("Reshape", "x s"), arrays={"s": np.array([5, 5])}), "node 0, Reshape: cannot reshape"),
    (of_nodes(node("Transpose", perm=[0, 0])), "node 0, Transpose: repeated axis"),
    (of_nodes(node("Add", "x b"), arrays={"b": np.ones(3, np.float32)}), "node 0, Add: "),
    (of_nodes(node("Relu", "", "y")), "node 0, Relu: "),
    (of_nodes(node("Relu", "x", "a y")), "node 0, Relu has no output 'y': it has 1"),
    (of_nodes(node("Softmax", axis=0)), "node 0, Softmax: the axis 0 of 2 is not the last"),
    (
        of_nodes(node("LSTM", "x x x")),
        r"node 0, LSTM: X has shape \(3, 4\), expected \(time, batch, features\)",
    ),
]


@pytest.mark.parametrize(("proto", "said"), RUNS)
def test_refused_at_a_node(proto: onnx.ModelProto, said: str) -> None:
    made = from_onnx(proto)
    with pytest.raises(OnnxError, match=said):
        made.run({"x": X})


def test_the_document_names_every_operator() -> None:
    text = (Path(__file__).parents[2] / "docs" / "onnx.md").read_text(encoding="utf-8")
    words = set(re.findall(r"\w+", text))
    assert words >= {*OPERATORS, *ATTRIBUTES, *ATTRIBUTES["GRU"], *ATTRIBUTES["LSTM"]} - {
        "activation_alpha",
        "activation_beta",
    }


def test_operands_of_other_shapes() -> None:
    x = values()

    def run(**changed: np.ndarray) -> None:
        proto = lstm()
        for tensor in proto.graph.initializer:
            for name, value in changed.items():
                if tensor.name.startswith(f"{name}_"):
                    tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
        from_onnx(proto).run({"values": x})

    def zeros(*shape: int, dtype: Any = np.float32) -> np.ndarray:
        return np.zeros(shape, dtype)

    with pytest.raises(OnnxError, match=r"LSTM 'lstm_.': W has shape \(1, 24, 4\), expected \(1, 24, 3\)"):
        run(W=zeros(1, 4 * UNITS, FEATURES + 1))
    with pytest.raises(OnnxError, match=r"R has shape \(1, 20, 6\), expected \(1, 24, 6\)"):
        run(R=zeros(1, 20, UNITS))
    with pytest.raises(OnnxError, match=r"B has shape \(48,\), expected \(1, 48\)"):
        run(B=zeros(8 * UNITS))
    with pytest.raises(OnnxError, match="R is float64, but X is float32"):
        run(R=zeros(1, 4 * UNITS, UNITS, dtype=np.float64))


def test_what_a_call_gives() -> None:
    made = from_onnx(lstm())
    with pytest.raises(TypeError, match=r"must be a dict of arrays \('values'\), not ndarray"):
        made.run(values())  # type: ignore[arg-type]
    with pytest.raises(OnnxError, match="the model's inputs are values; the call lacks values and has no x"):
        made.run({"x": X})
    with pytest.raises(OnnxError, match="the input values must be float32, not float64"):
        made.run({"values": values(dtype=np.float64)})
    with pytest.raises(OnnxError, match=r"has shape \(3, 4\), expected \('batch', 'time', 3\)"):
        made.run({"values": X})


def test_files_that_are_no_models(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    with pytest.raises(FileNotFoundError):
        from_onnx(path)
    for content in (b"", b"\x00" * 100, b"PK\x03\x04", b"\xff" * 1000):
        path.write_bytes(content)
        with pytest.raises(OnnxError, match=r"^m.onnx is no ONNX model"):
            from_onnx(path)
    whole = lstm().SerializeToString()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(OnnxError, match=r"^m.onnx is no ONNX model, or cut short"):
        from_onnx(path)
    with pytest.raises(OnnxError, match="/dev/null is no regular file; copy it into one first"):
        from_onnx("/dev/null")
    with path.open("wb") as file:
        file.truncate(2**31 + 1)  # sparse: nothing is written
    with pytest.raises(OnnxError, match="is larger than the 2 GiB that an ONNX model may have"):
        from_onnx(path)


TWO = model([layer(cells.gru, sequences=True), layer(cells.lstm, features=UNITS)])
WHOLE = to_onnx(TWO).SerializeToString()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_changed_bytes_give_numbers_or_a_clear_error(tmp_path: Path, changes: list[tuple[int, int]]) -> None:
    changed = bytearray(WHOLE)
    for place, value in changes:
        changed[place] = value
    path = tmp_path / "m.onnx"
    path.write_bytes(changed)
    begun = time.perf_counter()
    # any other error fails the test
    with contextlib.suppress(OnnxError):
        made = from_onnx(path)
        found = made.run({each.name: values() for each in made.inputs if not each.optional})
        assert all(isinstance(value, np.ndarray) for value in found.values())
    assert time.perf_counter() - begun < 5
