"""Weights that do not fit the recipe are refused before anything is recorded."""

from __future__ import annotations

import numpy as np
import pytest

from stepfold import cells
from stepfold._native import Array
from stepfold._runtime import Call, Part, Recipe, engine_for

UNITS, FEATURES = 4, 3
CELL = cells.simple_rnn
FUSED = (("W", (Part(0, 1),)), ("U", (Part(1),)), ("b", (Part(2, 0, 1, row=1),)))


def call(recipe: Recipe, *shapes: tuple[int, ...]) -> Call:
    weights: list[Array] = [np.zeros(shape, np.float32) for shape in shapes]
    engine = engine_for(CELL.step, UNITS, np.dtype(np.float32))
    return Call(engine, recipe, np.zeros((2, 5, FEATURES), np.float32), weights)


@pytest.mark.parametrize(
    ("shapes", "text"),
    [
        ([(4, 3), (4, 4)], "there are 2 weights, the recipe has 3"),
        ([(5, 3), (4, 4), (4,)], "weight 0 has shape (5, 3), but Part(weight=0"),
        ([(4, 2), (4, 4), (4,)], "should be parameter 'W' of shape (4, 3)"),
        ([(4, 3), (4,), (4,)], "weight 1 has shape (4,)"),
        ([(4, 3), (4, 4), (1,)], "weight 2 has shape (1,)"),
        ([(4, 3), (4, 4), ()], "weight 2 has shape ()"),
    ],
)
def test_weights_of_another_shape(shapes: list[tuple[int, ...]], text: str) -> None:
    with pytest.raises(ValueError) as found:
        call(Recipe.of(CELL.step, UNITS), *shapes).forward(outputs=True, training=True)
    assert text in str(found.value)


@pytest.mark.parametrize(
    ("shapes", "text"),
    [
        ([(4, 3), (4, 4), (2, 4)], "weight 0 has shape (4, 3), but Part(weight=0, block=1"),
        ([(8, 3), (4, 4), (1, 4)], "weight 2 has shape (1, 4)"),
        ([(8, 3), (4, 4), (2, 3)], "weight 2 has shape (2, 3)"),
    ],
)
def test_parts_that_lie_outside(shapes: list[tuple[int, ...]], text: str) -> None:
    recipe = Recipe.of(CELL.step, UNITS, parts=FUSED)
    with pytest.raises(ValueError) as found:
        call(recipe, *shapes).forward(outputs=True, training=False)
    assert text in str(found.value)


def test_a_part_of_no_weight() -> None:
    recipe = Recipe.of(CELL.step, UNITS, parts=(*FUSED[:2], ("b", (Part(3),))))
    with pytest.raises(ValueError, match="weight 3 has shape None"):
        call(recipe, (8, 3), (4, 4), (4,)).forward(outputs=True, training=False)
