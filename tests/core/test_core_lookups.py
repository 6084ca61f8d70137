# ruff: noqa: F722, F821, UP037
"""Integers that choose rows of parameters, in the language: what is traced, what is refused."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
import pytest

import stepfold
from stepfold import Cell, CellError, Scalar, cell, concatenate, tanh, where
from stepfold._reference import Reference
from tests.core.core_helpers import close


@cell(vectors={"c": 0.5}, kernels={"F": ("normal", 2.0)})
def by_word(
    word: int, h, *, E: "vocabulary units", F: "vocabulary embed", V: "units embed", c: "vocabulary", U
):
    """Three tables of one integer: a vector, one behind a kernel, a number."""
    return tanh(E[word] + V @ F[word] + c[word] * (U @ h))


@cell
def beside(x, day: int, gap: Scalar, week: np.int64, /, h, *, W, U, D: "days units", w):
    """Two integers of one table, beside other inputs."""
    return tanh(W @ x + D[day] - 0.5 * D[week] + U @ h + gap * w)


def test_what_a_step_says() -> None:
    assert repr(by_word) == "<cell by_word(word, h, *, E, F, V, c, U)>"
    assert by_word.step.input_names == ["word"]
    assert beside.step.input_names == ["x", "day", "gap", "week"]
    assert by_word.step.own_axes == ("units", "embed", "vocabulary")
    assert by_word.parameter_shapes(features=1, units=4, embed=3, vocabulary=9)["c"] == (9,)
    gathered = beside.step.gathered
    assert gathered.inputs == {"D[day]": ("units",), "gap": ("1",), "D[week]": ("units",)}
    assert list(gathered.parameters) == ["W", "U", "w"]
    assert gathered.nodes == beside.step.nodes
    assert gathered.gathered is gathered
    assert stepfold.cells.lstm.step.gathered is stepfold.cells.lstm.step  # which has no integers
    with pytest.raises(ValueError, match="by_word needs the size of embed, vocabulary; give embed=…, vocab"):
        by_word.parameter_shapes(features=1, units=4)


def test_tables_begin_as_embeddings_do() -> None:
    params = by_word.init(1, 16, seed=0, embed=50, vocabulary=100)
    assert np.abs(params["E"]).max() <= 0.05
    assert 0.02 < params["E"].std() < 0.04
    assert 1.9 < params["F"].std() < 2.1
    assert (params["c"] == 0.5).all()


def test_one_step_is_the_function_itself() -> None:
    """NumPy's own indexing, in the function, and the graph of it, which knows no indexing."""
    random = np.random.default_rng(0)
    params = by_word.init(1, 4, seed=0, dtype=np.float64, embed=3, vocabulary=7)
    h, words = random.standard_normal((7, 4)), np.arange(7)
    together = by_word(words, h, **params)
    for word in words:
        close(by_word(word, h[word], **params), together[word], 1e-15)
    other = beside.init(3, 4, seed=0, dtype=np.float64, days=5)
    x, gap = random.standard_normal((7, 3)), random.standard_normal((7, 1))
    days, weeks = random.integers(5, size=(2, 7)).astype(np.uint8)
    together = beside(x, days, gap, weeks, h, **other)
    for k in range(7):
        close(beside(x[k], days[k], gap[k], int(weeks[k]), h[k], **other), together[k], 1e-15)
    for ids in (-1, [0, 7, 0, 0, 0, 0, 0]):
        with pytest.raises(
            IndexError, match=r"input word is (-1|7 at \(1,\)), but E, of shape \(7, 4\), has"
        ):
            by_word(ids, h if np.ndim(ids) else h[0], **params)
    for ids in (1.0, True, "a"):
        with pytest.raises(
            TypeError, match="input word holds integers, which choose rows of a parameter, not"
        ):
            by_word(ids, h[0], **params)
    with pytest.raises(ValueError, match="input day has shape"):
        beside(x, days[:3], gap, weeks, h, **other)


