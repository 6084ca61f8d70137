"""A cell as JSON: there and back, and what nobody wrote for us."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import stepfold
from stepfold import Cell, cell
from tests.strategies import cells

LSTM = stepfold.cells.lstm


@pytest.mark.parametrize("name", stepfold.cells.names())
def test_there_and_back(name: str) -> None:
    cell = stepfold.cells.by_name(name)
    loaded = Cell.from_json(cell.to_json())
    assert loaded == cell
    assert loaded.step.outputs == cell.step.outputs
    assert loaded.step.vectors == cell.step.vectors
    assert list(loaded.step.parameters) == list(cell.step.parameters)
    assert loaded.to_json() == cell.to_json()


@settings(max_examples=60)
@given(cell=cells())
def test_random_cells_there_and_back(cell: Cell) -> None:
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
        (("nodes",), {}, "'nodes' is missing or is no list"),
        (("name",), None, "'name' is missing or is no string"),
        (("states",), [], "it needs as many outputs as states, and at least one"),
        (("states",), [3], "a state's name is no string"),
        (("states",), ["W"], "two states or parameters have the same name"),
        (("parameters", "W"), ["units", "time"], "parameter 'W' cannot have the axes ('units', 'time')"),
        (("parameters", "W"), 7, "parameter 'W' cannot have the axes ()"),
        (("parameters", "W"), ["units"], "parameter 'W' is not declared with axes ('units', 'features')"),
        (("parameters", "q"), ["units"], "parameter(s) q are never used"),
        (("vectors", "W"), 1.0, "'vectors' names 'W', which is no vector parameter"),
        (("vectors", "b"), "x", "'b' starts from no number"),
        (("vectors", "b"), 10**400, f"1{'0' * 39} is no number in the range of a float"),
        (("outputs",), [99], "node 99 does not exist yet"),
        (("outputs",), [-1], "node -1 does not exist yet"),
        (("outputs",), [True], "node True does not exist yet"),
        (("outputs",), [0], "an output does not have the axis units"),
        (("nodes", 0), 5, "node 0 is no list [operation, inputs]"),
        (("nodes", 0), ["parameter", ["W"]], "operation 'parameter' is unknown"),
        (("nodes", 0), ["constant", [True], []], "leaf 'constant' cannot be of [True]"),
        (("nodes", 0), ["constant", [], []], "leaf 'constant' cannot be of []"),
        (("nodes", 0), ["input", ["x"], ["features"]], "leaf 'input' cannot be of ['x']"),
        (("nodes", 0), ["cotangent", ["h"], ["units"]], "leaf 'cotangent' is unknown"),
        (("nodes", 0), ["state", ["h"], ["features"]], "leaf 'state' cannot have the axes ['features']"),
        (("nodes", 2), ["__import__", [0, 1]], "operation '__import__' is unknown"),
        (("nodes", 2), ["matmul", [0]], "matmul takes 2 inputs, not 1"),
        (("nodes", 2), ["matmul", [0, 2]], "node 2 does not exist yet"),
        (("nodes", 2), ["matmul", [1, 1]], "(features,) @ (features,) do not fit"),
        (("nodes", 2), ["add", [0, 0]], "a matrix (units, features) can only stand on the left of @"),
    ],
)
def test_changed_entries(path: tuple[Any, ...], value: Any, text: str) -> None:
    assert refused(lambda data: replace(data, path, value)) == text


def test_maths_that_no_tracing_allows() -> None:
    def features_through_tanh(data: dict[str, Any]) -> None:
        data["nodes"] += [["tanh", [1]]]
        data["nodes"] += [["matmul", [0, len(data["nodes"]) - 1]]]
        data["nodes"] += [["add", [len(data["nodes"]) - 1, data["outputs"][0]]]]
        data["outputs"] = [len(data["nodes"]) - 1]

    assert refused(features_through_tanh) == "tanh cannot take a value with axes ('features',)"

    def comparison_as_number(data: dict[str, Any]) -> None:
        data["nodes"] += [["less", [len(data["nodes"]) - 1] * 2]]
        data["nodes"] += [["tanh", [len(data["nodes"]) - 1]]]
        data["outputs"] = [len(data["nodes"]) - 1]

    assert refused(comparison_as_number) == "input 0 of tanh is a comparison"

    def number_as_condition(data: dict[str, Any]) -> None:
        data["nodes"] += [["where", [len(data["nodes"]) - 1] * 3]]
        data["outputs"] = [len(data["nodes"]) - 1]

    assert refused(number_as_condition) == "input 0 of where is no comparison"

    def matrix_of_a_matrix(data: dict[str, Any]) -> None:
        data["nodes"] += [["constant", [1.0], ["units"]]]
        data["outputs"] = [len(data["nodes"])]
        data["nodes"] += [["matmul", [len(data["nodes"]) - 1] * 2]]

    assert refused(matrix_of_a_matrix) == "(units,) @ (units,) do not fit"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Expecting value"),
        ("[]", "it is no JSON object with an entry 'stepfold'"),
        ("{}", "it is no JSON object with an entry 'stepfold'"),
        ('{"stepfold": 1}', "'name' is missing"),
        ("[" * 100_000, "it is nested too deeply"),
        ('{"stepfold": 1, "a": ' + '{"a": ' * 100_000, "it is nested too deeply"),
        ('{"stepfold": ' + "1" * 10_000 + "}", "Exceeds the limit"),
    ],
)
def test_text_that_is_no_cell(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=r"^this is not a saved cell: ") as caught:
        Cell.from_json(text)
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 200


def test_too_many_nodes() -> None:
    def many(data: dict[str, Any]) -> None:
        data["nodes"] += [["tanh", [len(data["nodes"]) - 1]]] * 100_000

    assert refused(many).endswith("nodes, more than 100000")


def test_a_long_chain_is_read_without_recursion() -> None:
    data = json.loads(stepfold.cells.simple_rnn.to_json())
    for _ in range(20_000):
        data["nodes"].append(["tanh", [len(data["nodes"]) - 1]])
    data["outputs"] = [len(data["nodes"]) - 1]
    loaded = Cell.from_json(json.dumps(data))
    assert len(loaded.step.nodes) == len(data["nodes"])


@settings(max_examples=200)
@given(data=st.data())
def test_damaged_cells_are_refused_or_whole(data: st.DataObject) -> None:
    """Any single entry replaced by anything: a ValueError, or a cell that can be saved again."""
    saved = json.loads(LSTM.to_json())
    container: Any = saved
    while True:
        keys = list(container) if isinstance(container, dict) else list(range(len(container)))
        key = data.draw(st.sampled_from(keys))
        inner = container[key]
        if not isinstance(inner, (dict, list)) or not inner or data.draw(st.booleans()):
            break
        container = inner
    anything = (
        st.none() | st.booleans() | st.integers(-3, 60) | st.floats() | st.sampled_from(["h", "W_i", "tanh"])
    )
    container[key] = data.draw(anything | st.lists(anything, max_size=3) | st.just({}))
    try:
        loaded, refusal = Cell.from_json(json.dumps(saved)), None
    except ValueError as error:
        loaded, refusal = None, str(error)
    if loaded is None:
        assert refusal is not None
        assert refusal.startswith("this is not a saved cell: ")
    else:
        assert Cell.from_json(loaded.to_json()).step.outputs == loaded.step.outputs
