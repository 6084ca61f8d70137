"""Classes: from labels to indices and weights, from the network's output to probabilities."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils import column_or_1d, compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_array

from ._batches import Examples
from ._evaluation import Evaluation, evaluation
from ._run import RunError, RunFolder


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
        y = _labels_of(y)
        check_classification_targets(y)
        self.classes_, indices = np.unique(y, return_inverse=True)
        if not len(y):
            raise ValueError(
                f"there are no examples (0 samples); {type(self).__name__} needs two at least, of two classes"
            )
        if len(self.classes_) < 2:
            raise ValueError(
                f"{type(self).__name__} needs two classes at least, but all {len(y)} labels are one class, "
                f"{str(self.classes_[0])!r}"
            )
        return indices.astype(np.int32)

    def _encode_targets(self, y: Any) -> NDArray[np.int32]:
        y = _labels_of(y)
        places = {label: k for k, label in enumerate(self.classes_.tolist())}
        indices = [places.get(label, -1) for label in y.tolist()]
        if -1 in indices:
            stranger = str(y[indices.index(-1)])
            names = ", ".join(repr(label)[:60] for label in list(places)[:20])
            more = f" and {len(places) - 20:,} more" if len(places) > 20 else ""
            raise ValueError(f"the label {stranger[:60]!r} is not one of the classes {names}{more}")
        return np.array(indices, np.int32)

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
            weights = _checked([_of(class_weight, label) for label in self.classes_], class_weight)
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

    def _restore_classes(self, stored: Any, run: RunFolder) -> None:
        kinds = {type(label) for label in stored or ()}
        sound = len(kinds) == 1 and kinds <= {str, int, float, bool} and len(set(stored)) == len(stored) > 1
        if not sound or any(label != label for label in stored):
            raise RunError(
                f"{run.config} is damaged: its classes are no list of two or more different names; "
                "train again (--overwrite)"
            )
        self.classes_ = np.array(stored)
        if self.classes_.dtype.kind not in "Uifb":  # an integer of more than 64 bits
            raise RunError(f"{run.config} is damaged: a class is out of range; train again (--overwrite)")


def _labels_of(y: Any) -> NDArray[Any]:
    """Return labels as an array (examples,); ValueError for what are no labels."""
    if not hasattr(y, "__len__") and not hasattr(y, "__array__"):
        if not isinstance(y, Iterable):
            raise ValueError(f"y is a {type(y).__name__}; give a list of labels, one for each input")
        y = list(y)
    if getattr(getattr(y, "dtype", None), "na_value", None) is not None:  # a column of pandas's own integers
        y = np.asarray(y)
    labels: NDArray[Any] = column_or_1d(y, warn=True)
    if labels.dtype.kind not in "Of":
        return labels
    given = labels.tolist()
    missing = next((k for k, label in enumerate(given) if _is_missing(label)), None)
    if missing is not None:
        raise ValueError(
            f"Input y contains NaN: y[{missing}] is {given[missing]}, which is no class; "
            "fill it in, or leave the example out"
        )
    if labels.dtype.kind == "f":
        return np.asarray(check_array(labels, ensure_2d=False, ensure_min_samples=0, input_name="y"))
    kinds = {type(label) for label in given}
    # An object array of numbers, as a table's column may be, holds classes as well as an array of them.
    return np.array(given) if kinds and kinds <= {int, bool, float} else labels


def _is_missing(label: Any) -> bool:
    """Whether a label is None, not a number, or what pandas has in place of a value."""
    return label is None or type(label).__name__ in ("NAType", "NaTType") or label != label


def _checked(weights: list[Any], given: Mapping[Any, Any]) -> NDArray[np.float64]:
    """Return weights of classes as an array; ValueError if they can be no weights."""
    try:
        found = np.array(weights, np.float64)
    except (TypeError, ValueError):
        found = np.array([np.nan])
    if not (np.isfinite(found).all() and found.min() >= 0 and found.max() > 0):
        raise ValueError(
            f"class_weight must have a number of at least 0 for each class, and one above 0, not "
            f"{str(dict(given))[:80]}"
        )
    return found


def _of(weights: Mapping[Any, float], label: Any) -> float:
    return next((value for name, value in weights.items() if str(name) == str(label)), 1.0)
