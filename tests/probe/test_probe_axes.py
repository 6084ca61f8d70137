"""What cells with axes of their own remember: gradient flow, and a network that learns."""

from __future__ import annotations

import numpy as np
import pytest

from stepfold import Cell, cells
from stepfold._reference import Reference
from stepfold.probe import gradient_flow
from stepfold.probe._flow import state_gradients
from stepfold.probe._network import Network
from stepfold.tasks import adding
from tests.axes_cells import ALL, AxesProblem
from tests.lookup_cells import by_word

ONE = [cell for cell in ALL if len(cell.step.inputs) + cell.step.takes_features == 1]


@pytest.mark.parametrize("cell", ONE, ids=lambda c: c.name)
def test_state_gradients_are_the_references(cell: Cell) -> None:
    problem = AxesProblem(cell, batch=2, time=3)
    random = np.random.default_rng(0)
    last = [random.standard_normal(state.shape) for state in problem.initial]
    together = np.concatenate([each.reshape(2, -1) for each in last], -1)
    x = problem.inputs[0]
    found = state_gradients(cell, problem.params, x, together)
    zeros, own = problem.reference(zeros=True), int(cell.step.output)
    named = dict.fromkeys(cell.step.inputs, x[:, 1:])
    rest = Reference(cell.step, x[:, 1:], problem.params, zeros.before[1], named=named)
    carried = [np.zeros_like(zeros.before[0][0])] * own + last
    _, _, expected = rest.backward(None, carried)
    wide = np.concatenate([each.reshape(2, -1) for each in expected[own:]], -1)
    np.testing.assert_allclose(found[-1], wide, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(found[0], together)


@pytest.mark.parametrize("cell", [c for c in ONE if c.step.takes_features], ids=lambda c: c.name)
def test_default_sizes_serve_flow_and_networks(cell: Cell) -> None:
    assert gradient_flow(cell, units=4, steps=3).shape == (3,)
    network = Network(cell, adding)
    weights = network.init(4, seed=0)
    inputs, targets = adding(5, 3)
    predicted, gradients = network.gradients(inputs, targets, weights)
    np.testing.assert_array_equal(predicted, network.predict(inputs, weights))
    assert {n: g.shape for n, g in gradients.items()} == {n: w.shape for n, w in weights.items()}


@pytest.mark.parametrize("name", ["delta_product", "lmu", "on_lstm", "mlstm"])
def test_sizes_that_no_parameter_has_by_itself(name: str) -> None:
    """delta_product's kernels have twice the units."""
    flow = gradient_flow(cells.by_name(name), units=3, steps=4)
    assert flow.shape == (4,)
    assert flow[1] > 0


def test_a_cell_that_reads_integers_is_refused() -> None:
    with pytest.raises(ValueError, match="by_word reads the integer word, and here is a sequence of vectors"):
        gradient_flow(by_word, units=3, steps=4)
