"""Long chains of operations: nothing recurses over the graph, and the work is linear in its nodes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import numpy as np
import pytest

import stepfold
from stepfold import Cell, cell
from stepfold._gradient import backward
from stepfold._reference import Reference
from stepfold._step import Step
from stepfold._transform import expected_zoneout, recurrent_dropout, zoneout


def chain(operations: int) -> Cell:
    """A cell whose step is a chain of elementwise operations."""

    @cell
    def step(x, h, *, W, U):
        y = W @ x + U @ h
        for _ in range(operations // 2):
            y = stepfold.tanh(y) * h
        return y

    return step


def computed(step: Step) -> Reference:
    """The reference on one row and one timestep."""
    params = {"W": np.full((3, 2), 0.1), "U": np.eye(3)}
    run = Reference(step, np.ones((1, 1, 2)), params, [np.full((1, 3), 1.5)])
    run.backward(np.ones((1, 1, 3)))
    return run


WORK: dict[str, Callable[[int, Step], object]] = {
    "trace": lambda n, step: chain(n),
    "differentiate": lambda n, step: backward(step).nodes,
    "serialise": lambda n, step: Step.from_json(step.to_json()).key,
    "transform": lambda n, step: expected_zoneout(zoneout(recurrent_dropout(step)), 0.1).nodes,
    "compute": lambda n, step: computed(step),
}


def calls(work: Callable[[], object]) -> int:
    """The number of calls, of Python and of C functions, that some work takes."""
    count = 0

    def count_one(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(count_one)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("what", WORK)
def test_work_is_linear_in_the_operations(what: str) -> None:
    short, long = chain(500).step, chain(4_000).step
    least = calls(lambda: WORK[what](500, short))
    assert calls(lambda: WORK[what](4_000, long)) < 8.5 * least


def test_a_chain_of_500_operations_is_computed_and_derived() -> None:
    step = Step.from_json(chain(500).to_json())
    run = computed(step)
    y = np.full(3, 0.2) + 1.5
    for _ in range(250):
        y = np.tanh(y) * 1.5
    np.testing.assert_allclose(run.outputs[0, 0], y, rtol=1e-12)


def test_a_chain_is_freed_without_recursion() -> None:
    def build(x: Any, h: Any, *, W: Any) -> Any:
        y = W @ x + h
        for _ in range(9_000):
            y = stepfold.tanh(y)
        return y

    step = cell(build).step
    assert len(step.nodes) == 9_005
    del step
