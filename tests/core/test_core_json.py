"""A cell as JSON: written and read again, and texts that are not saved cells."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import stepfold
from stepfold import Cell, CellError, cell
from stepfold._graph import MAX_NODES
from stepfold._reference import Reference
from stepfold._step import Step
from stepfold._transform import zoneout
from tests.kinds import UNIFORM
from tests.strategies import cells, parameters

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


def with_nodes(count: int, entry: Any) -> str:
    """A saved cell with many more nodes."""
    data = json.loads(stepfold.cells.simple_rnn.to_json())
    data["nodes"] += [entry] * count
    return json.dumps(data)


LARGE = 3_900_000
TEXTS = {
    "nothing": ("", "Expecting value"),
    "a list": ("[]", "it is not a JSON object with an entry 'stepfold'"),
    "an empty object": ("{}", "it is not a JSON object with an entry 'stepfold'"),
    "only a format": ('{"stepfold": 1}', "'name' is missing"),
    "deep lists": ("[" * LARGE, "it is nested too deeply"),
    "deep objects": ('{"stepfold": 1, "a": ' + '{"a": ' * (LARGE // 6), "it is nested too deeply"),
    "a deep value": (
        with_nodes(1, None).replace("null", "[" * 500 + "]" * 500),
        "node 10: it is not a list [operation, inputs]",
    ),
    "a long integer": ('{"stepfold": ' + "1" * 10_000 + "}", "Exceeds the limit"),
    "a long fraction": ('{"stepfold": 1.' + "1" * LARGE + "}", "its format is 1.1111111"),
    "a long exponent": ('{"stepfold": 1e' + "1" * LARGE + "}", "its format is inf"),
    "a long string": ('{"stepfold": "' + "a" * LARGE + '"}', "its format is 'aaaa"),
    "a long text": (" " * 4_000_001, "it has 4,000,001 characters, more than 4,000,000"),
    "many entries": (
        "{" + ", ".join(f'"{k}": 0' for k in range(LARGE // 13)) + ', "stepfold": 0, "0": 0}',
        "an object has the entry '0' twice",
    ),
    "an entry twice": ('{"stepfold": 1, "stepfold": 1}', "an object has the entry 'stepfold' twice"),
    "a parameter twice": (
        LSTM.to_json().replace('"W_f": [', '"W_i": [', 1),
        "an object has the entry 'W_i' twice",
    ),
    "many nodes": (with_nodes(100_000, ["tanh", [9]]), "it has 100,010 nodes, more than 10,000"),
    "many inputs": (with_nodes(1, ["add", [9] * 900_000]), "node 10: add takes 2 inputs, not 900000"),
    "many states": (
        json.dumps(json.loads(LSTM.to_json()) | {"states": [f"s{k}" for k in range(300_000)]}),
        "it has 300,000 states, more than 10,000",
    ),
    "a cycle": (with_nodes(1, ["tanh", [10]]), "node 10: there is no earlier node 10"),
}


@pytest.mark.parametrize(("text", "reason"), TEXTS.values(), ids=TEXTS.keys())
def test_text_that_is_no_cell_is_refused_within_a_second(text: str, reason: str) -> None:
    begin = time.process_time()
    with pytest.raises(ValueError, match=r"^this is not a saved cell: ") as caught:
        Cell.from_json(text)
    assert time.process_time() - begin < 1
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 250


def test_the_longest_chain_is_read_within_a_second() -> None:
    data = json.loads(stepfold.cells.simple_rnn.to_json())
    while len(data["nodes"]) < MAX_NODES:
        data["nodes"].append(["tanh", [len(data["nodes"]) - 1]])
    data["outputs"] = [MAX_NODES - 1]
    text = json.dumps(data)
    begin = time.process_time()
    loaded = Cell.from_json(text)
    assert time.process_time() - begin < 1
    assert len(loaded.step.nodes) == MAX_NODES
    assert loaded.to_json() == text


def test_a_step_of_too_many_nodes_is_not_made() -> None:
    def step(x, h, *, W):
        h = W @ x + h
        for _ in range(MAX_NODES):
            h = stepfold.tanh(h)
        return h

    with pytest.raises(CellError) as caught:
        cell(step)
    assert str(caught.value) == (
        f"{__file__}:{step.__code__.co_firstlineno}: step has 10,005 nodes, more than 10,000; "
        "write the step with fewer operations"
    )


def accepted_whole(text: str) -> bool:
    """Whether a text is read as a cell: then it is saved again, derived and computed; else a ValueError."""
    try:
        loaded, refusal = Cell.from_json(text), ""
    except ValueError as error:
        loaded, refusal = None, str(error)
    if loaded is None:
        assert refusal.startswith("this is not a saved cell: ")
        return False
    again = Cell.from_json(loaded.to_json())
    assert again == loaded
    assert again.step.outputs == loaded.step.outputs
    params = parameters(loaded, 2, 3, seed=0)
    with np.errstate(all="ignore"):  # a changed constant may be huge
        run = Reference(loaded.step, np.ones((1, 1, 2)), params, [np.zeros((1, 3)) for _ in loaded.states])
        run.backward(np.ones((1, 1, 3)))
    return True


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 60)
    | st.floats()
    | st.sampled_from(["h", "W_i", "tanh", "matmul", "units", "features", "input", "constant", "row_input"])
    | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=300)
@given(data=st.data())
def test_cells_with_changed_entries_are_refused_or_whole(data: st.DataObject) -> None:
    """A few entries replaced, copied from elsewhere, doubled or removed."""
    saved = json.loads((LSTM if data.draw(st.booleans()) else data.draw(cells())).to_json())
    for _ in range(data.draw(st.integers(1, 3))):
        container: Any = saved
        while True:
            keys = list(container) if isinstance(container, dict) else list(range(len(container)))
            key = data.draw(st.sampled_from(keys))
            inner = container[key]
            if not isinstance(inner, (dict, list)) or not inner or data.draw(st.booleans()):
                break
            container = inner
        change = data.draw(st.sampled_from(("replace", "copy", "double", "remove")))
        if change == "replace":
            container[key] = data.draw(ANYTHING)
        elif change == "copy":
            container[key] = container[data.draw(st.sampled_from(keys))]
        elif change == "double" and isinstance(container, list):
            container.insert(key, container[key])
        else:
            del container[key]
            if not saved:
                break
    accepted_whole(json.dumps(saved))


@settings(max_examples=300)
@given(cell=cells(), data=st.data())
def test_texts_with_changed_characters_are_refused_or_whole(cell: Cell, data: st.DataObject) -> None:
    text = cell.to_json()
    for _ in range(data.draw(st.integers(1, 3))):
        begin = data.draw(st.integers(0, len(text)))
        end = min(len(text), begin + data.draw(st.integers(0, 6)))
        part = data.draw(
            st.sampled_from(
                ["", "0", "1", "-", "9e9", ",", "[", "]", '"', "NaN", "Infinity", text[begin:end] * 2]
            )
        )
        text = text[:begin] + part + text[end:]
    accepted_whole(text)


def test_an_unchanged_text_is_accepted() -> None:
    assert accepted_whole(LSTM.to_json())
    assert not accepted_whole(LSTM.to_json()[:-1])
