"""Ray trains the same classifier with several cells and seeds, a task each, on one machine or a cluster.

    pip install "stepfold[app]" ray
    python examples/ray_tasks.py                        # 4,000 film reviews, 9 tasks: some minutes
    python examples/ray_tasks.py --quick                # 300 reviews, 2 tasks: half a minute
    python examples/ray_tasks.py --address 10.0.0.1:6379

The texts are put into Ray's store once. A task has one processor, so as many train side by side as there are
processors; on a cluster stepfold must be installed on every node.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

import numpy as np
import ray

from stepfold.data import imdb_texts

Result = tuple[str, int, float]


@ray.remote(num_cpus=1)
def train(texts: list[str], labels: list[str], cell: str, seed: int, epochs: int, length: int) -> Result:
    """Train one classifier; returns its cell, seed and validation accuracy."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    from stepfold.estimators import TextClassifier

    classifier = TextClassifier(
        cell=cell, epochs=epochs, length=length, validation_split=0.2, random_state=seed
    )
    classifier.fit(texts, labels)
    return cell, seed, float(classifier.results_["val_accuracy"])


def reviews(count: int) -> tuple[list[str], list[str]]:
    """So many of IMDB's reviews, good and bad ones in turn."""
    table = imdb_texts()
    texts, labels = list(table.texts), np.asarray(table.labels)
    pairs = zip(*(np.flatnonzero(labels == label)[: count // 2] for label in (0, 1)), strict=True)
    rows = [int(row) for pair in pairs for row in pair]
    return [texts[row] for row in rows], [table.classes[labels[row]] for row in rows]


def main(arguments: Sequence[str] | None = None) -> list[Result]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="300 reviews, one seed, 2 epochs")
    parser.add_argument("--address", help="of a running cluster; without one Ray begins on this machine")
    options = parser.parse_args(arguments)
    texts, labels = reviews(300 if options.quick else 4000)
    cells, seeds = (("lstm", "gru"), 1) if options.quick else (("lstm", "gru", "mgu"), 3)
    epochs, length = (2, 60) if options.quick else (6, 250)

    ray.init(address=options.address, include_dashboard=False, log_to_driver=False)
    try:
        stored = ray.put(texts), ray.put(labels)
        waiting = [
            train.remote(*stored, cell, seed, epochs, length) for cell in cells for seed in range(seeds)
        ]
        found: list[Result] = []
        while waiting:
            done, waiting = ray.wait(waiting)
            found += ray.get(done)
            print("{}, seed {}: validation accuracy {:.3f}".format(*found[-1]), flush=True)
    finally:
        ray.shutdown()
    for cell in cells:
        scores = [score for name, _, score in found if name == cell]
        print(f"{cell}: {np.mean(scores):.3f} on average of {len(scores)}")
    return found


if __name__ == "__main__":
    main()
