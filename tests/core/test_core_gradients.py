"""The reference: its gradients against finite differences, masks, direction, cut sequences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from core_helpers import Problem, close
from hypothesis import given, settings
from hypothesis import strategies as st

import stepfold
from stepfold import Cell
from stepfold._reference import Reference
from tests.kinds import UNIFORM
from tests.strategies import cells, masks, parameters

MASK = np.array([[1, 1, 0, 1, 0], [0, 0, 0, 0, 0], [0, 1, 1, 0, 1]], bool)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("mask", [None, MASK], ids=["whole", "holes"])
@pytest.mark.parametrize("name", UNIFORM)
def test_gradients_of_built_in_cells(name: str, mask: Any, reverse: bool) -> None:
    cell = stepfold.cells.by_name(name)
    problem = Problem(cell, parameters(cell, 4, 3, seed=1), batch=3, time=5, features=4, units=3, seed=2,
                      mask=mask, reverse=reverse)  # fmt: skip
    problem.check_gradients()


@settings(max_examples=60)
@given(cell=cells(), data=st.data())
def test_gradients_of_random_cells(cell: Cell, data: st.DataObject) -> None:
    batch, time, units = 2, 3, data.draw(st.sampled_from([1, 2, 5]))
    seed, mask, reverse = (
        data.draw(st.integers(0, 10)),
        data.draw(masks(batch, time)),
        data.draw(st.booleans()),
    )
    params = parameters(cell, 2, units, seed=3)
    problem = Problem(
        cell, params, batch=batch, time=time, features=2, units=units, seed=seed, mask=mask, reverse=reverse
    )
    problem.check_gradients(tolerance=2e-6)


def halves(problem: Problem, cut: int) -> tuple[Reference, Reference]:
    """The sequence in two parts, the second starting from the states of the first, as they are processed."""
    parts = [slice(None, cut), slice(cut, None)]
    if problem.reverse:
        parts.reverse()
    runs: list[Reference] = []
    for part in parts:
        initial = runs[-1].states if runs else problem.initial
        mask = None if problem.mask is None else problem.mask[:, part]
        step = problem.cell.step
        runs.append(
            Reference(
                step, problem.inputs[:, part], problem.params, initial, mask=mask, reverse=problem.reverse
            )
        )
    return runs[0], runs[1]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cut", [0, 2, 5])
@pytest.mark.parametrize("name", UNIFORM)
def test_a_sequence_cut_in_two_is_the_whole(name: str, cut: int, reverse: bool) -> None:
    cell = stepfold.cells.by_name(name)
    problem = Problem(cell, parameters(cell, 2, 3, seed=1), batch=3, time=5, features=2, units=3, seed=4,
                      mask=MASK, reverse=reverse)  # fmt: skip
    whole = problem.run(problem.inputs, problem.params, problem.initial)
    first, second = halves(problem, cut)
    outputs = [second.outputs, first.outputs] if reverse else [first.outputs, second.outputs]
    np.testing.assert_array_equal(np.concatenate(outputs, axis=1), whole.outputs)
    for a, b in zip(second.states, whole.states, strict=True):
        np.testing.assert_array_equal(a, b)

    early, late = (slice(cut, None), slice(None, cut)) if reverse else (slice(None, cut), slice(cut, None))
    to_inputs, to_params, to_initial = whole.backward(problem.to_outputs, problem.to_states)
    x2, p2, carried = second.backward(problem.to_outputs[:, late], problem.to_states)
    x1, p1, s1 = first.backward(problem.to_outputs[:, early], carried)
    close(np.concatenate([x2, x1] if reverse else [x1, x2], axis=1), to_inputs, 1e-13)
    for key in to_params:
        close(p1[key] + p2[key], to_params[key], 1e-13)
    for a, b in zip(s1, to_initial, strict=True):
        close(a, b, 1e-13)


@pytest.mark.parametrize("name", UNIFORM)
def test_a_masked_step_keeps_the_states_and_takes_no_gradient(name: str) -> None:
    cell = stepfold.cells.by_name(name)
    problem = Problem(
        cell, parameters(cell, 2, 3, seed=1), batch=3, time=5, features=2, units=3, seed=4, mask=MASK
    )
    run = problem.run(problem.inputs, problem.params, problem.initial)
    for row in range(3):
        active = [t for t in range(5) if MASK[row, t]]
        alone = Reference(cell.step, problem.inputs[row : row + 1, active], problem.params,
                          [s[row : row + 1] for s in problem.initial])  # fmt: skip
        close(alone.outputs[0], run.outputs[row, active], 1e-14)
        for a, b in zip(alone.states, run.states, strict=True):
            close(a[0], b[row], 1e-14)
    np.testing.assert_array_equal(run.outputs[0, 2], run.outputs[0, 1])
    np.testing.assert_array_equal(run.outputs[1], np.repeat(problem.initial[0][1:2], 5, axis=0))
    to_inputs, _, to_initial = run.backward(problem.to_outputs, problem.to_states)
    assert (to_inputs[~MASK] == 0).all()
    assert (np.abs(to_inputs[MASK]) > 0).any()
    # a row without an active step passes its gradient on unchanged
    close(to_initial[0][1], problem.to_states[0][1] + problem.to_outputs[1].sum(0), 1e-14)


def test_a_reversed_scan_is_a_scan_of_the_reversed_sequence() -> None:
    cell = stepfold.cells.gru
    params = parameters(cell, 2, 3, seed=0)
    forward = Problem(cell, params, batch=2, time=4, features=2, units=3, seed=1)
    run = Reference(cell.step, forward.inputs, params, forward.initial, reverse=True)
    backwards = Reference(cell.step, forward.inputs[:, ::-1], params, forward.initial)
    np.testing.assert_array_equal(run.outputs, backwards.outputs[:, ::-1])


def test_no_timestep_is_the_initial_state() -> None:
    cell = stepfold.cells.lstm
    problem = Problem(cell, parameters(cell, 2, 3, seed=0), batch=2, time=0, features=2, units=3, seed=1)
    run = problem.run(problem.inputs, problem.params, problem.initial)
    assert run.outputs.shape == (2, 0, 3)
    np.testing.assert_array_equal(run.states[1], problem.initial[1])
    _, to_params, to_initial = run.backward(problem.to_outputs, problem.to_states)
    assert all((g == 0).all() for g in to_params.values())
    np.testing.assert_array_equal(to_initial[0], problem.to_states[0])


def test_nan_stays_in_its_row() -> None:
    cell = stepfold.cells.layer_norm_lstm
    problem = Problem(cell, parameters(cell, 2, 3, seed=0), batch=2, time=3, features=2, units=3, seed=1)
    problem.inputs[0, 1, 0] = np.nan
    run = problem.run(problem.inputs, problem.params, problem.initial)
    assert np.isnan(run.outputs[0, 1:]).all()
    assert np.isfinite(run.outputs[0, 0]).all()
    assert np.isfinite(run.outputs[1]).all()


def test_lstm_by_hand() -> None:
    """The equations without the graph, one element at a time."""
    cell = stepfold.cells.lstm
    p = parameters(cell, 2, 3, seed=5)
    random = np.random.default_rng(6)
    x, h, c = random.standard_normal(2), random.standard_normal(3), random.standard_normal(3)

    def before(gate: str, u: int) -> float:
        return float(p[f"W_{gate}"][u] @ x + p[f"U_{gate}"][u] @ h + p[f"b_{gate}"][u])

    def logistic(v: float) -> float:
        return 1 / (1 + np.exp(-v))

    new_c = [
        logistic(before("f", u)) * c[u] + logistic(before("i", u)) * np.tanh(before("c", u)) for u in range(3)
    ]
    new_h = [logistic(before("o", u)) * np.tanh(new_c[u]) for u in range(3)]
    run = Reference(cell.step, x[None, None], p, [h[None], c[None]])
    np.testing.assert_allclose(run.states[0][0], new_h, rtol=1e-14)
    np.testing.assert_allclose(run.states[1][0], new_c, rtol=1e-14)
