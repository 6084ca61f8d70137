"""What the presets share whose networks learn from n-grams first: `best` and `plain`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ._evaluation import Evaluation
from ._processes import share
from ._run import RunFolder

OF_NETWORKS = (
    "cell",
    "units",
    "epochs",
    "embedding",
    "word_dropout",
    "embedding_dropout",
    "batch_size",
    "learning_rate",
    "weight_averaging",
)
"""What a user may choose of the networks."""
_KNOWN = {*OF_NETWORKS, "vocabulary_size", "length"}
_ELSEWHERE = {"preset", "random_state", "verbose", "validation_split", "split"}
_CELLS_OF_BEST = ("gru", "lstm")


def check_taught(preset: str, given: Mapping[str, Any]) -> None:
    """Refuse parameters that a preset does not have, and several processes, with a ValueError."""
    if share().processes > 1:
        raise ValueError(
            f"the preset {preset!r} divides its training in its own way; begin it in one process, without "
            "more (--processes)"
        )
    chosen = {name: value for name, value in given.items() if value is not None}
    known = _KNOWN | _ELSEWHERE
    if strange := sorted(chosen.keys() - known):
        raise ValueError(
            f"the preset {preset!r} has no parameter {strange[0]!r}; leave it out, or take another preset. "
            f"It has {', '.join(sorted(known))}"
        )
    if preset == "best" and chosen.get("cell", "gru") not in _CELLS_OF_BEST:
        raise ValueError(
            f"the preset 'best' takes the cells {' and '.join(_CELLS_OF_BEST)}, not "
            f"{str(chosen['cell'])[:40]!r}"
        )


def judged(evaluation: Evaluation) -> dict[str, float]:
    """Return the figures of held-out texts as results name them."""
    return {
        "val_accuracy": round(evaluation.accuracy, 4),
        "val_loss": round(evaluation.log_loss, 4),
    }


def interruption_message(run: RunFolder | None) -> str:
    """Return what an interrupted training says."""
    if run is None:
        return "interrupted; nothing is saved without a folder"
    return (
        f"interrupted: the networks that are done are kept in {run.path}; "
        "continue with resume=True (--resume)"
    )
