"""The sides of ONNX Runtime and OpenVINO, which predict only: the operators LSTM, GRU and RNN of ONNX.

Both get a time-major input, as the operators expect; the transpose is not timed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import openvino
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ._cells import CELLS
from ._harness import Side
from ._problems import Problem

Array = NDArray[Any]

_OPERATORS = {"lstm": ("LSTM", [0, 3, 1, 2]), "gru": ("GRU", [0, 1, 2]), "simple_rnn": ("RNN", [0])}
"""The operator, and the index of each of ONNX's gates (LSTM: i, o, f, c) among ours (i, f, c, o)."""


def serves(name: str) -> bool:
    """Whether ONNX has an operator for this cell."""
    return name in _OPERATORS


def model(p: Problem, *, states: bool = False) -> bytes:
    """Return a model of one operator: `x` (time, batch, features) → `y` (time, 1, batch, units).

    With `states`, the first states are inputs too (`h`, and `c` of an LSTM), the last ones outputs (`next_h`,
    …).
    """
    operator, order = _OPERATORS[p.cell.name]
    batch, time, features, units = p.shape
    weights = CELLS[p.cell.name].fused(p.params)
    first, second = weights["bias"], np.zeros_like(weights["bias"])
    if p.cell.name == "gru":
        second[2 * units :] = weights["c_h"]

    def gates(value: Array) -> Array:
        parts = np.split(value, len(order))
        return np.concatenate([parts[n] for n in order])

    initializers = [
        numpy_helper.from_array(gates(weights["kernel"])[None], "W"),
        numpy_helper.from_array(gates(weights["recurrent"])[None], "R"),
        numpy_helper.from_array(np.concatenate([gates(first), gates(second)])[None], "B"),
    ]
    names = (["h", "c"] if operator == "LSTM" else ["h"]) if states else []
    attributes: dict[str, Any] = {"hidden_size": units}
    if operator == "GRU":
        attributes["linear_before_reset"] = 1
    node = helper.make_node(
        operator,
        ["x", "W", "R", "B", *(["", *names] if names else [])],
        ["y", *("next_" + n for n in names)],
        **attributes,
    )

    def described(name: str, shape: list[int]) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    state = [1, batch, units]
    graph = helper.make_graph(
        [node],
        p.cell.name,
        [described("x", [time, batch, features]), *(described(n, state) for n in names)],
        [described("y", [time, 1, batch, units]), *(described("next_" + n, state) for n in names)],
        initializers,
    )
    built = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(built)
    return bytes(built.SerializeToString())


def session(content: bytes, threads: int) -> onnxruntime.InferenceSession:
    """Return an ONNX Runtime session with `threads` threads."""
    chosen = onnxruntime.SessionOptions()
    chosen.intra_op_num_threads = threads
    chosen.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(content, chosen, providers=["CPUExecutionProvider"])


def onnxruntime_side(p: Problem, threads: int) -> Side:
    """ONNX Runtime."""
    ready = session(model(p), threads)
    feed = {"x": np.ascontiguousarray(p.inputs.swapaxes(0, 1))}
    return Side(
        "onnxruntime", lambda: ready.run(["y"], feed)[0], lambda y: {"output": y[:, 0].swapaxes(0, 1)}
    )


def openvino_side(p: Problem, threads: int) -> Side:
    """OpenVINO in float32."""
    core = openvino.Core()
    options = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    request = core.compile_model(core.read_model(model(p)), "CPU", options).create_infer_request()
    feed = {"x": np.ascontiguousarray(p.inputs.swapaxes(0, 1))}
    return Side(
        "openvino",
        lambda: request.infer(feed, share_inputs=True, share_outputs=True)[0],
        lambda y: {"output": _batched(y)},
    )


def _batched(y: Array) -> Array:
    return np.array(y)[:, 0].swapaxes(0, 1)
