"""Model files: a new process up to its first prediction, 25,000 reviews beside Keras, small weights.

Run it as `python -m benchmarks.model_file [--quick]`.

The tutorial's network, Embedding(10000, 32) → LSTM(32) → Dense(1) over 500 tokens, masked, with random
weights. Keras's `predict` gets ids that are padded already, in batches of 128 like ours; our side is timed
with the ids and with the texts.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import stepfold
from stepfold.data import KerasWords, imdb_texts
from stepfold.model import Model, Sequences

from . import _report
from ._harness import Side, check, time_alternating

os.environ.setdefault("KERAS_BACKEND", "jax")

VOCABULARY, LENGTH, UNITS, BATCH = 10_000, 500, 32, 128
TOLERANCE = 1e-5
_QUICK_REVIEWS = 1_000

_START = """
import stepfold, sys
print(stepfold.load(sys.argv[1]).predict_proba(["a wonderful film"])[0, 0])
"""


def network() -> Any:
    """Return the tutorial's network in Keras, with random weights."""
    import keras

    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((LENGTH,), dtype="int32"),
            keras.layers.Embedding(VOCABULARY, UNITS, mask_zero=True),
            keras.layers.LSTM(UNITS),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )


def starts(path: Path, times: int) -> tuple[float, float]:
    """Return the least seconds, of the clock and of the processor, from a new process to its prediction."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    found = []
    for _ in range(times + 1):  # the first writes bytecode and kernels
        before, clock = _children(), time.perf_counter()
        subprocess.run(
            [sys.executable, "-c", _START, str(path)], check=True, stdout=subprocess.DEVNULL, env=environment
        )
        found.append((time.perf_counter() - clock, _children() - before))
    clocks, processors = zip(*found[1:], strict=True)
    return min(clocks), min(processors)


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main(arguments: Sequence[str]) -> None:
    chosen = _report.options(__doc__).parse_args(arguments)
    report = _report.begin("model_file", chosen)
    from stepfold.keras import to_model

    texts = list(imdb_texts().texts)
    vocabulary = KerasWords.learn(texts, VOCABULARY)
    if chosen.quick:
        texts = texts[:: len(texts) // _QUICK_REVIEWS]
    rows = vocabulary.encode_all(texts)
    padded, sequences = rows.padded(slice(None), LENGTH), list(rows)
    keras_network = network()
    model = to_model(keras_network, vocabulary=vocabulary, length=LENGTH)
    on_ids = Model(model.layers, Sequences(None, LENGTH), model.labels)

    def side(name: str, run: Callable[[], Any]) -> Side:
        return Side(name, run, lambda found: {"outputs": np.asarray(found)[:, 0]})

    sides = [
        side(_report.OURS, lambda: on_ids.outputs(sequences)),
        side("stepfold, from texts", lambda: model.outputs(texts)),
        side("keras predict", lambda: keras_network.predict(padded, batch_size=BATCH, verbose=0)),
    ]
    differences = check(sides, TOLERANCE)
    rounds = 1 if chosen.quick else 3
    times = time_alternating(sides, seconds=0, min_rounds=rounds)
    ratios = report.compared(f"{len(texts):,} reviews", times, differences=differences)
    report.bar("keras predict ÷ ours", ratios["keras predict"], 1)
    with_texts = ratios["keras predict"] / ratios["stepfold, from texts"]
    report.bar("keras predict ÷ ours from texts", with_texts, 1)
    with tempfile.TemporaryDirectory() as folder:
        _small_weights(report, model, texts, Path(folder))
        clock, processor = starts(Path(folder) / "f32.safetensors", 3 if chosen.quick else 10)
    print(f"\nimport, load and first prediction in a new process: {clock:.3f} s ({processor:.3f} s of CPU)")
    report.bar("import, load, first prediction", clock, 0.5, at_most=True, unit="s")
    report.end()


def _small_weights(report: _report.Report, model: Model, texts: Sequence[str], folder: Path) -> None:
    """Print the sizes of the files, and how far their predictions are off."""
    exact, lines = model.outputs(texts), []
    for weights in ("f32", "bf16", "int8"):
        path = folder / f"{weights}.safetensors"
        stepfold.export(model, path, weights=weights)
        loaded = stepfold.load(path)
        off = float(np.abs(loaded.outputs(texts) - exact).max())
        size = path.stat().st_size
        lines.append([weights, f"{size:,}", f"{off:.1e}"])
        report.results.append({"title": weights, "bytes": size, "difference": off})
    print("\n" + _report.table(["weights", "bytes", "greatest difference"], lines))


if __name__ == "__main__":
    main(sys.argv[1:])
