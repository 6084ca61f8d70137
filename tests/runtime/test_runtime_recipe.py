"""Recipes: what they say as text, which pieces of weights their parameters are, what they refuse."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

from stepfold import cells
from stepfold._runtime import Part, Recipe
from stepfold._runtime._recipe import VERSION
from stepfold._transform import recurrent_dropout

STEP = cells.lstm.step


def recipes() -> list[Recipe]:
    plain = Recipe.of(STEP, 5)
    return [
        plain,
        plain.but(reverse=True),
        plain.but(time_major=True, tokens=True),
        plain.but(active="lengths", padding="zero"),
        plain.but(active="packed", padding="none", initial=True),
        Recipe.of(STEP, 6),
        Recipe.of(cells.gru.step, 5),
        Recipe.of(recurrent_dropout(STEP), 5),
    ]


def test_text_says_all_of_a_recipe() -> None:
    made = recipes()
    for recipe in made:
        for again in (Recipe.from_text(recipe.text), pickle.loads(pickle.dumps(recipe))):
            assert again == recipe
            assert hash(again) == hash(recipe)
            assert again.key == recipe.key
    assert len({recipe.key for recipe in made}) == len(set(made)) == len(made)


def test_equal_flags_give_the_same_recipe() -> None:
    plain = Recipe.of(STEP, 5)
    assert Recipe.of(STEP, 5).but(reverse=True) is plain.but(reverse=True)


@pytest.mark.parametrize("text", ["", "{}", "[1]", "no", '{"units": 3}', "null", '"' * 200])
def test_text_that_is_no_recipe(text: str) -> None:
    with pytest.raises(ValueError, match=r"^this is no recipe of stepfold's: "):
        Recipe.from_text(text)


def test_a_recipe_of_another_version() -> None:
    data = json.loads(Recipe.of(STEP, 5).text) | {"version": VERSION + 1}
    expected = rf"^the recipe was written by another version of stepfold \({VERSION + 1}, not {VERSION}\)$"
    with pytest.raises(ValueError, match=expected):
        Recipe.from_text(json.dumps(data))


@pytest.mark.parametrize("flags", [{"active": "some"}, {"padding": "one"}])
def test_flags_that_there_are_not(flags: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"^active must be one of .* and padding one of "):
        Recipe.of(STEP, 5).but(**flags)


def test_parts() -> None:
    matrix, table = np.arange(24).reshape(4, 6), np.arange(24).reshape(2, 12)
    np.testing.assert_array_equal(Part(0).of(matrix, 2), matrix)
    np.testing.assert_array_equal(Part(0, 1).of(matrix, 2), matrix[2:4])
    np.testing.assert_array_equal(Part(0, 2, axis=1).of(matrix, 2), matrix[:, 4:6])
    np.testing.assert_array_equal(Part(0, 1, axis=1, transposed=True).of(matrix, 3), matrix[:, 3:6].T)
    np.testing.assert_array_equal(Part(0, 2, row=1).of(table, 4), table[1, 8:12])


def test_parameters_are_sums_of_their_pieces() -> None:
    step = cells.simple_rnn.step
    parts = {"W": (Part(0),), "U": (Part(1),), "b": (Part(2, row=0), Part(2, row=1))}
    recipe = Recipe(step, 2, tuple((name, parts[name]) for name in step.parameters), 3)
    weights = [np.ones((2, 3)), np.ones((2, 2)), np.arange(4.0).reshape(2, 2)]
    found = recipe.parameters(weights, lambda: np.zeros(2))
    np.testing.assert_array_equal(found["b"], [2, 4])
    assert found["W"] is weights[0]
    assert recipe.pieces([None, None, weights[2]], "W") == []
    none = Recipe(step, 2, tuple((name, parts[name] if name != "b" else ()) for name in step.parameters), 3)
    np.testing.assert_array_equal(none.parameters(weights, lambda: np.zeros(2))["b"], [0, 0])
    without = Recipe(step, 2, tuple((name, ()) for name in step.parameters), 0)
    with pytest.raises(ValueError, match=r"^parameter 'W' has no weight$"):
        without.parameters([], lambda: np.zeros(2))


def test_which_rows_may_share_a_prefix() -> None:
    tokens = Recipe.of(STEP, 5).but(tokens=True)
    assert tokens.shares
    assert tokens.but(active="mask").shares
    assert not tokens.but(initial=True).shares
    assert not tokens.but(active="packed").shares
    assert not Recipe.of(STEP, 5).shares
    assert not Recipe.of(recurrent_dropout(STEP), 5).but(tokens=True).shares
