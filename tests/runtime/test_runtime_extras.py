"""What a layer adds to a step: vectors a sequence and vectors a timestep reach the kernels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from stepfold import cells
from stepfold._graph import UNITS, leaf
from stepfold._ops import add, multiply
from stepfold._step import Step
from stepfold._transform import expected_zoneout, recurrent_dropout, zoneout
from tests.kinds import KINDS
from tests.runtime.scan_helpers import problem, ragged


def by_hand(step: Step) -> Step:
    """A step whose first output is scaled a sequence and shifted a timestep."""
    scale, shift = leaf("row_input", "scale", dims=UNITS), leaf("step_input", "shift", dims=UNITS)
    first, *others = step.outputs
    return Step("by hand", step.states, step.parameters, (add(multiply(scale, first), shift), *others))


def both(step: Step) -> Step:
    return zoneout(recurrent_dropout(step))


TRANSFORMS = [by_hand, recurrent_dropout, zoneout, both, lambda step: expected_zoneout(step, 0.3)]
NAMES = ["by hand", "recurrent dropout", "zoneout", "both", "expected zoneout"]


@pytest.mark.parametrize("transform", TRANSFORMS, ids=NAMES)
@pytest.mark.parametrize("name", ["lstm", "gru_reset_before"])
def test_transformed_steps(name: str, transform: Callable[[Step], Step]) -> None:
    step = transform(cells.by_name(name).step)
    problem(step, 13, 9, 3, 5).check()
    mask = np.random.default_rng(0).random((13, 9)) > 0.3
    problem(step, 13, 9, 3, 5, mask=mask, reverse=True, layout="time").check()


def test_extras_over_several_groups_and_packed() -> None:
    step = both(cells.lstm.step)
    problem(step, 70, 4, 3, 5).check(threads=3)
    lengths = [9, 9, 5, 2, 1]
    mask = ragged(lengths, 9)
    made = problem(step, 5, 9, 3, 5, mask=mask, layout="packed")
    made.but(output_gradient=made.output_gradient * mask[:, :, None]).check()


@pytest.mark.slow
@pytest.mark.parametrize("transform", TRANSFORMS, ids=NAMES)
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_every_cell_transformed(name: str, transform: Callable[[Step], Step], dtype: str) -> None:
    problem(transform(cells.by_name(name).step), 5, 7, 3, 18, dtype).check()
