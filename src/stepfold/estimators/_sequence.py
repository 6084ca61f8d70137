"""The classifier and the regressor of sequences of numbers."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.base import RegressorMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_array, check_consistent_length

from ..data import Ragged
from ..keras import to_model
from ..model import Model
from ._base import RecurrentEstimator
from ._batches import Examples
from ._classes import Classifying
from ._evaluation import RegressionEvaluation, regression_evaluation
from ._network import sequence_network
from ._run import RunError, RunFolder
from ._settings import SEQUENCES
from ._stored_values import stored_integer, stored_row


class SequenceEstimator(RecurrentEstimator):
    """What the classifier and the regressor of sequences share.

    Attributes:
        n_features_in_: features of a timestep; where X was an array (batch, time), its timesteps, and other
            arrays of two dimensions must have as many.
    """

    def _defaults(self) -> Mapping[str, Any]:
        return SEQUENCES

    def _learn_inputs(self, X: Any) -> Ragged:
        """Set the number of features and the scale; return the sequences."""
        inputs, flat = sequences_of(X, type(self).__name__)
        if not len(inputs):
            raise ValueError(
                f"Found array with 0 sample(s) while a minimum of 1 is required by {type(self).__name__}"
            )
        self.features_ = int(inputs.values.shape[1])
        self.flat_ = flat
        self.n_features_in_ = int(inputs.lengths[0]) if flat else self.features_
        self.mean_ = inputs.values.mean(axis=0, dtype=np.float64).astype(np.float32)
        variance = inputs.values.var(axis=0, dtype=np.float64)
        _check_scale(inputs.values.mean(axis=0, dtype=np.float64), variance)
        self.variance_ = np.where(variance > 0, variance, 1).astype(np.float32)
        return inputs

    def _encode(self, X: Any) -> Ragged:
        inputs, flat = sequences_of(X, type(self).__name__)
        features = int(inputs.values.shape[1])
        if flat and self.flat_ and len(inputs) and inputs.lengths[0] != self.n_features_in_:
            raise ValueError(
                f"X has {inputs.lengths[0]} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input; a list of arrays may have any lengths"
            )
        if features != self.features_ and len(inputs):
            one = flat and inputs.lengths[0] == self.features_
            raise ValueError(
                f"X has {features} features, but {type(self).__name__} is expecting "
                f"{self.features_} features as input"
                + ("; if X is one sequence (time, features), give [X]" if one else "")
            )
        return inputs

    def _output_length(self) -> int:
        raise NotImplementedError

    def _misfit(self, network: Any) -> str:
        shapes, outputs = network.input_shape, self._output_length()
        if shapes != [(None, None, self.features_), (None, None)]:
            return f"the network takes {str(shapes)[:80]}, the scale {self.features_} features"
        if network.output_shape != (None, outputs):
            return f"the network has {str(network.output_shape)[:60]} outputs, the targets {outputs}"
        return ""

    def _collate(
        self, inputs: Ragged, rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        longest = max(int(inputs.lengths.max(initial=1)), 1)
        lengths = inputs.lengths[rows]
        mask = np.arange(longest) >= longest - lengths[:, None]  # (B, T): the left is padding
        return inputs.padded(rows, longest), mask

    def _inputs_of(self, X: Any, rows: Sequence[int]) -> list[Any]:
        by_row = getattr(X, "iloc", X)  # of a table of pandas, X[row] is a column
        if not hasattr(by_row, "__getitem__"):
            by_row = np.asarray(by_row)
        return [by_row[row] for row in rows]

    def _describe(self, X: Any, rows: Sequence[int]) -> list[str]:
        lengths = [np.shape(each)[0] for each in self._inputs_of(X, rows)]
        return [f"{length:,} timestep{'s' if length != 1 else ''}" for length in lengths]

    def _learnt(self) -> dict[str, Any]:
        return {
            "features": self.features_,
            "n_features_in": self.n_features_in_,
            "flat": self.flat_,
            "mean": self.mean_.tolist(),
            "variance": self.variance_.tolist(),
        }

    def _restore(self, learnt: dict[str, Any], run: RunFolder) -> None:
        self.features_, self.n_features_in_ = (
            stored_integer(learnt, name, run) for name in ("features", "n_features_in")
        )
        self.flat_ = bool(learnt.get("flat"))
        self.mean_, self.variance_ = (
            stored_row(learnt, name, run).astype(np.float32) for name in ("mean", "variance")
        )
        if not len(self.mean_) == len(self.variance_) == self.features_:
            raise RunError(
                f"{run.config} is damaged: it has {self.features_} features but {len(self.mean_)} means and "
                f"{len(self.variance_)} variances; train again (--overwrite)"
            )

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.non_deterministic = self.random_state is None
        return tags


@dataclass(kw_only=True, eq=False, repr=False)
class SequenceClassifier(Classifying, SequenceEstimator):
    """A recurrent classifier of sequences, with scikit-learn's methods.

    ``fit(X, y)`` takes a list of arrays (time, features) of any lengths, an array (batch, time, features), or
    one (batch, time) of sequences with one feature; and a label for each. Features are scaled to mean 0 and
    variance 1. A parameter that is None has the default that ``settings_`` shows after fitting.

    Args:
        cell: the name of a built-in cell, or a ``stepfold.cell``.
        units: units of each recurrent layer; for this and what follows see ``stepfold.estimators.Settings``.
        random_state: an integer makes runs repeatable.
        callbacks: callbacks of Keras.
        verbose: 0 for silence, 1 for a progress bar, 2 for a line an epoch, on standard error.

    Attributes:
        classes_: (classes,) the labels, sorted.
        mean_, variance_: (features,) the scale of the features.
        network_: the fitted network, a ``keras.Model``.
        history_, results_, settings_: see ``RecurrentEstimator``.
    """

    def _learn(self, X: Any, y: Any, settings: Any, folder: Path | None) -> Examples:
        inputs = self._learn_inputs(X)
        targets = self._learn_classes(y)
        check_consistent_length(inputs, targets)
        return self._weighted(Examples(inputs, targets), settings.class_weight)

    def _output_length(self) -> int:
        return self._outputs()

    def _build(self, settings: Any) -> Any:
        outputs = self._outputs()
        activation = "sigmoid" if outputs == 1 else "softmax"
        return sequence_network(settings, self.mean_, self.variance_, outputs, activation)

    def _to_model(self) -> Model:
        return to_model(self.network_, labels=self.classes_, name=type(self).__name__)

    def _learnt(self) -> dict[str, Any]:
        return {"classes": self._classes_for_json(), **super()._learnt()}

    def _restore(self, learnt: dict[str, Any], run: RunFolder) -> None:
        super()._restore(learnt, run)
        self._restore_classes(learnt.get("classes"), run)


@dataclass(kw_only=True, eq=False, repr=False)
class SequenceRegressor(RegressorMixin, SequenceEstimator):  # type: ignore[misc]  # no types
    """A recurrent regressor of sequences, with scikit-learn's methods.

    ``fit(X, y)`` takes what ``SequenceClassifier`` takes, and targets (batch,) or (batch, outputs). Features
    and targets are scaled to mean 0 and variance 1; predictions are on the targets' own scale.

    Args and attributes: as in ``SequenceClassifier``, without classes.
    """

    _regression: ClassVar[bool] = True

    def _learn(self, X: Any, y: Any, settings: Any, folder: Path | None) -> Examples:
        if settings.class_weight is not None:
            raise ValueError("class_weight is for classes; a regressor has none")
        inputs = self._learn_inputs(X)
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None; give one an input"
            )
        targets = self._checked_targets(y)
        check_consistent_length(inputs, targets)
        self._one_dimensional_ = np.asarray(y).ndim == 1
        self.target_mean_ = targets.mean(axis=0)
        deviation = targets.std(axis=0)
        self.target_deviation_ = np.where(deviation > 0, deviation, 1)
        return Examples(inputs, self._scaled(targets))

    def _checked_targets(self, y: Any) -> NDArray[np.float64]:
        targets = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y", estimator=self)
        found: NDArray[np.float64] = targets.reshape(len(targets), -1)
        return found

    def _scaled(self, targets: NDArray[np.float64]) -> NDArray[np.float32]:
        scaled: NDArray[Any] = (targets - self.target_mean_) / self.target_deviation_
        return scaled.astype(np.float32)

    def _encode_targets(self, y: Any) -> NDArray[np.float32]:
        return self._scaled(self._checked_targets(y))

    def _evaluation(
        self, found: NDArray[np.float32], targets: NDArray[Any], rows: NDArray[np.int64] | None
    ) -> RegressionEvaluation:
        return regression_evaluation(self._unscaled(targets), self._unscaled(found), rows)

    def _own_scale(self, targets: NDArray[Any]) -> NDArray[Any]:
        return self._unscaled(targets)

    def _unscaled(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = values * self.target_deviation_ + self.target_mean_
        return found

    def predict(self, X: Any) -> NDArray[np.float64]:
        """Return the prediction for each input, (inputs,) or (inputs, outputs) as the targets were."""
        found = self._unscaled(self._network_output(X))
        return found[:, 0] if self._one_dimensional_ else found

    def _output_length(self) -> int:
        return len(self.target_mean_)

    def _build(self, settings: Any) -> Any:
        return sequence_network(settings, self.mean_, self.variance_, len(self.target_mean_), "linear")

    def _to_model(self) -> Model:
        return replace(
            to_model(self.network_, name=type(self).__name__),
            scale=self.target_deviation_,
            shift=self.target_mean_,
        )

    def _learnt(self) -> dict[str, Any]:
        return {
            "classes": None,
            "target_mean": self.target_mean_.tolist(),
            "target_deviation": self.target_deviation_.tolist(),
            "one_dimensional": self._one_dimensional_,
            **super()._learnt(),
        }

    def _restore(self, learnt: dict[str, Any], run: RunFolder) -> None:
        super()._restore(learnt, run)
        self.target_mean_ = stored_row(learnt, "target_mean", run)
        self.target_deviation_ = stored_row(learnt, "target_deviation", run)
        self._one_dimensional_ = bool(learnt.get("one_dimensional"))
        if len(self.target_mean_) != len(self.target_deviation_):
            raise RunError(
                f"{run.config} is damaged: it has {len(self.target_mean_)} means of targets but "
                f"{len(self.target_deviation_)} deviations; train again (--overwrite)"
            )

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def sequences_of(X: Any, estimator: str) -> tuple[Ragged, bool]:
    """Return inputs as sequences (time, features) float32, and whether they were an array (batch, time).

    Raises:
        ValueError: other shapes, values that are no numbers, or ones that are not finite.
    """
    if isinstance(X, (Mapping, Set)) and not issparse(X):  # some sparse matrices are mappings
        raise ValueError(f"X is a {type(X).__name__}; give a list of arrays (time, features)")
    if getattr(X, "ndim", 2) == 1 and X.dtype == object:  # a column of arrays
        X = list(X)
    if not isinstance(X, np.ndarray) and isinstance(X, (list, tuple)) and not _rectangular(X):
        return _ragged(X, estimator), False
    array = check_array(
        X, allow_nd=True, dtype=np.float32, ensure_min_samples=0, estimator=estimator, input_name="X"
    )
    if array.ndim > 3:
        raise ValueError(
            f"X has the shape {array.shape}; give (batch, time, features) or a list of (time, features)"
        )
    flat = array.ndim == 2
    if flat:
        array = array[:, :, None]
    batch, time, features = array.shape
    offsets = np.arange(batch + 1, dtype=np.int64) * time
    return Ragged(np.ascontiguousarray(array).reshape(batch * time, features), offsets), flat


def _check_scale(mean: NDArray[np.float64], variance: NDArray[np.float64]) -> None:
    """Refuse features that float32 cannot scale; warn of those that it cannot tell apart."""
    limits = np.finfo(np.float32)
    if (large := np.flatnonzero(variance > limits.max)).size:
        raise ValueError(
            f"feature {large[0]} of X, counted from 0, is spread over {np.sqrt(variance[large[0]]):.1e}, "
            "whose square float32 does not hold; divide it by a constant first"
        )
    spread = np.sqrt(variance)
    coarse = (spread < 10 * limits.eps * np.abs(mean)) & (spread > 1e-12 * np.abs(mean))
    if (lost := np.flatnonzero(coarse)).size:
        warnings.warn(
            f"feature {lost[0]} of X, counted from 0, varies by {spread[lost[0]]:.1e} around "
            f"{mean[lost[0]]:.1e}, which float32 hardly tells apart; subtract a constant from it first",
            stacklevel=5,
        )


def _rectangular(X: Any) -> bool:
    """Whether a list has rows of one shape: an array in all but name."""
    return len({np.shape(row) for row in X}) == 1 and not isinstance(X[0], np.ndarray)


def _ragged(X: Any, estimator: str) -> Ragged:
    sequences: list[NDArray[np.float32]] = []
    for k, sequence in enumerate(X):
        array = np.asarray(sequence)
        if array.ndim == 1:
            array = array[:, None]
        if array.ndim != 2 or array.dtype.kind not in "fiub":
            raise ValueError(
                f"X[{k}] has the shape {array.shape} and the dtype {array.dtype}; "
                "each sequence must be an array (time, features) of numbers"
            )
        if not len(array):
            raise ValueError(f"X[{k}] has no timestep; leave empty sequences out")
        if sequences and array.shape[1] != sequences[0].shape[1]:
            raise ValueError(
                f"X[{k}] has {array.shape[1]} features but X[0] has {sequences[0].shape[1]}; "
                "every timestep of every sequence must have the same features"
            )
        array = array.astype(np.float32)
        if not np.isfinite(array).all():
            raise ValueError(
                f"Input X[{k}] contains NaN or infinity, which {estimator} does not take; "
                "fill missing values in first"
            )
        sequences.append(array)
    return Ragged.from_sequences(sequences)
