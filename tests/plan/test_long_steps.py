"""Steps of hundreds of operations: no limit from Python's stack, in time linear in their number."""

from __future__ import annotations

import itertools
import random
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import numpy as np
import pytest

import stepfold
from stepfold import Cell, cell, exp, mean, tanh
from stepfold._gradient import backward
from stepfold._plan import Plan, plan
from stepfold._plan._minimum_cut import Network
from stepfold._plan._residuals import residuals
from stepfold._reference import Reference


def affine(length: int) -> Cell:
    @cell
    def chain(x, h, *, W, U, b):
        h2 = W @ x + U @ h + b
        for _ in range(length // 2):
            h2 = h2 * 0.5 + b
        return tanh(h2)

    return chain


def added(length: int) -> Cell:
    @cell
    def chain(x, h, *, W, U, b):
        h2 = W @ x
        for k in range(length):
            h2 = h2 + (h if k % 2 else b)
        return tanh(0.01 * (h2 + U @ h))

    return chain


def squared(length: int) -> Cell:
    @cell
    def chain(x, h, *, W, U, b):
        h2 = tanh(W @ x + U @ h + b)
        for _ in range(length // 2):
            h2 = h2 * h2 - 0.5
        return tanh(h2)

    return chain


def mixed(length: int) -> Cell:
    @cell
    def chain(x, h, *, W, U, b):
        h2 = tanh(W @ x + U @ h + b)
        for k in range(length // 3):
            h2 = h2 * 0.5 + h2 * h if k % 10 else tanh(h2 + b)
        return tanh(h2)

    return chain


def scalars(length: int) -> Cell:
    @cell
    def chain(x, h, *, W, U, b):
        h2 = W @ x + U @ h + b
        scale = mean(h2)
        for k in range(length // 2):
            scale = scale * 0.5 + (0.1 if k % 50 else exp(-scale * scale))
        return tanh(h2 * scale)

    return chain


CHAINS: list[Callable[[int], Cell]] = [affine, added, squared, mixed, scalars]


def problem(cell_: Cell, units: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Parameters, inputs (3, 4, 2) and the first state."""
    rng = np.random.default_rng(0)
    sizes = {"units": units, "features": 2}
    params = {
        name: rng.normal(0, 0.4, [sizes[d] for d in dims]) for name, dims in cell_.step.parameters.items()
    }
    return params, rng.normal(size=(3, 4, 2)), rng.normal(size=(3, units))


@pytest.mark.parametrize("length", [200, 500, 1000])
@pytest.mark.parametrize("chain", CHAINS)
def test_long_steps_compute_what_the_reference_computes(chain: Callable[[int], Cell], length: int) -> None:
    cell_ = chain(length)
    params, inputs, initial = problem(cell_, 8)
    reference = Reference(cell_.step, inputs, params, [initial])
    output = stepfold.scan(cell_, inputs, params, initial_state=[initial], return_sequences=True)
    run = stepfold.record(cell_, inputs, params, initial_state=[initial], return_sequences=True)
    np.testing.assert_allclose(output, reference.outputs, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(run.output, reference.outputs, rtol=1e-10, atol=1e-12)
    arriving = np.random.default_rng(1).normal(size=output.shape)
    found, expected = run.backward(arriving), reference.backward(arriving)
    pairs = [(found.inputs, expected[0]), (found.initial_state[0], expected[2][0])]
    pairs += [(found.params[name], expected[1][name]) for name in params]
    for mine, right in pairs:
        np.testing.assert_allclose(mine, right, rtol=1e-9, atol=1e-11 * np.abs(right).max())


# ---- the plan ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("chain", CHAINS)
def test_no_stage_is_longer_than_llvm_compiles_in_linear_time(chain: Callable[[int], Cell]) -> None:
    made = plan(chain(3000).step)
    stages = [*made.inference.stages, *made.training.stages, *made.backward.stages]
    assert max(len(stage.body) + len(stage.scalars) for stage in stages) < 2000
    assert len(made.backward.stages) > 1


def test_the_cost_of_recomputing_is_bounded() -> None:
    """Twice the cost of the value before, 1,100 times over, is beyond the range of a float."""
    made = plan(squared(2200).step)
    assert len(made.training.slots["residual"]) == 1


def calls(work: Callable[[], Any]) -> int:
    """How many Python functions are called, generators resumed."""
    count = 0

    def note(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("chain", CHAINS)
def test_planning_takes_time_linear_in_the_operations(chain: Callable[[int], Cell]) -> None:
    def planning(length: int) -> int:
        step = chain(length).step
        _ = step.key, step.nodes
        return calls(lambda: plan.__wrapped__(step))

    once, twice, four = (planning(length) for length in (500, 1000, 2000))
    assert four - twice < 2.5 * (twice - once)


# ---- the minimum cut ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(200))
def test_the_cut_is_the_least_of_all_and_the_nearest_to_the_source(seed: int) -> None:
    rng = random.Random(seed)
    inner = range(1, rng.randint(2, 6))
    sink = len(inner) + 1
    edges = {
        (a, b): rng.choice([1, 1, 2, 1 / 16, 5 / 16])
        for a in (0, *inner)
        for b in (*inner, sink)
        if a != b and rng.random() < 0.5
    }
    network = Network()
    for (a, b), capacity in edges.items():
        network.add(a, b, capacity)
    sides = [{0, *some} for k in range(len(inner) + 1) for some in itertools.combinations(inner, k)]
    costs = [sum(c for (a, b), c in edges.items() if a in side and b not in side) for side in sides]
    least = [side for side, cost in zip(sides, costs, strict=True) if cost == min(costs)]
    assert network.source_side(0, sink) == set.intersection(*least)


def test_residuals_of_a_long_chain_are_found_in_linear_time() -> None:
    def finding(length: int) -> int:
        step = mixed(length).step
        derived = backward(step)
        _ = derived.nodes, step.nodes
        return calls(lambda: residuals(step, derived))

    once, twice, four = (finding(length) for length in (500, 1000, 2000))
    assert four - twice < 2.5 * (twice - once)


def test_the_residuals_of_a_chain_are_its_transcendental_functions() -> None:
    made: Plan = plan(mixed(300).step)
    assert [n.op for n in made.residuals] == ["tanh"] * (1 + 10)
