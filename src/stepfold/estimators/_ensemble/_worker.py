"""A process that trains some of the networks: ``python -m … FOLDER NUMBER``, see ``_side_by_side``."""

import json
import sys
from pathlib import Path

import numpy as np

from .._one_thread import keep_memory
from ._examples import Member, TextsWithEvidence
from ._side_by_side import Trained
from ._training import train_member


def _work(folder: Path, number: int) -> None:
    """Train the networks of one plan, and write the weights of each."""
    keep_memory()
    plan = json.loads((folder / f"plan{number}.json").read_text())
    arrays = {key: np.load(folder / f"{key}.npy", mmap_mode="r") for key in TextsWithEvidence._fields}
    labels = np.load(folder / "labels.npy")
    for file, settings in plan["members"].items():
        model = train_member(
            Member(**settings),
            TextsWithEvidence(**arrays),
            labels,
            plan["vocabulary_size"],
            plan["scores"],
            Path(file).stem.replace("network", "network ") if plan["verbose"] else "",
            plan["parent"],
        )
        Trained.of(model).save(Path(file))


if __name__ == "__main__":
    _work(Path(sys.argv[1]), int(sys.argv[2]))
