"""A cell as JSON: written and read again, and entries that are changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings

import stepfold
from stepfold import Cell, cell
from stepfold._step import Step
from stepfold._transform import zoneout
from tests.kinds import UNIFORM
from tests.strategies import cells

LSTM = stepfold.cells.lstm


@pytest.mark.parametrize("name", UNIFORM)
def test_a_cell_is_read_as_it_was_written(name: str) -> None:
    cell = stepfold.cells.by_name(name)
    loaded = Cell.from_json(cell.to_json())
    assert loaded == cell
    assert loaded.step.outputs == cell.step.outputs
    assert loaded.step.vectors == cell.step.vectors
    assert list(loaded.step.parameters) == list(cell.step.parameters)
    assert loaded.to_json() == cell.to_json()


@settings(max_examples=60)
@given(cell=cells())
def test_random_cells_are_read_as_they_were_written(cell: Cell) -> None:
    loaded = Cell.from_json(cell.to_json())
    assert loaded.step.outputs == cell.step.outputs


def test_infinities_and_zeros_keep_their_signs() -> None:
    @cell
    def odd(x, h, *, W):
        return stepfold.where(W @ x > -0.0, float("inf"), -float("inf")) + h * 1e-300

    assert Cell.from_json(odd.to_json()).step.outputs == odd.step.outputs


def refused(change: Callable[[dict[str, Any]], object], base: Cell = stepfold.cells.simple_rnn) -> str:
    """What loading says of a saved cell that somebody changed."""
    data = json.loads(base.to_json())
    change(data)
    with pytest.raises(ValueError, match=r"^this is not a saved cell: ") as caught:
        Cell.from_json(json.dumps(data))
    return str(caught.value).removeprefix("this is not a saved cell: ")


def replace(data: Any, path: tuple[Any, ...], value: Any) -> None:
    for key in path[:-1]:
        data = data[key]
    data[path[-1]] = value


@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        (("stepfold",), 2, "its format is 2, this version reads 1"),
        (("stepfold",), True, "its format is True, this version reads 1"),
        (("nodes",), {}, "'nodes' is missing or is not a list"),
        (("name",), None, "'name' is missing or is not a string"),
        (("name",), "a\nb", "'name' is not a printable string of at most 1,000 characters"),
        (("name",), "a" * 1001, "'name' is not a printable string of at most 1,000 characters"),
        (("states",), [], "node 4: state 'h' is not declared with the axes ['units']"),
        (("states",), ["h", "g"], "it needs as many outputs as states, and at least one"),
        (("states",), [3], "3 cannot name a state or parameter; a Python name can"),
        (("states",), ["h)"], "'h)' cannot name a state or parameter; a Python name can"),
        (("states",), [["h"]], "['h'] cannot name a state or parameter; a Python name can"),
        (("states",), ["W"], "two states or parameters have the same name"),
        (("states",), ["h", "h"], "two states or parameters have the same name"),
        (("parameters", "W"), ["units", "time"], "parameter 'W' cannot have the axes ['units', 'time']"),
        (("parameters", "W"), [["units"]], "parameter 'W' cannot have the axes [['units']]"),
        (("parameters", "W"), 7, "parameter 'W' cannot have the axes 7"),
        (
            ("parameters", "W"),
            ["units"],
            "node 0: parameter 'W' is not declared with the axes ['units', 'features']",
        ),
        (("parameters", "q"), ["units"], "the parameter 'q' is never used"),
        (("vectors", "W"), 1.0, "'vectors' names 'W', which is not a vector or scalar parameter"),
        (("vectors", "b"), "x", "the initial value of 'b': 'x' is not a number"),
        (("vectors", "b"), True, "the initial value of 'b': True is not a number"),
        (("vectors", "b"), [1.0], "the initial value of 'b': [1.0] is not a number"),
        (("vectors", "b"), float("inf"), "the initial value of 'b': inf is not finite"),
        (("vectors", "b"), float("nan"), "the initial value of 'b': nan is not finite"),
        (("kernels",), [], "'kernels' is not an object"),
        (("kernels",), {"b": ["normal", 1.0]}, "'kernels' names 'b', which is not a kernel"),
        (("kernels",), {"q": ["normal", 1.0]}, "'kernels' names 'q', which is not a kernel"),
        (
            ("kernels",),
            {"W": ["zeros", 1.0]},
            "'kernels' begins 'W' with ['zeros', 1.0], expected 'identity', 'normal' or 'legendre' and a "
            "number",
        ),
        (
            ("kernels",),
            {"W": [["normal"]]},
            "'kernels' begins 'W' with [['normal']], expected 'identity', 'normal' or 'legendre' and a "
            "number",
        ),
        (
            ("kernels",),
            {"W": ["identity", 1.0]},
            "'kernels' begins 'W' as the identity, but only a recurrent kernel is square",
        ),
        (
            ("kernels",),
            {"W": ["normal", -1.0]},
            "'kernels' begins 'W' with the standard deviation -1; it is negative",
        ),
        (("kernels",), {"W": ["normal", "1"]}, "the initial value of 'W': '1' is not a number"),
        (("kernels",), {"W": ["normal", float("inf")]}, "the initial value of 'W': inf is not finite"),
        (("outputs",), [99], "there is no earlier node 99"),
        (("outputs",), [-1], "there is no earlier node -1"),
        (("outputs",), [True], "there is no earlier node True"),
        (("outputs",), [[0]], "there is no earlier node [0]"),
        (("outputs",), [0], "an output does not have the axes (units,)"),
        (("nodes", 0), 5, "node 0: it is not a list [operation, inputs] or [leaf, attributes, axes]"),
        (("nodes", 0), [5, []], "node 0: it is not a list [operation, inputs] or [leaf, attributes, axes]"),
        (("nodes", 0), ["parameter", ["W"]], "node 0: the operation 'parameter' is unknown"),
        (("nodes", 0), ["constant", [True], []], "node 0: True is not a number"),
        (("nodes", 0), ["constant", ["1"], []], "node 0: '1' is not a number"),
        (("nodes", 0), ["constant", [float("nan")], []], "node 0: a constant cannot be NaN"),
        (("nodes", 0), ["constant", [], []], "node 0: constant cannot have the attributes []"),
        (
            ("nodes", 0),
            ["constant", [1.0], ["features"]],
            "node 2: input 0 of matmul must be a parameter with two axes",
        ),
        (("nodes", 0), ["constant", [1.0], ["time"]], "node 0: constant cannot have the axes ['time']"),
        (
            ("nodes", 0),
            ["input", ["x"], ["features"]],
            "node 0: input 'x' is not declared with the axes ['features']",
        ),
        (
            ("nodes", 0),
            ["input", [], ["units"]],
            "node 0: the input without a name cannot have the axes ['units']",
        ),
        (("nodes", 0), ["size", ["3"], []], "node 0: the size of '3' is unknown; an axis has a size"),
        (("state_dims",), {"g": ["units"]}, "'state_dims' names 'g', which is no state"),
        (("state_dims",), {"h": []}, "state 'h' cannot have the axes []"),
        (("inputs",), {"gap": ["1"]}, "the input 'gap' is never used"),
        (("inputs",), {"W": ["1"]}, "two states or parameters have the same name"),
        (("inputs",), [], "'inputs' is not an object of at most 10,000 entries"),
        (("output",), 1, "'output' is not true or false"),
        (
            ("output",),
            True,
            "an output that is no state cannot be read, and stands before at least one state",
        ),
        (("nodes", 0), ["cotangent", ["h"], ["units"]], "node 0: the leaf 'cotangent' is unknown"),
        (
            ("nodes", 0),
            ["state", ["h"], ["features"]],
            "node 0: state 'h' is not declared with the axes ['features']",
        ),
        (
            ("nodes", 0),
            ["state", ["g"], ["units"]],
            "node 0: state 'g' is not declared with the axes ['units']",
        ),
        (("nodes", 0), ["state", [{}], ["units"]], "node 0: state cannot have the name {}"),
        (
            ("nodes", 0),
            ["parameter", ["V"], ["units"]],
            "node 0: parameter 'V' is not declared with the axes ['units']",
        ),
        (("nodes", 0), ["row_input", ["a\n"], ["units"]], "node 0: row_input cannot have the name 'a\\n'"),
        (("nodes", 2), ["__import__", [0, 1]], "node 2: the operation '__import__' is unknown"),
        (("nodes", 2), ["matmul", [0]], "node 2: matmul takes 2 inputs, not 1"),
        (("nodes", 2), ["matmul", [0, 2]], "node 2: there is no earlier node 2"),
        (("nodes", 2), ["matmul", [0, 5]], "node 2: there is no earlier node 5"),
        (("nodes", 2), ["matmul", [1, 1]], "node 2: input 0 of matmul must be a parameter with two axes"),
        (
            ("nodes", 2),
            ["add", [0, 0]],
            "node 6: (units,) and (units, features) do not fit together elementwise",
        ),
    ],
)
def test_changed_entries(path: tuple[Any, ...], value: Any, text: str) -> None:
    assert refused(lambda data: replace(data, path, value)) == text


def test_graphs_that_tracing_cannot_make() -> None:
    def features_through_tanh(data: dict[str, Any]) -> None:
        data["nodes"] += [["tanh", [1]]]
        data["nodes"] += [["matmul", [0, len(data["nodes"]) - 1]]]
        data["nodes"] += [["add", [len(data["nodes"]) - 1, data["outputs"][0]]]]
        data["outputs"] = [len(data["nodes"]) - 1]

    assert refused(features_through_tanh) == "node 10: tanh cannot take a value with the axes (features,)"

    def comparison_as_number(data: dict[str, Any]) -> None:
        data["nodes"] += [["less", [len(data["nodes"]) - 1] * 2]]
        data["nodes"] += [["tanh", [len(data["nodes"]) - 1]]]
        data["outputs"] = [len(data["nodes"]) - 1]

    assert refused(comparison_as_number) == "node 11: input 0 of tanh is a comparison"

    def number_as_condition(data: dict[str, Any]) -> None:
        data["nodes"] += [["where", [len(data["nodes"]) - 1] * 3]]
        data["outputs"] = [len(data["nodes"]) - 1]

    assert refused(number_as_condition) == "node 10: input 0 of where is not a comparison"

    def matrix_of_a_matrix(data: dict[str, Any]) -> None:
        data["nodes"] += [["constant", [1.0], ["units"]]]
        data["outputs"] = [len(data["nodes"])]
        data["nodes"] += [["matmul", [len(data["nodes"]) - 1] * 2]]

    assert refused(matrix_of_a_matrix) == "node 11: input 0 of matmul must be a parameter with two axes"

    def features_of_units(data: dict[str, Any]) -> None:
        data["nodes"] += [["matmul_transposed", [0, data["outputs"][0]]]]
        data["nodes"] += [["add", [len(data["nodes"]) - 1, data["outputs"][0]]]]

    assert refused(features_of_units) == ("node 11: (features,) and (units,) do not fit together elementwise")

    def parameter_beside_the_outputs(data: dict[str, Any]) -> None:
        data["outputs"] = [4]

    assert refused(parameter_beside_the_outputs) == "the parameter 'U' is never used"


def test_a_cell_has_no_leaves_of_a_layer() -> None:
    step = zoneout(LSTM.step)
    assert Step.from_json(step.to_json()) == step
    with pytest.raises(
        ValueError, match=r"^this is not a saved cell: it needs 'zoneout\.h', which only a layer"
    ):
        Cell.from_json(step.to_json())
