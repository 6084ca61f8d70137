"""Classes: from labels to indices and weights, from the network's output to probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils import column_or_1d, compute_class_weight
from sklearn.utils.multiclass import check_classification_targets

from ._batches import Examples
from ._evaluation import Evaluation, evaluation


class Classifying(ClassifierMixin):  # type: ignore[misc]  # scikit-learn has no types
    """The part of an estimator that knows classes.

    Attributes:
        classes_: (classes,) the labels, sorted.
    """

    classes_: NDArray[Any]

    def _learn_classes(self, y: Any) -> NDArray[np.int32]:
        """Set ``classes_``; return the index of each label."""
        if y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None")
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        self.classes_, indices = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"{type(self).__name__} needs two classes at least, but all {len(y)} labels are one class, "
                f"{str(self.classes_[0])!r}"
            )
        return indices.astype(np.int32)

    def _encode_targets(self, y: Any) -> NDArray[np.int32]:
        y = column_or_1d(y)
        indices = np.searchsorted(self.classes_, y)
        known = self.classes_[np.minimum(indices, len(self.classes_) - 1)] == y
        if not np.all(known):
            stranger = np.asarray(y)[~known][0]
            raise ValueError(
                f"the label {str(stranger)!r} is not one of the classes {self.classes_.tolist()}"
            )
        return np.asarray(indices, np.int32)

    def _weighted(self, examples: Examples, class_weight: Any) -> Examples:
        """Return the examples with the weights of their classes."""
        if class_weight is None:
            return examples
        if isinstance(class_weight, Mapping):
            names = {str(label): label for label in self.classes_}
            strangers = [label for label in class_weight if str(label) not in names]
            if strangers:
                raise ValueError(
                    f"class_weight names {strangers[0]!r}, which is not one of {self.classes_.tolist()}"
                )
            weights = np.array([float(_of(class_weight, label)) for label in self.classes_])
        else:
            weights = compute_class_weight(
                class_weight, classes=np.arange(len(self.classes_)), y=examples.targets
            )
        return Examples(examples.inputs, examples.targets, weights.astype(np.float32)[examples.targets])

    def _labels(self) -> NDArray[Any]:
        return self.classes_

    def _outputs(self) -> int:
        """Return the length of the network's output."""
        return 1 if len(self.classes_) == 2 else len(self.classes_)

    def _evaluation(
        self, found: NDArray[np.float32], targets: NDArray[Any], rows: NDArray[np.int64] | None
    ) -> Evaluation:
        return evaluation(self.classes_, targets, self._probabilities(found), rows)

    def _probabilities(self, found: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (inputs, classes) from the network's output."""
        return np.concatenate((1 - found, found), axis=1) if found.shape[1] == 1 else found

    def predict_proba(self, X: Any) -> NDArray[np.float32]:
        """Return the probability of each class, (inputs, classes), in the order of ``classes_``."""
        found: NDArray[np.float32] = self._network_output(X)
        return self._probabilities(found)

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the likeliest class of each input, (inputs,)."""
        likeliest = self.predict_proba(X).argmax(axis=1)
        labels: NDArray[Any] = self.classes_[likeliest]
        return labels

    def _classes_for_json(self) -> list[Any]:
        return list(self.classes_.tolist())

    def _restore_classes(self, stored: list[Any]) -> None:
        self.classes_ = np.array(stored)


def _of(weights: Mapping[Any, float], label: Any) -> float:
    return next((value for name, value in weights.items() if str(name) == str(label)), 1.0)