def test_gradients_of_tables_are_slopes() -> None:
    random = np.random.default_rng(0)
    params = beside.init(3, 4, seed=0, dtype=np.float64, days=5)
    x, gap = random.standard_normal((2, 3, 3)), random.standard_normal((2, 3, 1))
    day, week = np.array([[0, 1, 1], [4, 0, 1]]), np.array([[1, 1, 1], [0, 0, 4]])
    weights = random.standard_normal((2, 3, 4))

    def run(table: np.ndarray) -> Reference:
        named = {"day": day, "gap": gap, "week": week}
        return Reference(beside.step, x, params | {"D": table}, [np.zeros((2, 4))], named=named)

    _, gradients, _ = run(params["D"]).backward(weights)
    found = np.zeros((5, 4))
    for at in np.ndindex(5, 4):
        moved = np.zeros((5, 4))
        moved[at] = 1e-6
        up, down = (run(params["D"] + sign * moved).outputs for sign in (1, -1))
        found[at] = ((up - down) * weights).sum() / 2e-6
    close(gradients["D"], found, 1e-8)
    assert not gradients["D"][2].any()


def test_a_cell_inside_a_cell() -> None:
    @cell
    def inner(word: int, h, *, E: "vocabulary units", U):
        return tanh(E[word] + U @ h)

    @cell
    def outer(x, word: int, /, h, *, W, U, A: "words units"):
        return inner(word, h, E=A, U=U) + W @ x

    assert [row.name for row in outer.step.lookups] == ["A[word]"]


def test_annotations() -> None:
    class Jaxtyping:
        """What jaxtyping's `Int[Array, ""]` is."""

        dtypes, dim_str = ("int8", "uint16"), ""

    def step(word: Any, h: Any, *, E: "vocabulary units") -> Any:
        return tanh(E[word] + h)

    for annotation in (int, "int", np.integer, np.uint8, "np.int32", Jaxtyping, "Jaxtyping"):
        step.__annotations__["word"] = annotation
        step.__globals__["Jaxtyping"] = Jaxtyping
        assert cell(step).step.integers == ("word",)
    for other in (bool, float, Annotated[Any, "vocabulary"]):
        step.__annotations__["word"] = other
        with pytest.raises(CellError):
            cell(step)


def number(word: int, h, *, E: "vocabulary units", w):
    return tanh(E[word] + (word + 1) * w)


def product(word: int, h, *, E: "vocabulary units"):
    return tanh(E @ word + h)


def value(word: int, h, *, E: "vocabulary units"):
    return tanh(E[h] + h)


def of_a_state(word: int, h, *, E: "vocabulary units"):
    return tanh(E[word] + h[word])


def sliced(word: int, h, *, E: "vocabulary units"):
    return tanh(E[word:] + h)


def undeclared(word: int, h, *, E):
    return tanh(E[word] + h)


def scalar(word: int, h, *, E: Scalar):
    return tanh(E[word] + h)


def both_ways(word: int, h, *, E: "units units"):
    return tanh(E[word] + E @ h)


def number_and_row(word: int, h, *, b: "units"):
    return tanh(b[word] + b * h)


def branching(word: int, h, *, E: "vocabulary units"):
    return where(word == 3, h, E[word])


def looping(word: int, h, *, E: "vocabulary units"):
    for _ in range(word):
        h = h + E[word]
    return h


def function(word: int, h, *, E: "vocabulary units"):
    return tanh(word) + E[word]


def together(word: int, h, *, E: "vocabulary units"):
    return concatenate([word, h[1:]]) + E[word]


def unread(x, word: int, /, h, *, W):
    return tanh(W @ x + h)


def returned(word: int, h, *, E: "vocabulary units"):
    return word


def unfitting(word: int, h, *, E: "vocabulary embed"):
    return tanh(E[word] + h)


INTEGER = "word is an integer, which only chooses a row of a parameter, E[word] with"
REFUSED: dict[Callable[..., Any], str] = {
    number: INTEGER, product: INTEGER, of_a_state: INTEGER, sliced: INTEGER, branching: INTEGER,
    looping: INTEGER, function: INTEGER, together: INTEGER, returned: INTEGER,
    value: "parts are by integers that are fixed when the step is traced, such as hyper-parameters, not by",
    undeclared: 'E[word] is a row of E, whose axes must be declared: E: "vocabulary units"',
    scalar: "E[word] is a row of E, whose axes must be declared",
    both_ways: "parameter 'E' is used as a recurrent kernel (units, units), but before that as the table of",
    number_and_row: "parameter 'b' is used elementwise, as a vector (units,), but before that as the table o",
    unread: "unread never uses the input word; remove what is not needed",
    unfitting: "(embed,) and (units,) do not fit together elementwise",
}  # fmt: skip


