"""Comparisons that assert, for the tests of the core."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from stepfold import Cell
from stepfold._reference import Reference


def slope(function: Callable[[float], float], size: float = 1e-6) -> float:
    """The central difference of a function of a float at 0."""
    return (function(size) - function(-size)) / (2 * size)


def close(actual: Any, expected: Any, tolerance: float) -> None:
    """Assert equality within a tolerance relative to the greatest expected value."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
    np.testing.assert_allclose(actual / scale, expected / scale, rtol=0, atol=tolerance)


class Problem:
    """A cell on random data, and a loss: random weights times outputs and last states."""

    def __init__(
        self,
        cell: Cell,
        params: Mapping[str, Any],
        *,
        batch: int,
        time: int,
        features: int,
        units: int,
        seed: int,
        mask: Any = None,
        reverse: bool = False,
    ) -> None:
        random = np.random.default_rng(seed)
        self.cell, self.params, self.mask, self.reverse = cell, dict(params), mask, reverse
        self.inputs = random.standard_normal((batch, time, features))
        self.initial = [random.standard_normal((batch, units)) * 0.5 for _ in cell.states]
        self.to_outputs = random.standard_normal((batch, time, units))
        self.to_states = [random.standard_normal((batch, units)) for _ in cell.states]
        self.random = random

    def run(self, inputs: Any, params: Mapping[str, Any], initial: Sequence[Any]) -> Reference:
        """The reference on these values."""
        return Reference(self.cell.step, inputs, params, initial, mask=self.mask, reverse=self.reverse)

    def loss(self, inputs: Any, params: Mapping[str, Any], initial: Sequence[Any]) -> float:
        """The weighted sum of the outputs and last states."""
        run = self.run(inputs, params, initial)
        of_states = sum(float((w * s).sum()) for w, s in zip(self.to_states, run.states, strict=True))
        return float((run.outputs * self.to_outputs).sum()) + of_states

    def check_gradients(self, tolerance: float = 1e-6) -> None:
        """Assert that each gradient's component along a random direction is the loss's slope there."""
        base = self.run(self.inputs, self.params, self.initial)
        to_inputs, to_params, to_initial = base.backward(self.to_outputs, self.to_states)

        def direction(like: Any) -> Any:
            return self.random.standard_normal(like.shape)

        d = direction(self.inputs)
        found = slope(lambda e: self.loss(self.inputs + e * d, self.params, self.initial))
        close((to_inputs * d).sum(), found, tolerance)
        for name, value in self.params.items():
            d = direction(value)

            def changed(e: float, name: str = name, new: Any = value, d: Any = d) -> float:
                return self.loss(self.inputs, {**self.params, name: new + e * d}, self.initial)

            close((to_params[name] * d).sum(), slope(changed), tolerance)
        for k, value in enumerate(self.initial):
            d = direction(value)

            def moved(e: float, k: int = k, d: Any = d) -> float:
                initial = [s + e * d if j == k else s for j, s in enumerate(self.initial)]
                return self.loss(self.inputs, self.params, initial)

            close((to_initial[k] * d).sum(), slope(moved), tolerance)
