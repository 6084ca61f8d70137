"""The parameters of every estimator."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from sklearn.base import BaseEstimator

from .._cell import Cell
from ._settings import plain


@dataclass(kw_only=True, eq=False, repr=False)
class Parameters(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """What every estimator takes; scikit-learn reads it from the ``__init__`` that ``dataclass`` makes."""

    cell: str | Cell | None = None
    units: int | None = None
    layers: int | None = None
    bidirectional: bool | None = None
    pooling: str | None = None
    epochs: int | None = None
    batch_size: int | None = None
    dropout: float | None = None
    recurrent_dropout: float | None = None
    output_dropout: float | None = None
    recurrent_initializer: str | None = None
    optimizer: str | None = None
    learning_rate: float | None = None
    schedule: str | None = None
    clip_norm: float | None = None
    weight_averaging: float | None = None
    early_stopping: int | bool | None = None
    validation_split: float | None = None
    split: str | None = None
    class_weight: Mapping[Any, float] | Literal["balanced"] | None = None
    callbacks: list[Any] | None = None
    random_state: int | np.random.RandomState | None = None
    verbose: int = 0

    def _given(self) -> dict[str, Any]:
        given: dict[str, Any] = self.get_params(deep=False)
        cell = given.get("cell")
        if isinstance(cell, Cell):
            given["cell"] = cell.to_json()
        elif cell is not None and not isinstance(cell, str):
            raise TypeError(
                f"cell must be a stepfold cell or the name of one, not {type(cell).__name__}; "
                "put @stepfold.cell before the function"
            )
        if given.get("early_stopping") is True:
            given["early_stopping"] = 3
        elif given.get("early_stopping") is False:
            given["early_stopping"] = 0
        return given

    def _parameters_for_json(self) -> dict[str, Any]:
        given = self._given()
        if given.pop("callbacks", None):
            warnings.warn("callbacks are not saved with an estimator", stacklevel=3)
        if not isinstance(plain(given["random_state"]), (int, type(None))):
            given["random_state"] = None
        given["class_weight"] = weights_for_json(given["class_weight"])
        return {name: plain(value) for name, value in given.items()}


def weights_for_json(weights: Any) -> Any:
    """Return the weights of classes as JSON can say them: by the names of the classes."""
    if not isinstance(weights, Mapping):
        return weights
    return {str(name): float(value) for name, value in weights.items()}
