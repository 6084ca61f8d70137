"""The mean of the weights over the last part of training (Polyak & Juditsky 1992)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

_EVERY = 5


class WeightAverage(keras.callbacks.Callback):  # type: ignore[misc]  # keras has no types
    """Adds the weights to a mean, every fifth training step; validation sees the mean.

    Args:
        first: the training step, counted from 0 over the whole run, from which weights are added.

    Attributes:
        step: training steps so far.
        count: how many times weights were added.
        mean: an array for each trainable variable; empty before the first time.
    """

    def __init__(self, first: int) -> None:
        super().__init__()
        self.first, self.step, self.count = first, 0, 0
        self.mean: list[NDArray[Any]] = []
        self._raw: list[NDArray[Any]] | None = None

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Add the weights if it is time."""
        self.step += 1
        if self.step <= self.first or self.step % _EVERY:
            return
        self.count += 1
        weights = self._weights()
        if not self.mean:
            self.mean = [weight.copy() for weight in weights]
        for mean, weight in zip(self.mean, weights, strict=True):
            mean += (weight - mean) / self.count

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Put the mean in the place of the weights."""
        self._swap_in()

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        """Put the weights back."""
        self._swap_out()

    @contextmanager
    def used(self) -> Iterator[None]:
        """Put the mean in the place of the weights while the block runs."""
        self._swap_in()
        try:
            yield
        finally:
            self._swap_out()

    def keep(self) -> None:
        """Leave the network with the mean, if weights were added to it."""
        if self.count:
            self._assign(self.mean)

    def _swap_in(self) -> None:
        if self.count and self._raw is None:
            self._raw = self._weights()
            self._assign(self.mean)

    def _swap_out(self) -> None:
        if self._raw is not None:
            self._assign(self._raw)
            self._raw = None

    def _weights(self) -> list[NDArray[Any]]:
        return [np.array(keras.ops.convert_to_numpy(v.value)) for v in self.model.trainable_variables]

    def _assign(self, values: list[NDArray[Any]]) -> None:
        for variable, value in zip(self.model.trainable_variables, values, strict=True):
            variable.assign(value)
