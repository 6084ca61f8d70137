"""Texts that are not saved cells: refused within a second, or whole."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import stepfold
from stepfold import Cell, CellError, cell
from stepfold._graph import MAX_NODES
from stepfold._reference import Reference
from tests.strategies import cells, parameters

LSTM = stepfold.cells.lstm


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
