"""A process that trains some of the networks: ``python -m … FOLDER NUMBER``, see ``_side_by_side``."""

import json
import sys
from pathlib import Path

import numpy as np

from .._one_thread import keep_memory
from ._examples import TextsWithEvidence
from ._side_by_side import Part


def _work(folder: Path, number: int) -> None:
    """Train the networks of one plan, and write the weights of each."""
    keep_memory()
    plan = json.loads((folder / f"plan{number}.json").read_text())
    arrays = {key: np.load(folder / f"{key}.npy", mmap_mode="r") for key in TextsWithEvidence._fields}
    labels = np.load(folder / "labels.npy")
    examples = TextsWithEvidence(**arrays)
    for file, stored in plan["parts"].items():
        name = Path(file).stem.replace("network", "network ") if plan["verbose"] else ""
        trained = Part.from_json(stored).train(examples, labels, plan["scores"], name, plan["parent"])
        trained.save(Path(file))


if __name__ == "__main__":
    _work(Path(sys.argv[1]), int(sys.argv[2]))
