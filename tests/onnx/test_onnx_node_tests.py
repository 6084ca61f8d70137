"""The ONNX project's own tests of the operators RNN, LSTM and GRU, which come inside the package onnx."""

from __future__ import annotations

import importlib

import numpy as np
import onnx.backend.test.case.node as node_cases
import pytest

from stepfold.onnx import from_onnx

for _kind in ("rnn", "lstm", "gru"):
    # a module's classes add their cases to the list as they are defined
    importlib.import_module(f"onnx.backend.test.case.node.{_kind}")

CASES = {
    case.name: case
    for case in node_cases._NodeTestCases
    if any(node.op_type in ("RNN", "LSTM", "GRU") for node in case.model.graph.node)
}
EXPECTED = {
    "test_simple_rnn_defaults",
    "test_simple_rnn_with_initial_bias",
    "test_rnn_seq_length",
    "test_simple_rnn_batchwise",
    "test_simple_rnn_reverse",
    "test_simple_rnn_bidirectional",
    "test_lstm_defaults",
    "test_lstm_with_initial_bias",
    "test_lstm_with_peepholes",
    "test_lstm_batchwise",
    "test_lstm_reverse",
    "test_lstm_bidirectional",
    "test_gru_defaults",
    "test_gru_with_initial_bias",
    "test_gru_seq_length",
    "test_gru_batchwise",
    "test_gru_reverse",
    "test_gru_bidirectional",
}
"""Those of onnx 1.23; older ones have fewer. A new one runs too, and this list says so."""


def test_which_cases_there_are() -> None:
    assert CASES.keys() <= EXPECTED, "add the new cases to the list"
    assert len(CASES) >= 12


@pytest.mark.parametrize("name", sorted(CASES))
def test_case(name: str) -> None:
    case = CASES[name]
    model = from_onnx(case.model)
    assert case.data_sets
    for inputs, outputs in case.data_sets:
        names = [each.name for each in model.inputs]
        found = model.run(dict(zip(names, inputs, strict=True)))
        assert list(found) == list(model.outputs)
        for value, expected in zip(found.values(), outputs, strict=True):
            np.testing.assert_allclose(value, expected, rtol=case.rtol, atol=case.atol, strict=True)
