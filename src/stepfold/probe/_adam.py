"""Adam with gradient clipping."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

MEAN, SQUARE, EPSILON = 0.9, 0.999, 1e-8


class Adam:
    """Adam (Kingma & Ba 2015, arXiv:1412.6980) on gradients clipped to a norm (Pascanu et al. 2013).

    `update` changes the arrays of `weights` in place.
    """

    def __init__(self, weights: Mapping[str, Array], learning_rate: float, clip: float = 1.0) -> None:
        self.weights, self.learning_rate, self.clip = weights, learning_rate, clip
        self._means = {name: np.zeros_like(value) for name, value in weights.items()}
        self._squares = {name: np.zeros_like(value) for name, value in weights.items()}
        self._updates = 0

    def update(self, gradients: Mapping[str, Array]) -> bool:
        """Take one step; return False, and change nothing, if a gradient is infinite or NaN."""
        with np.errstate(over="ignore", invalid="ignore"):
            norm = math.sqrt(sum(float(np.sum(np.square(g, dtype=np.float64))) for g in gradients.values()))
        if not math.isfinite(norm):
            return False
        self._updates += 1
        factor = min(1.0, self.clip / norm) if norm else 1.0
        rate = self.learning_rate * math.sqrt(1 - SQUARE**self._updates) / (1 - MEAN**self._updates)
        for name, weight in self.weights.items():
            gradient = gradients[name] * factor
            mean, square = self._means[name], self._squares[name]
            mean += (1 - MEAN) * (gradient - mean)
            square += (1 - SQUARE) * (gradient * gradient - square)
            weight -= rate * mean / (np.sqrt(square) + EPSILON)
        return True