@pytest.mark.parametrize("step", REFUSED, ids=lambda step: step.__name__)
def test_what_is_refused(step: Callable[..., Any]) -> None:
    with pytest.raises(CellError) as error:
        cell(step)
    place, _, text = str(error.value).partition(": ")
    assert place.startswith(__file__)
    assert text.startswith(REFUSED[step])


def test_parts_are_as_before() -> None:
    @cell
    def parts(x, h, *, W, b: "units", A: "4 units"):
        return tanh(W @ x + b[0] * h + A[1])

    params = parts.init(3, 2, seed=0)
    params["A"] += np.arange(4, dtype=np.float32)[:, None]
    h = np.ones(2, np.float32)
    x = np.zeros(3, np.float32)
    assert np.allclose(parts(x, h, **params), np.tanh([1, 1]))


def test_views() -> None:
    text = " ".join(by_word.show().split())
    assert "word is an integer." in text
    assert "h' = tanh(E[word] + V @ F[word] + c[word] * (U @ h))" in text
    assert "uniform, within 0.05" in text
    assert "normal, deviation 2" in text
    assert "d_E[word] += delta" in by_word.show("gradient")
    assert r"E[\text{word}_t] + V F[\text{word}_t]" in by_word.show("latex")
    assert "E[word]" in by_word.show("graph")
    assert "define" in by_word.show("llvm", units=8)


@pytest.mark.parametrize("made", [by_word, beside], ids=lambda made: made.name)
def test_as_json(made: Cell) -> None:
    again = Cell.from_json(made.to_json())
    assert again == made == pickle.loads(pickle.dumps(made))
    assert again.step.lookups == made.step.lookups
    assert again.step.gathered == made.step.gathered
    assert stepfold._step.Step.from_json(made.step.gathered.to_json()) == made.step.gathered


def changed(made: Cell, change: Callable[[dict[str, Any]], Any]) -> str:
    data = json.loads(made.to_json())
    change(data)
    return json.dumps(data)


def leaf_of(name: str, to: Any) -> Callable[[dict[str, Any]], Any]:
    def change(data: dict[str, Any]) -> None:
        data["nodes"] = [to if node[:2] == ["input", [name]] else node for node in data["nodes"]]

    return change


HOSTILE: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "an integer as a value": (leaf_of("E[word]", ["input", ["word"], []]), "input cannot have the axes"),
    "an integer as a vector": (
        leaf_of("E[word]", ["input", ["word"], ["units"]]), "input 'word' is not declared with the axes"),
    "no such table": (leaf_of("E[word]", ["input", ["A[word]"], ["units"]]), "'A[word]' is no row ['units']"),
    "no such integer": (leaf_of("E[word]", ["input", ["E[day]"], ["units"]]), "'E[day]' is no row ['units']"),
    "other axes": (leaf_of("E[word]", ["input", ["E[word]"], ["embed"]]), "'E[word]' is no row ['embed'] of"),
    "a state as a table": (leaf_of("E[word]", ["input", ["h[word]"], ["units"]]), "'h[word]' is no row"),
    "a table besides": (
        leaf_of("E[word]", ["input", ["V[word]"], ["embed"]]), "input 1 of add must be|do not fit together"),
    "a parameter both ways": (
        leaf_of("F[word]", ["input", ["V[word]"], ["embed"]]), "the parameter 'V' is a table, and is used o"),
    "an integer with axes": (lambda data: data["inputs"].update(word=["units"]), "'E[word]' is no row"),
    "a row with an input's name": (
        lambda data: data["inputs"].update({"E[word]": ["units"]}), "the parameter 'E' is never used"),
    "no integer": (lambda data: data.update(inputs={}), "'E[word]' is no row"),
    "axes that are none": (lambda data: data["inputs"].update(word=None), "cannot have the axes None"),
    "a name that is none": (lambda data: data["inputs"].update({"E[0]": []}), "'E[0]' cannot name a state"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_texts(name: str) -> None:
    change, told = HOSTILE[name]
    with pytest.raises(ValueError) as error:
        Cell.from_json(changed(by_word, change))
    assert any(each in str(error.value) for each in told.split("|")), error.value


def test_a_gathered_step_is_no_saved_cell() -> None:
    with pytest.raises(
        ValueError, match=r"this is not a saved cell: its input 'E\[word\]' has no Python name"
    ):
        Cell.from_json(by_word.step.gathered.to_json())
