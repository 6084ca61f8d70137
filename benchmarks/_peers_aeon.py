"""aeon's and scikit-learn's quick classifiers on data sets of sequences; run where aeon is installed.

`python _peers_aeon.py NAME …` prints a line of JSON for each data set. It imports nothing of stepfold, for
aeon and stepfold ask for different versions of llvmlite.
"""

import json
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from aeon.classification.convolution_based import MiniRocketClassifier
from aeon.datasets import load_classification
from sklearn.ensemble import RandomForestClassifier


def summaries(sequences: Any) -> Any:
    """Return mean, deviation, extremes and ends of each channel, (sequences, 6 · channels)."""
    rows = []
    for sequence in sequences:  # (channels, time)
        parts = (np.mean, np.std, np.min, np.max)
        ends = (sequence[:, 0], sequence[:, -1])
        rows.append(np.concatenate([part(sequence, axis=1) for part in parts] + list(ends)))
    return np.array(rows)


def judged(name: str, make: Callable[[], Any], training: Any, test: Any) -> dict[str, Any]:
    """Return accuracy and seconds of a classifier; None and why where it does not take the data."""
    began = time.perf_counter()
    try:
        accuracy = make().fit(*training).score(*test)
    except (TypeError, ValueError) as error:
        return {"name": name, "accuracy": None, "why": str(error).splitlines()[0]}
    return {"name": name, "accuracy": float(accuracy), "seconds": time.perf_counter() - began}


def main() -> None:
    warnings.simplefilter("ignore")
    for name in sys.argv[1:]:
        training, test = (load_classification(name, split=part) for part in ("train", "test"))
        flat = [(summaries(sequences), labels) for sequences, labels in (training, test)]
        equal = isinstance(training[0], np.ndarray)
        if not equal:  # MiniRocket asks for equal lengths: aeon's own padded version of the data
            training, test = (
                load_classification(name, split=part, load_equal_length=True) for part in ("train", "test")
            )
        found = [
            judged("aeon MiniRocket", lambda: MiniRocketClassifier(random_state=0, n_jobs=2), training, test),
            judged(
                "scikit-learn forest",
                lambda: RandomForestClassifier(500, random_state=0, n_jobs=2),
                *flat,
            ),
        ]
        print(json.dumps({"data": name, "results": found}), flush=True)


if __name__ == "__main__":
    main()
