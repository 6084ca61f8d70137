"""Cells in ONNX Runtime: every built-in one, other activations, random ones, against the kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx_helpers import BATCH, TIME, check, feed_of, holes, kinds, layer, model, session, values

import stepfold
from stepfold import Cell, cell, cells
from stepfold._moves import Window
from stepfold._ops import LOGICAL, PRODUCTS, REDUCTIONS, TABLE
from stepfold._reference import Reference
from stepfold.model import MERGES, BidirectionalLayer
from stepfold.onnx import to_onnx
from stepfold.onnx._builder import Builder
from strategies import cells as random_cells
from strategies import masks
from tests.kinds import KINDS

OPERATORS = {"simple_rnn": "RNN", "simple_rnn_relu": "RNN", "irnn": "RNN", "lstm": "LSTM", "gru": "GRU"}
OPERATORS["gru_reset_before"] = "GRU"


WINDOWS = {
    **dict.fromkeys(("roll", "shift", "rename"), Window(2, 5, 5)),
    "part": Window(1, 3, 5),
    "pad": Window(1, 8, 5),
    "repeat": Window(3, 15, 5),
    "block_sums": Window(5, 1, 5),
}


@pytest.mark.parametrize("op", TABLE)
def test_every_lowering_computes_the_operation(op: str) -> None:
    row = TABLE[op]
    random = np.random.default_rng(0)
    windows = [WINDOWS[op]] if op in WINDOWS else []
    arrays = [random.standard_normal((4, 5)).astype(np.float32) for _ in range(row.arity - len(windows))]
    if op in ("log", "sqrt"):
        arrays = [np.abs(a) for a in arrays]
    if op in PRODUCTS:
        arrays[0] = random.standard_normal((5, 5)).astype(np.float32)
    if op in ("matvec", "matvec_transposed"):
        arrays[0] = random.standard_normal((4, 5, 5)).astype(np.float32)
    if op == "where":
        arrays[0] = arrays[0] > 0
    if op in LOGICAL:
        arrays = [a > 0 for a in arrays]
    elif row.boolean:
        arrays[1][:, :2] = arrays[0][:, :2]
    b = Builder(np.dtype(np.float32))
    names = [f"in{k}" for k in range(len(arrays))]
    result = row.onnx(b, *names, *windows)
    types = [onnx.helper.np_dtype_to_tensor_dtype(a.dtype) for a in arrays]
    described = [
        onnx.helper.make_tensor_value_info(n, t, a.shape)
        for n, t, a in zip(names, types, arrays, strict=True)
    ]
    expected = np.asarray(row.numpy(*arrays, *windows))
    type_out = onnx.helper.np_dtype_to_tensor_dtype(expected.dtype)
    output = onnx.helper.make_tensor_value_info(result, type_out, expected.shape)
    used = {name for node in b.nodes for name in node.input}
    graph = onnx.helper.make_graph(b.nodes, op, described, [output], b.initializers(used))
    opsets = [onnx.helper.make_opsetid("", 18)]
    proto = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)
    (found,) = session(proto).run(None, dict(zip(names, arrays, strict=True)))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6, strict=True)
    assert expected.shape[-1] == (1 if op in REDUCTIONS else WINDOWS[op].size if op in WINDOWS else 5)


@pytest.mark.parametrize("name", KINDS)
def test_built_in_cells(name: str) -> None:
    cell = cells.by_name(name)
    expected = OPERATORS.get(name, "Scan")
    for mask in (None, holes()):
        for reverse in (False, True):
            for sequences in (False, True):
                one = layer(cell, reverse=reverse, sequences=sequences)
                proto = check([one], values(), mask)
                assert kinds(proto) & {"RNN", "LSTM", "GRU", "Scan"} == {expected}


@pytest.mark.parametrize("name", ["simple_rnn", "lstm", "gru", "layer_norm_lstm"])
def test_the_newest_opset(name: str) -> None:
    proto = check([layer(cells.by_name(name), sequences=True)], values(), holes(), opset=22)
    assert [each.version for each in proto.opset_import] == [22]


@pytest.mark.parametrize("name", ["simple_rnn", "lstm", "gru", "gru_reset_before", "peephole_lstm"])
def test_both_directions(name: str) -> None:
    cell = cells.by_name(name)
    for mask in (None, holes()):
        for merge in MERGES:
            for sequences in (False, True):
                forward = layer(cell, sequences=sequences)
                backward = layer(cell, reverse=True, sequences=sequences, seed=2)
                proto = check([BidirectionalLayer(forward, backward, merge)], values(), mask)
                recurrent = [n for n in proto.graph.node if n.op_type in ("RNN", "LSTM", "GRU", "Scan")]
                assert len(recurrent) == (2 if name == "peephole_lstm" else 1)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (cells.lstm, cells.lstm_with(stepfold.relu, stepfold.hard_sigmoid)),
        (cells.gru, cells.gru_reset_before),
        (cells.lstm, cells.simple_rnn),
        (cells.ugrnn, cells.gru),
    ],
)
def test_unlike_directions(first: Cell, second: Cell) -> None:
    wide = layer(second, reverse=True, units=4)
    check([BidirectionalLayer(layer(first), wide)], values() * 0.5, holes())
    both = BidirectionalLayer(
        layer(first, sequences=True), layer(second, reverse=True, sequences=True), "sum"
    )
    for mask in (None, holes()):
        check([both], values() * 0.5, mask)


FUNCTIONS = [
    stepfold.tanh,
    stepfold.sigmoid,
    stepfold.relu,
    stepfold.linear,
    stepfold.hard_sigmoid,
    stepfold.elu,
    stepfold.softsign,
]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_activations_of_the_operators(function: Callable[[Any], Any]) -> None:
    for made, kind in (
        (cells.simple_rnn_with(function), "RNN"),
        (cells.lstm_with(function, stepfold.hard_sigmoid), "LSTM"),
        (cells.lstm_with(stepfold.elu, function), "LSTM"),
        (cells.gru_with(stepfold.softsign, function, reset_after=False), "GRU"),
        (cells.gru_with(function), "GRU"),
    ):
        forward, backward = layer(made, units=2), layer(made, units=2, reverse=True, seed=2)
        proto = check([BidirectionalLayer(forward, backward)], values() * 0.3)
        assert kind in kinds(proto)


def test_an_activation_that_onnx_lacks_is_a_scan() -> None:
    for function in (stepfold.silu, stepfold.gelu, stepfold.softplus):
        assert "Scan" in kinds(check([layer(cells.lstm_with(function))], values(), holes()))


@settings(max_examples=25)
@given(random_cells(), masks(BATCH, TIME), st.booleans(), st.booleans())
def test_random_cells(made: Cell, mask: np.ndarray | None, reverse: bool, sequences: bool) -> None:
    assume(any(made.step.parameters.values()))  # axes say how many units there are
    one, inputs = layer(made, reverse=reverse, sequences=sequences), values()
    (found,) = session(to_onnx(model([one]))).run(None, {"values": inputs} | feed_of(mask))
    # the reference, which compiles nothing
    initial = [np.zeros((BATCH, one.units), np.float32) for _ in made.states]
    right = Reference(made.step, inputs, one.params, initial, mask=mask, reverse=reverse)
    expected = right.outputs if sequences else right.states[0]
    # sin, exp and products of a random cell magnify rounding, which ONNX Runtime does in another order
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4, strict=True)


def test_cells_that_use_little() -> None:
    @cell
    def constant_state(x, h, c, *, W, b):  # type: ignore[no-untyped-def]
        return b, W @ x + c

    @cell
    def without_input(x, h, *, U, b):  # type: ignore[no-untyped-def]
        return stepfold.tanh(U @ h + b)

    @cell
    def same_twice(x, h, c, *, W):  # type: ignore[no-untyped-def]
        new = stepfold.tanh(W @ x) + 0.5 * c
        return new, new

    @cell
    def swaps(x, h, c, *, W):  # type: ignore[no-untyped-def]
        return c, h + W @ x

    @cell
    def chosen_by_input(x, h, *, W):  # type: ignore[no-untyped-def]
        return stepfold.where(W @ x > 0.1, 0.5 * h, stepfold.tanh(W @ x))

    for made in (constant_state, without_input, same_twice, swaps, chosen_by_input):
        for mask in (None, holes()):
            for sequences in (False, True):
                check([layer(made, sequences=sequences)], values(), mask)


@pytest.mark.parametrize("name", ["lstm", "gru", "simple_rnn", "layer_norm_lstm", "indrnn"])
def test_float64(name: str) -> None:
    one = layer(cells.by_name(name), sequences=True, dtype=np.float64)
    proto = check([one], values(dtype=np.float64), holes())
    assert "Scan" in kinds(proto)
