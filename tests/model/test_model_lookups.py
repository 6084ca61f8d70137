"""Models with cells whose integers choose rows of parameters: run, stream, explained, stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import stepfold
from stepfold import Cell
from stepfold.model import Model, PoolingLayer, RecurrentLayer, Sequences
from tests.lookup_cells import CELLS, LookupProblem, by_day, by_word

every = pytest.mark.parametrize("cell", CELLS, ids=lambda c: c.name)


def side_by_side(problem: LookupProblem) -> np.ndarray[Any, Any]:
    """The inputs as a model takes them, an integer as one element."""
    columns = [v if v.ndim == 3 else v[..., None] for v in problem.inputs]
    return np.concatenate(columns, -1).astype(problem.dtype)


@every
def test_run_stored_streamed_and_explained(cell: Cell, tmp_path: Path) -> None:
    problem = LookupProblem(cell, "float32")
    x = side_by_side(problem)
    model = Model((RecurrentLayer(cell, problem.params, False, True),), Sequences(x.shape[-1]))
    expected = stepfold.scan(cell, problem.given, problem.params, return_sequences=True)
    np.testing.assert_allclose(model.run(x), expected, rtol=1e-5, atol=1e-6)
    path = tmp_path / "model.safetensors"
    stepfold.export(model, str(path))
    again = stepfold.load(str(path))
    np.testing.assert_array_equal(again.run(x), model.run(x))
    pooled = Model((*model.layers, PoolingLayer("last")), Sequences(x.shape[-1]))
    stream = pooled.stream(3)
    for t in range(problem.time):
        found = stream.step(x[:, t])
    np.testing.assert_allclose(found, expected[:, -1], rtol=1e-5, atol=1e-6)
    told = pooled.explain(x[1], values=True).layers[0].values
    np.testing.assert_allclose(told["h"], expected[1], rtol=1e-5, atol=1e-6)
    assert ("D[day]" if cell is by_day else "E[word]") in pooled.equations()[0]["maths"]


def test_values_that_are_no_integers() -> None:
    problem = LookupProblem(by_word, "float32")
    model = Model((RecurrentLayer(by_word, problem.params),), Sequences(1))
    for value in (0.5, np.nan):
        with pytest.raises(ValueError, match=r"the input word of by_word holds integers.*not (0.5|nan)"):
            model.run(np.full((1, 2, 1), value, np.float32))
    with pytest.raises(IndexError, match="input word is 7"):
        model.run(np.full((1, 2, 1), 7, np.float32))
    large = problem.params | {name: np.zeros((2**24 + 1, 1), np.float32) for name in "EF"}
    large |= {
        "g": np.zeros(2**24 + 1, np.float32),
        "V": np.zeros((1, 1), np.float32),
        "U": np.zeros((1, 1), np.float32),
    }
    with pytest.raises(ValueError, match="a parameter of by_word has 16,777,217 rows; give float64 arrays"):
        RecurrentLayer(by_word, large)
