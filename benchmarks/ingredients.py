"""What each ingredient of the preset `standard` brings: validation accuracy on the reviews without it.

python -m benchmarks.ingredients [--cells lstm simple_rnn] [--seeds 3] [--out runs/ingredients.json]

A fifth of the reviews is held out at random, as in the tutorial. Every figure is kept in the file; a command
that is interrupted or given again trains only what is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from ._report import table

os.environ.setdefault("KERAS_BACKEND", "jax")

ROWS: dict[str, dict[str, Any]] = {
    "--preset standard": {},
    "--no-mask": {"mask": False},
    "--pooling last": {"pooling": "last"},
    "--pooling max": {"pooling": "max"},
    "--clip-norm 0": {"clip_norm": 0.0},
    "--schedule linear": {"schedule": "linear"},
    "--weight-averaging 0": {"weight_averaging": 0.0},
    "--embedding-dropout 0": {"embedding_dropout": 0.0},
    "--output-dropout 0": {"output_dropout": 0.0},
    "--early-stopping 1": {"early_stopping": 1},
    "--recurrent-initializer identity": {"recurrent_initializer": "identity"},
    "--preset tutorial": {"preset": "tutorial"},
}


def accuracy(texts: list[str], labels: Any, cell: str, seed: int, changes: dict[str, Any]) -> dict[str, Any]:
    """Return the validation accuracy of one training, and its seconds."""
    from stepfold.estimators import TextClassifier

    began = time.perf_counter()
    model = TextClassifier(
        cell=cell, tokens="keras", validation_split=0.2, split="random", random_state=seed, **changes
    ).fit(texts, labels)
    found = {"accuracy": model.results_["val_accuracy"], "seconds": time.perf_counter() - began}
    return {**found, "epoch": model.results_["best_epoch"]}


def _row(name: str) -> str:
    return "--" + name.removeprefix("--")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cells", nargs="+", default=["simple_rnn", "lstm"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--rows", nargs="+", type=_row, default=list(ROWS), choices=ROWS, metavar="ROW",
        help="rows of the table by their names, which may stand without dashes: no-mask",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("runs/ingredients.json"))
    options = parser.parse_args()
    from stepfold.data import imdb_texts

    reviews = imdb_texts()
    texts, labels = list(reviews.texts), np.array(reviews.classes)[reviews.labels]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    done: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {}
    for seed in range(options.seeds):
        for row in options.rows:
            for cell in options.cells:
                key = f"{row}|{cell}|{seed}"
                if key in done:
                    continue
                done[key] = accuracy(texts, labels, cell, seed, ROWS[row])
                part = options.out.with_suffix(".part")
                part.write_text(json.dumps(done, indent=1))
                part.replace(options.out)
                print(key, done[key], file=sys.stderr, flush=True)
    lines = []
    for row in options.rows:
        line = [row]
        for cell in options.cells:
            found = [done[f"{row}|{cell}|{seed}"] for seed in range(options.seeds)]
            values = np.array([each["accuracy"] for each in found])
            line += [
                f"{values.mean():.4f} ± {values.std():.4f}",
                f"{np.mean([e['seconds'] for e in found]):.0f}",
            ]
        lines.append(line)
    print(table(["", *(name for cell in options.cells for name in (cell, "seconds"))], lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
