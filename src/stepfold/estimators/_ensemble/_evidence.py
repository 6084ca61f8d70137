"""What n-grams say about the class: naive-Bayes log-count ratios and logistic regression, cross-fitted.

After Wang & Manning (2012), "Baselines and bigrams: simple, good sentiment and topic classification".
"""

import threading
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...model.ngrams import NONE, Evidence, Ngrams, NgramScores, channels_of, in_scope
from ._ngrams import Groups, learn_ngrams
from ._tokens import EncodedTexts, ReviewVocabulary, positions

_LIBLINEAR = threading.Lock()
"""Its random numbers belong to the process: two fits at a time would not give the same twice."""
_LONGEST = {"words": 3, "marked": 2}
KINDS = sum(_LONGEST.values())
"""How many kinds of n-grams there are, each with two channels a score."""


class NgramEvidence:
    """Scores of n-grams: words up to three, and words marked by negations up to two.

    Args:
        vocabulary: of the texts' ids.
        smoothing: what is added to every count, divided among the classes by their shares.
        strength: the regression's C, the inverse of its regularisation.
        folds: a training text's evidence comes from the folds that it is not in.
        block: n-grams are counted over blocks of so many consecutive texts of a class, and folds are whole
            blocks, so that consecutive texts about the same thing are not counted as independent.
        jobs: how many folds are computed at a time.
    """

    def __init__(
        self,
        vocabulary: ReviewVocabulary,
        *,
        smoothing: float = 3.0,
        strength: float = 0.2,
        folds: int = 5,
        block: int = 10,
        jobs: int = 2,
    ) -> None:
        self._vocabulary = vocabulary
        self._smoothing, self._strength = smoothing, strength
        self._folds, self._block, self._jobs = folds, block, jobs
        none = tuple((np.zeros(0, np.int64),) * longest for longest in _LONGEST.values())
        empty = np.zeros((0, 1), np.float32)
        self.ngrams = self._scored(*none, empty, empty, np.zeros(1, np.float32))

    def _scored(self, *learnt: Any) -> NgramScores:
        words = self._vocabulary
        return NgramScores(words.size, words.negations, words.stops, *learnt)

    @property
    def channels(self) -> int:
        """The number of channels of a token."""
        return self.ngrams.channels

    @property
    def scores(self) -> int:
        """The number of scores: one of two classes, else one a class."""
        return self.ngrams.scores

    def fit_transform(
        self, encoded: EncodedTexts, labels: NDArray[np.integer[Any]], classes: int
    ) -> Evidence:
        """Learn from texts and return their evidence, each text's from the folds that it is not in.

        Args:
            encoded: the texts, in the file's order.
            labels: (texts,) integers below `classes`.
            classes: the number of classes, two at least.
        """
        groups, fold = folded(labels, classes, self._folds, self._block)
        order = np.argsort(groups.block, kind="stable")  # the order that the table wants
        found = self._fit(
            encoded.take(order), labels[order], groups._replace(block=groups.block[order]), fold[order]
        )
        back = np.argsort(order)
        at, _ = positions(np.concatenate(([0], np.cumsum(encoded.lengths[order]))), back)
        return Evidence(found.channels[at], found.logits[back])

    def _fit(
        self, encoded: EncodedTexts, labels: NDArray[np.integer[Any]], groups: Groups, fold: NDArray[np.int64]
    ) -> Evidence:
        """Learn from texts in the order of their blocks, and return their evidence."""
        from joblib import Parallel, delayed

        run = Parallel(n_jobs=self._jobs, prefer="threads")
        kinds = self._ids(encoded)
        size = 2 * self._vocabulary.size
        learnt = run(
            delayed(learn_ngrams)(ids, encoded.offsets, groups, _LONGEST[name], size)
            for name, ids in kinds.items()
        )
        tables = [table for table, _, _ in learnt]
        features = _joined(tables, [found for _, found, _ in learnt])
        counts = np.concatenate([counted for _, _, counted in learnt])
        classes = groups.number // self._folds
        counts = counts.reshape(len(counts), self._folds, classes)
        blocks = np.bincount(groups.group, minlength=groups.number).reshape(self._folds, classes)
        presence = _presence(features, encoded.offsets, len(counts))
        parts = [None, *np.unique(fold)]
        scored = run(delayed(self._score)(presence, labels, counts, blocks, fold, part) for part in parts)
        self.ngrams = self._scored(*(table.keys for table in tables), *scored[0])
        channels = np.zeros((len(encoded.ids), self.channels), np.float32)
        logits = np.zeros((len(labels), self.scores), np.float32)
        for part, (ratios, weights, bias) in zip(parts[1:], scored[1:], strict=True):
            rows = fold == part
            tokens = np.repeat(rows, encoded.lengths)
            channels[tokens] = channels_of(features[tokens], ratios, weights)
            logits[rows] = presence[rows] @ weights + bias
        return Evidence(channels, logits)

    def transform(self, encoded: EncodedTexts) -> Evidence:
        """Return the evidence of other texts."""
        return self.ngrams.evidence(encoded.ids, encoded.offsets)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return what was learnt as arrays, for `from_arrays`."""
        found = self.ngrams
        arrays = {"ratios": found.ratios, "weights": found.weights, "bias": found.bias}
        for name, keys in (("words", found.words), ("marked", found.marked)):
            arrays[f"{name}.vocabulary_size"] = np.array(2 * found.vocabulary_size)
            arrays.update({f"{name}.keys{n}": each for n, each in enumerate(keys, 1)})
        return arrays

    @classmethod
    def from_arrays(cls, vocabulary: ReviewVocabulary, arrays: Mapping[str, NDArray[Any]]) -> "NgramEvidence":
        """Return the evidence that `to_arrays` wrote, with the vocabulary that it was learnt with."""
        evidence = cls(vocabulary)
        keys = (
            tuple(arrays[f"{name}.keys{n}"].astype(np.int64) for n in range(1, longest + 1))
            for name, longest in _LONGEST.items()
        )
        numbers = (arrays[name].astype(np.float32) for name in ("ratios", "weights", "bias"))
        evidence.ngrams = evidence._scored(*keys, *numbers)
        return evidence

    @staticmethod
    def misfit(vocabulary: ReviewVocabulary, arrays: Mapping[str, NDArray[Any]]) -> str:
        """Return what is wrong with arrays that `from_arrays` is to read; "" if nothing is."""
        expected = {"ratios", "weights", "bias"}
        for name, longest in _LONGEST.items():
            expected |= {f"{name}.vocabulary_size", *(f"{name}.keys{n}" for n in range(1, longest + 1))}
        if arrays.keys() != expected:
            return f"its arrays are {', '.join(sorted(arrays))[:200]}"
        scores = arrays["bias"].shape
        features = sum(array.size for name, array in arrays.items() if ".keys" in name)
        for name in ("ratios", "weights", "bias"):
            array, shape = arrays[name], scores if name == "bias" else (features, *scores)
            if array.shape != shape or len(scores) != 1 or array.dtype.kind != "f":
                return f"{name!r} is {array.dtype} {array.shape}, where {features} n-grams were learnt"
            if not np.isfinite(array).all():
                return f"{name!r} has values that are no finite numbers"
        for name, array in arrays.items():
            if name.endswith(".vocabulary_size"):
                if array.shape != () or array.dtype.kind not in "iu" or array != 2 * vocabulary.size:
                    return f"it was learnt with another vocabulary than one of {vocabulary.size:,} ids"
            elif ".keys" in name and (
                array.ndim != 1 or array.dtype.kind not in "iu" or (np.diff(array) <= 0).any()
            ):
                return f"{name!r} is no row of ascending integers"
        return ""

    def _ids(self, encoded: EncodedTexts) -> dict[str, NDArray[np.int64]]:
        """Return the ids of the words, and of the words as other ones where a negation marks them."""
        ids, words = encoded.ids.astype(np.int64), self._vocabulary
        scope = in_scope(ids, encoded.offsets, words.negations, words.stops)
        return {"words": ids, "marked": ids + words.size * scope}

    def _score(
        self,
        presence: Any,
        labels: NDArray[np.integer[Any]],
        counts: NDArray[np.int32],
        blocks: NDArray[np.int64],
        fold: NDArray[np.int64],
        left_out: int | None,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Return ratios, weights (features, scores) and bias (scores,) from all folds but one."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        folds = [k for k in range(counts.shape[1]) if k != left_out]
        counted, totals = counts[:, folds].sum(axis=1), blocks[folds].sum(axis=0)
        rows = np.flatnonzero(fold != left_out) if left_out is not None else np.arange(len(labels))
        scores = [1] if counts.shape[2] == 2 else range(counts.shape[2])
        seen = counted.sum(axis=1) >= 2
        ratios = np.zeros((len(counted), len(scores)), np.float32)
        weights, bias = np.zeros_like(ratios), np.zeros(len(scores), np.float32)
        training = presence[rows]
        indices = training.indices
        for k, score in enumerate(scores):
            p, q = counted[:, score], counted.sum(axis=1) - counted[:, score]
            share = (totals[score] + 1) / (totals.sum() + 2)  # of the blocks
            # an n-gram that was not seen says nothing, however rare the class
            of_class = (p + 2 * share * self._smoothing) / share
            ratio = np.log(of_class / (q + 2 * (1 - share) * self._smoothing) * (1 - share)) * seen
            ratios[:, k] = ratio
            training.data = ratios[indices, k]
            positive = labels[rows] == score
            if not len(counted) or positive.all() or not positive.any():
                bias[k] = np.log((positive.sum() + 0.5) / ((~positive).sum() + 0.5))
                continue
            regression = LogisticRegression(
                C=self._strength, solver="liblinear", dual=True, tol=0.1, random_state=0
            )
            with _LIBLINEAR, warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
                regression.fit(training, positive)
            weights[:, k] = regression.coef_[0] * ratios[:, k]
            bias[k] = regression.intercept_[0]
        return ratios, weights, bias


def folded(
    labels: NDArray[np.integer[Any]], classes: int, folds: int, block: int
) -> tuple[Groups, NDArray[np.int64]]:
    """Divide texts into blocks of consecutive texts of a class, and the blocks into folds.

    Returns:
        The blocks, whose group is ``fold * classes + label``, and (texts,) the fold of each text.
    """
    of_text = np.zeros(len(labels), np.int64)
    group: list[int] = []
    for label in range(classes):
        members = np.flatnonzero(labels == label)
        size = max(1, min(block, len(members) // (2 * folds)))
        blocks = max(len(members) // size, 1)
        mine = np.minimum(np.arange(len(members)) // size, blocks - 1)
        of_text[members] = mine + len(group)
        group += [min(k * folds // blocks, folds - 1) * classes + label for k in range(blocks)]
    groups = Groups(of_text, np.array(group), folds * classes)
    return groups, groups.group[of_text] // classes


def _joined(tables: list[Ngrams], features: list[NDArray[np.int32]]) -> NDArray[np.int32]:
    """Number the features of all tables one after another: (tokens, kinds)."""
    starts = np.cumsum([0, *(table.size for table in tables)])
    shifted = [np.where(each >= 0, each + start, NONE) for each, start in zip(features, starts, strict=False)]
    return np.concatenate(shifted, axis=1)


def _presence(features: NDArray[np.int32], offsets: NDArray[np.int64], size: int) -> Any:
    """Return which features each text holds, a sparse (texts, size) matrix of float32 ones."""
    from scipy.sparse import csr_matrix

    valid = features >= 0
    lengths = np.concatenate(([0], np.cumsum(valid.sum(axis=1))))[offsets]
    ones = np.ones(lengths[-1], np.float32)
    matrix = csr_matrix((ones, features[valid], lengths), shape=(len(offsets) - 1, size))
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix
