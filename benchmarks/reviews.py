"""Accuracy on the reviews, films held out: the presets `best` and `plain`, their parts, each ingredient left
out, and baselines.

python -m benchmarks.reviews --splits b2 b4 --rows best "n-grams, regression" --out reviews.json

``bK`` holds out the K-th fifth of each class in the file's order, so no film is on both sides. Every figure
is kept in the file; a command that is interrupted or given again computes only what is missing. Seconds are
wall time, with as many processes as there are processors.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray

from stepfold._processors import processors
from stepfold.data import imdb_texts, review_tokens
from stepfold.estimators._ensemble._ensemble import MEMBERS, EvidenceEnsemble
from stepfold.estimators._ensemble._examples import Member

Ids = NDArray[np.int64]

A, B = MEMBERS[0], MEMBERS[1]
_SPLIT: Any = {"tokenizer": review_tokens, "token_pattern": None, "lowercase": False}
PLAIN = Member(epochs=3, cell="gru", add_logit=False, evidence=False, weight_averaging=0.5)
ENSEMBLES: dict[str, Sequence[Member]] = {
    "best": MEMBERS,
    "its first network": [A],
    "its second network": [B],
    "best, without recurrence": [replace(A, cell=None), replace(B, cell=None)],
    "one network without n-grams": [PLAIN],
}


def words_regression(train: list[str], labels: Ids, test: list[str]) -> NDArray[np.bool_]:
    """Logistic regression on TF-IDF of single words."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    words = TfidfVectorizer(**_SPLIT, min_df=2, sublinear_tf=True)
    regression = LogisticRegression(C=10, solver="liblinear", dual=True, random_state=0)
    regression.fit(words.fit_transform(train), labels)
    return np.asarray(regression.predict(words.transform(test)) == 1)


def nb_svm(train: list[str], labels: Ids, test: list[str]) -> NDArray[np.bool_]:
    """NB-SVM of Wang & Manning (2012): a linear SVM on log-count ratios of single words and pairs."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.svm import LinearSVC

    pairs = CountVectorizer(
        **_SPLIT,
        ngram_range=(1, 2),
        binary=True,
        dtype=np.float32,
    )
    found = pairs.fit_transform(train)
    p, q = (1.0 + np.asarray(found[labels == label].sum(axis=0))[0] for label in (1, 0))
    ratio = np.log(p / p.sum() / (q / q.sum())).astype(np.float32)
    machine = LinearSVC(C=0.01, random_state=0).fit(_scaled(found, ratio), labels)
    share = 0.25  # between the machine's weights and their mean magnitude
    weights = (1 - share) * np.abs(machine.coef_[0]).mean() + share * machine.coef_[0]
    return np.asarray(_scaled(pairs.transform(test), ratio) @ weights + share * machine.intercept_[0] > 0)


def _scaled(matrix: Any, by: NDArray[np.float32]) -> Any:
    matrix = matrix.tocsr()
    matrix.data = by[matrix.indices]
    return matrix


def ngram_regression(train: list[str], labels: Ids, test: list[str]) -> NDArray[np.bool_]:
    """The regression in the ensemble, alone."""
    ensemble = EvidenceEnsemble([])
    return ensemble.fit(train, labels, 2).evidence_logits(test)[:, 0] > 0


def plain(train: list[str], labels: Ids, test: list[str]) -> NDArray[np.bool_]:
    """The preset `plain`: one network of words alone, taught by n-grams."""
    from stepfold.estimators import TextClassifier

    found = TextClassifier(preset="plain", random_state=0, verbose=2).fit(train, labels)
    return np.asarray(found.predict(test) == 1)


OTHERS: dict[str, Callable[[list[str], Ids, list[str]], NDArray[np.bool_]]] = {
    "words, logistic regression": words_regression,
    "pairs of words, NB-SVM": nb_svm,
    "n-grams, regression": ngram_regression,
    "plain": plain,
}


def held_out(labels: Ids, fifth: int) -> NDArray[np.bool_]:
    """Return which texts are in a fifth of their class."""
    found = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        found[members[fifth * len(members) // 5 : (fifth + 1) * len(members) // 5]] = True
    return found


def measure(row: str, split: str, seed: int) -> dict[str, Any]:
    """Return a row's accuracy on a split, and its seconds."""
    reviews = imdb_texts()
    labels = reviews.labels.astype(np.int64)
    out = held_out(labels, int(split.removeprefix("b")))
    train = [text for text, held in zip(reviews.texts, out, strict=True) if not held]
    test = [text for text, held in zip(reviews.texts, out, strict=True) if held]
    began = time.perf_counter()
    if row in OTHERS:
        found = OTHERS[row](train, labels[~out], test)
        seconds = time.perf_counter() - began
    else:
        members = ENSEMBLES[row]
        vocabulary_size = 4000 if any(member.evidence for member in members) else 10000
        ensemble = EvidenceEnsemble(members, vocabulary_size=vocabulary_size, seed=10 * seed)
        ensemble.fit(train, labels[~out], 2)
        seconds = time.perf_counter() - began
        found = ensemble.predict_logits(test)[:, 0] > 0
    return {"accuracy": float(np.mean(found == (labels[out] == 1))), "seconds": round(seconds, 1)}


def table(results: dict[str, Any], rows: Sequence[str], splits: Sequence[str], seeds: int) -> str:
    """Return the figures as a table in Markdown: the mean over seeds for each split."""
    lines = [
        "| | " + " | ".join(splits) + " | mean | seconds |",
        "|---" * (len(splits) + 3) + "|",
    ]
    for row in rows:
        found = [[results[f"{row}|{split}|{seed}"] for seed in range(seeds)] for split in splits]
        means = [float(np.mean([each["accuracy"] for each in of_split])) for of_split in found]
        seconds = np.mean([each["seconds"] for of_split in found for each in of_split])
        cells = [row, *(f"{mean:.4f}" for mean in means), f"{np.mean(means):.4f}", f"{seconds:.0f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    os.environ.setdefault("KERAS_BACKEND", "jax")
    everything = [*OTHERS, *ENSEMBLES]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reviews", description=__doc__.splitlines()[0])
    parser.add_argument("--splits", nargs="+", choices=[f"b{k}" for k in range(5)], default=["b2", "b4"])
    parser.add_argument("--rows", nargs="+", choices=everything, default=everything, metavar="ROW")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("reviews.json"))
    options = parser.parse_args()
    results = json.loads(options.out.read_text()) if options.out.exists() else {}
    print(f"{processors()} processors, joblib {joblib.__version__}", flush=True)
    for row in options.rows:
        for split in options.splits:
            for seed in range(options.seeds):
                key = f"{row}|{split}|{seed}"
                if key not in results:
                    results[key] = measure(row, split, seed)
                    options.out.write_text(json.dumps(results, indent=1))
                    print(key, results[key], flush=True)
    print(table(results, options.rows, options.splits, options.seeds))


if __name__ == "__main__":
    main()
