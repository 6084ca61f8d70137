"""Dropout and noise inside a step: counted when traced, off outside of training, leaves for layers."""

from __future__ import annotations

import json

import numpy as np
import pytest

import stepfold
from stepfold import Cell, CellError, cell, scan, tanh
from stepfold._noise import noise_of, noisy, quiet
from stepfold._reference import Reference
from stepfold._step import Step


@cell
def rough(x, h, *, W, U, b):
    """Two draws of one value, and noise on the new state."""
    h = stepfold.dropout(h, 0.5) + stepfold.dropout(h, 0.5)
    return stepfold.noise(tanh(W @ x + U @ h + b), 0.25)


@cell
def smooth(x, h, *, W, U, b):
    return tanh(W @ x + U @ (h + h) + b)


def test_what_is_drawn() -> None:
    found = noise_of(rough.step)
    assert sorted((n.kind, n.value, n.key) for n in found) == [
        ("dropout", 0.5, ("step_input", "dropout.0")),
        ("dropout", 0.5, ("step_input", "dropout.1")),
        ("normal", 0.25, ("step_input", "normal.2")),
    ]
    assert quiet(rough.step).outputs == smooth.step.outputs
    assert quiet(smooth.step) is noisy(smooth.step) is smooth.step
    assert set(noisy(rough.step).leaves("step_input")) == {"dropout.0", "dropout.1", "normal.2"}
    assert Cell.from_json(rough.to_json()) == rough
    assert "dropout(0.5)" in rough.show()


def test_off_outside_of_training() -> None:
    random = np.random.default_rng(0)
    params = rough.init(3, 4, seed=0)
    x = random.standard_normal((2, 5, 3)).astype(np.float32)
    np.testing.assert_array_equal(scan(rough, x, params), scan(smooth, x, params))
    np.testing.assert_allclose(
        rough(x[0, 0], np.ones(4, np.float32), **params), smooth(x[0, 0], np.ones(4, np.float32), **params)
    )
    run = Reference(rough.step, x, params, [np.zeros((2, 4), np.float32)])
    np.testing.assert_allclose(run.outputs[:, -1], scan(rough, x, params), atol=1e-6)


def test_what_is_refused() -> None:
    def certain(x, h, *, W):
        return stepfold.dropout(W @ x, 1.0)

    with pytest.raises(CellError, match=r"dropout takes a rate from 0 to below 1, not 1.0"):
        cell(certain)

    def negative(x, h, *, W):
        return stepfold.noise(W @ x, -1)

    with pytest.raises(CellError, match="noise takes a standard deviation of at least 0, not -1"):
        cell(negative)

    def features(x, h, *, W):
        return W @ stepfold.dropout(x, 0.1)

    with pytest.raises(CellError, match=r"dropout noise is for a vector of the step, not \(features,\)"):
        cell(features)
    text = rough.to_json().replace('["dropout", 0.5, 1]', '["dropout", 0.25, 0]')
    with pytest.raises(ValueError, match=r"noise 'dropout.0' has other axes, or another value, than before"):
        Cell.from_json(text)
    text = rough.to_json().replace('["dropout", 0.5, 0]', '["dropout", 1.5, 0]')
    with pytest.raises(ValueError, match=r"noise cannot have the attributes \['dropout', 1.5, 0\]"):
        Cell.from_json(text)


def test_two_leaves_of_one_name_are_refused() -> None:
    """They would be read from one array, which is as wide as one of them."""
    data = json.loads(noisy(smooth_with_noise.step).to_json())
    other = next(n for n in data["nodes"] if n[0] == "step_input")
    data["nodes"].append(["step_input", other[1], ["rank"]])
    with pytest.raises(
        ValueError, match=r"step_input 'normal.0' has other axes, or another value, than before"
    ):
        Step.from_json(json.dumps(data))


@cell
def smooth_with_noise(x, h, *, W):
    return stepfold.noise(W @ x + h, 0.5)
