"""Accuracy on sequences of sensors and voices, beside aeon's MiniRocket and scikit-learn's forest.

Run it as `python -m benchmarks.sequences [--seeds 3] [NAME …]`. The data sets, with official splits, lie
in the wheel of aeon, which gets an environment of its own, --folder: it asks for an older llvmlite.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ._report import table

os.environ.setdefault("KERAS_BACKEND", "jax")

AEON = "aeon==1.6.0"
NAMES = (
    "JapaneseVowels",
    "ItalyPowerDemand",
    "BasicMotions",
    "GunPoint",
    "ArrowHead",
    "PickupGestureWiimoteZ",
)


def aeon_python(folder: Path) -> Path:
    """Return the interpreter of aeon's environment, which is made first."""
    python = folder / "bin" / "python"
    if not (folder / "installed").exists():
        print(f"installing {AEON} into {folder} …", file=sys.stderr, flush=True)
        venv.create(folder, with_pip=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", AEON]
        subprocess.run(install, check=True)
        (folder / "installed").touch()
    return python


def data_folder(python: Path) -> Path:
    """Return the folder of aeon's data sets."""
    code = "import importlib.util as u; print(u.find_spec('aeon').submodule_search_locations[0])"
    found = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True)
    return Path(found.stdout.strip()) / "datasets" / "data"


def ours(folder: Path, name: str, seeds: int) -> tuple[list[float], float]:
    """Return the accuracy of each seed, and the mean seconds of fitting and predicting."""
    from stepfold.data import load_sequences
    from stepfold.estimators import SequenceClassifier

    training, test = (load_sequences(folder / name / f"{name}_{part}.ts") for part in ("TRAIN", "TEST"))
    assert training.labels is not None
    assert test.labels is not None
    assert training.classes == test.classes
    accuracies, began = [], time.perf_counter()
    for seed in range(seeds):
        model = SequenceClassifier(random_state=seed).fit(training.sequences, training.labels)
        accuracies.append(float(model.score(test.sequences, test.labels)))
    return accuracies, (time.perf_counter() - began) / seeds


def peers(python: Path, names: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Return the results of aeon's and scikit-learn's classifiers for each data set."""
    command = [str(python), str(Path(__file__).with_name("_peers_aeon.py")), *names]
    found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    lines = [json.loads(line) for line in found.stdout.splitlines()]
    return {line["data"]: line["results"] for line in lines}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", default=NAMES)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path("runs/aeon"), help="aeon's environment")
    options = parser.parse_args()
    python = aeon_python(options.folder).absolute()
    folder = data_folder(python)
    others = peers(python, options.names)
    head = ["data", "stepfold", "seconds"]
    rows: list[list[str]] = []
    for name in options.names:
        accuracies, seconds = ours(folder, name, options.seeds)
        row = [name, f"{sum(accuracies) / len(accuracies):.3f}", f"{seconds:.1f}"]
        for result in others[name]:
            if len(rows) == 0:
                head += [result["name"], "seconds"]
            known = result["accuracy"] is not None
            row += [f"{result['accuracy']:.3f}", f"{result['seconds']:.1f}"] if known else ["–", "–"]
        rows.append(row)
        print(f"{name}: {', '.join(f'{each:.3f}' for each in accuracies)}", file=sys.stderr, flush=True)
    print(table(head, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
