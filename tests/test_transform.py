"""Transformations of steps, computed by the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stepfold import cells
from stepfold._reference import Reference
from stepfold._step import Step
from stepfold._transform import (
    expected_zoneout,
    recurrent_dropout,
    recurrent_dropout_leaf,
    recurrent_kernels,
    zoneout,
    zoneout_leaf,
)
from tests.kinds import KINDS

BATCH, TIME, FEATURES, UNITS = 3, 5, 2, 4
RANDOM = np.random.default_rng(0)


def run(step: Step, params: dict[str, Any], extra: dict[tuple[str, str], Any] | None = None) -> Reference:
    inputs = np.random.default_rng(1).normal(size=(BATCH, TIME, FEATURES))
    return Reference(step, inputs, params, [np.zeros((BATCH, UNITS)) for _ in step.states], extra=extra)


def parameters(cell: Any) -> dict[str, Any]:
    shapes = cell.parameter_shapes(features=FEATURES, units=UNITS)
    return {name: np.random.default_rng(len(name)).normal(size=shape) for name, shape in shapes.items()}


@pytest.mark.parametrize("name", KINDS)
def test_masks_of_ones_change_nothing_and_zeros_remove_the_recurrent_kernels(name: str) -> None:
    cell = cells.by_name(name)
    params = parameters(cell)
    step = recurrent_dropout(cell.step)
    kernels = recurrent_kernels(cell.step)
    assert set(step.leaves("row_input")) == {recurrent_dropout_leaf(kernel)[1] for kernel in kernels}
    ones = {recurrent_dropout_leaf(kernel): np.ones((BATCH, UNITS)) for kernel in kernels}
    np.testing.assert_array_equal(run(step, params, ones).outputs, run(cell.step, params).outputs)
    zeros = {leaf: np.zeros((BATCH, UNITS)) for leaf in ones}
    without = {**params, **{kernel: np.zeros((UNITS, UNITS)) for kernel in kernels}}
    np.testing.assert_allclose(run(step, params, zeros).outputs, run(cell.step, without).outputs, atol=1e-12)


def test_each_kernel_has_its_own_mask() -> None:
    assert tuple(recurrent_kernels(cells.lstm.step)) == ("U_i", "U_f", "U_c", "U_o")
    assert tuple(recurrent_kernels(cells.carry_lstm.step)) == ("U", "V", "U_i", "U_f", "U_k")
    assert tuple(recurrent_kernels(cells.min_gru.step)) == ()
    params = parameters(cells.gru)
    step = recurrent_dropout(cells.gru.step)
    masks = {
        recurrent_dropout_leaf(k): RANDOM.integers(0, 2, (BATCH, UNITS)) * 2.0
        for k in recurrent_kernels(step)
    }
    found = run(step, params, masks).outputs
    # a mask on a kernel's operand is a mask on its columns, another one for every row
    for row in range(BATCH):
        own = {k: params[k] * masks[recurrent_dropout_leaf(k)][row] for k in recurrent_kernels(step)}
        np.testing.assert_allclose(
            found[row], run(cells.gru.step, {**params, **own}).outputs[row], atol=1e-12
        )


@pytest.mark.parametrize("name", ["simple_rnn", "gru_reset_before", "carry_lstm"])
def test_gradients_go_through_the_masks(name: str) -> None:
    cell = cells.by_name(name)
    step, params = recurrent_dropout(zoneout(cell.step)), parameters(cell)
    extra: dict[tuple[str, str], Any] = {
        recurrent_dropout_leaf(k): RANDOM.integers(0, 2, (BATCH, UNITS)) * 2.0
        for k in recurrent_kernels(cell.step)
    }
    extra |= {zoneout_leaf(s): RANDOM.integers(0, 2, (BATCH, TIME, UNITS)) * 1.0 for s in step.states}
    weight = RANDOM.normal(size=(BATCH, TIME, UNITS))
    _, gradients, _ = run(step, params, extra).backward(weight)
    for parameter, value in params.items():
        direction = RANDOM.normal(size=value.shape)
        moved = [
            (run(step, {**params, parameter: value + h * direction}, extra).outputs * weight).sum()
            for h in (1e-6, -1e-6)
        ]
        slope = (moved[0] - moved[1]) / 2e-6
        np.testing.assert_allclose((gradients[parameter] * direction).sum(), slope, rtol=1e-5, atol=1e-7)


def test_zoneout_keeps_the_old_value_where_it_is_one() -> None:
    params, keep = parameters(cells.lstm), np.ones((BATCH, TIME, UNITS))
    keep[:, 2:, :2] = 0.0
    step = zoneout(cells.lstm.step)
    found = run(step, params, {zoneout_leaf("h"): keep, zoneout_leaf("c"): np.zeros_like(keep)}).outputs
    assert (found[:, :, 2:] == 0).all()
    assert (found[:, 2:, :2] != 0).all()


def test_expected_zoneout_is_a_weighted_mean() -> None:
    params = parameters(cells.simple_rnn)
    np.testing.assert_allclose(
        run(expected_zoneout(cells.simple_rnn.step, 0.0), params).outputs,
        run(cells.simple_rnn.step, params).outputs,
    )
    np.testing.assert_allclose(
        run(expected_zoneout(cells.simple_rnn.step, 1.0), params).outputs, 0.0, atol=1e-12
    )
    once = run(cells.simple_rnn.step, params).outputs[:, 0]
    np.testing.assert_allclose(
        run(expected_zoneout(cells.simple_rnn.step, 0.3), params).outputs[:, 0], 0.7 * once
    )
    with pytest.raises(ValueError, match=r"zoneout must lie in 0…1, not 1\.5"):
        expected_zoneout(cells.simple_rnn.step, 1.5)


def test_a_transformed_step_is_saved_and_has_its_own_key() -> None:
    step = zoneout(recurrent_dropout(cells.lstm.step))
    assert Step.from_json(step.to_json()) == step
    assert (
        len(
            {
                step.key,
                recurrent_dropout(cells.lstm.step).key,
                zoneout(cells.lstm.step).key,
                cells.lstm.step.key,
            }
        )
        == 4
    )
