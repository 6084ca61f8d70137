"""Models with cells whose values have axes of their own: run, stream, explained, stored; the reference's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import stepfold
from stepfold import Cell, outer
from stepfold.model import (
    BidirectionalLayer,
    DenseLayer,
    EmbeddingLayer,
    Model,
    PoolingLayer,
    RecurrentLayer,
    Sequences,
)
from tests.axes_cells import ALL, AxesProblem
from tests.core.test_core_axes import decayed, projected, read_out

named = pytest.mark.parametrize("cell", ALL, ids=lambda c: c.name)
TOLERANCE = {"float32": {"rtol": 2e-4, "atol": 2e-5}, "float64": {"rtol": 1e-9, "atol": 1e-10}}


def side_by_side(problem: AxesProblem) -> np.ndarray[Any, Any]:
    """The inputs as a model takes them, (batch, time, features of all)."""
    return np.concatenate(problem.inputs, axis=-1)


def model_of(problem: AxesProblem, *behind: Any, sequences: bool = True, reverse: bool = False) -> Model:
    layer = RecurrentLayer(problem.cell, problem.params, reverse, return_sequences=sequences)
    return Model((layer, *behind), Sequences(side_by_side(problem).shape[-1]))


@named
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_model_gives_what_the_reference_gives(cell: Cell, dtype: str) -> None:
    for reverse in (False, True):
        problem = AxesProblem(cell, dtype, lengths=(5, 0, 3), reverse=reverse)
        expected = problem.reference(zeros=True)
        model = model_of(problem, reverse=reverse)
        assert model.width == expected.outputs.shape[-1]
        found = model.run(side_by_side(problem), problem.mask)
        np.testing.assert_allclose(found, expected.outputs, **TOLERANCE[dtype])
        last = model_of(problem, sequences=False, reverse=reverse).run(side_by_side(problem), problem.mask)
        np.testing.assert_allclose(last, expected.states[0], **TOLERANCE[dtype])


@named
def test_stored_and_loaded(cell: Cell, tmp_path: Path) -> None:
    problem = AxesProblem(cell, "float32")
    model, x = model_of(problem, PoolingLayer("mean")), side_by_side(problem)
    path = tmp_path / "model.safetensors"
    stepfold.export(model, str(path))
    again = stepfold.load(str(path))
    np.testing.assert_array_equal(again.run(x), model.run(x))
    (layer, _), (before, _) = again.layers, model.layers
    assert isinstance(layer, RecurrentLayer)
    assert isinstance(before, RecurrentLayer)
    assert layer.cell == cell
    assert layer.features == x.shape[-1]
    assert layer.sizes.sizes == before.sizes.sizes


@named
def test_a_stream_goes_on_as_the_whole_would(cell: Cell) -> None:
    problem = AxesProblem(cell, lengths=(5, 0, 3))
    model, x = model_of(problem, PoolingLayer("max")), side_by_side(problem)
    stream = model.stream(3)
    for t in range(problem.time):
        found = stream.step(x[:, t], mask=problem.mask[:, t])
        if t == 1:
            state = stream.save_state()
            stream = model.stream(1)
            stream.load_state(state)
        np.testing.assert_allclose(
            found, model.run(x[:, : t + 1], problem.mask[:, : t + 1]), rtol=1e-9, atol=1e-12
        )


@named
def test_explained(cell: Cell) -> None:
    problem = AxesProblem(cell, batch=1)
    x, expected = side_by_side(problem)[0], problem.reference(zeros=True)
    for behind in ((), (PoolingLayer("mean", masked=False),)):  # one pass, and every beginning
        found = model_of(problem, *behind).explain(x, values=True)
        (layer,) = found.layers
        outputs = [name for name in cell.step.states[:1] if cell.step.output]
        vectors = [s for s in cell.states if len(cell.step.dims_of(s)) == 1]
        assert list(layer.values)[: len(outputs + vectors)] == outputs + vectors
        assert all(value.ndim == 2 and len(value) == problem.time for value in layer.values.values())
        for name, value in layer.values.items():
            if name in cell.step.states:
                at = cell.step.states.index(name)
                after = [expected.before[t][at][0] for t in range(1, problem.time)]
                np.testing.assert_allclose(
                    value, [*after, expected.states[at][0]], rtol=1e-4, atol=1e-5, err_msg=name
                )
    json.dumps(found.to_dict())


def test_layers_fit_by_the_width_of_the_output() -> None:
    problem = AxesProblem(projected)
    layer = RecurrentLayer(projected, problem.params, return_sequences=True)
    back = RecurrentLayer(projected, problem.params, reverse=True, return_sequences=True)
    both = Model((BidirectionalLayer(layer, back), DenseLayer(np.ones((6, 2)))), Sequences(5))
    assert both.run(side_by_side(problem)).shape == (3, 5, 2)
    with pytest.raises(ValueError, match=r"layer 1 \(dense\) takes 4 features, but what comes .* gives 3"):
        Model((layer, DenseLayer(np.ones((4, 2)))), Sequences(5))
    several = RecurrentLayer(decayed, AxesProblem(decayed).params)
    assert several.features == 11
    with pytest.raises(ValueError, match=r"layer 0 \(recurrent\) takes 11 features, but .* gives 5"):
        Model((several,), Sequences(5))


def test_an_embedding_before_a_cell_without_a_nameless_input() -> None:
    problem = AxesProblem(decayed)
    table = np.random.default_rng(0).standard_normal((7, 11))
    model = Model(
        (EmbeddingLayer(table, mask_zero=True), RecurrentLayer(decayed, problem.params)), Sequences(None)
    )
    ids = np.array([[0, 3, 6, 1], [2, 2, 0, 5]])
    plain = Model((RecurrentLayer(decayed, problem.params),), Sequences(11))
    np.testing.assert_allclose(model.run(ids), plain.run(table[ids], ids != 0))


def test_what_no_layer_can_be() -> None:
    problem = AxesProblem(read_out)
    with pytest.raises(ValueError, match=r"O has shape \(3, 5\), expected \(projection, units\) = \(3, 4\)"):
        RecurrentLayer(read_out, {**problem.params, "O": np.zeros((3, 5))})

    def matrix(x, C: "value key", *, W_k: "key features", W_v: "value features"):  # type: ignore[no-untyped-def] # noqa: F722
        return C + outer(W_v @ x, W_k @ x)

    cell = stepfold.cell(matrix)
    with pytest.raises(ValueError, match=r"the output of matrix is a matrix \(3, 2\); a layer gives a vec"):
        RecurrentLayer(cell, {"W_k": np.zeros((2, 5)), "W_v": np.zeros((3, 5))})

    def held(x, C: "value key", *, W, v: "value", k: "key"):  # type: ignore[no-untyped-def] # noqa: F722, F821, UP037
        return W @ x, C + outer(v, k)

    params = {"W": np.zeros((2, 5)), "v": np.zeros(9000), "k": np.zeros(9000)}
    with pytest.raises(ValueError, match=r"the states of held have 81,000,002 elements, more than 16,777,2"):
        RecurrentLayer(stepfold.cell(held), params)
