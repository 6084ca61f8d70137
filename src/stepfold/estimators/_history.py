"""The figures of each epoch as rows: the best row, the final figures, CSV."""

import csv
import io
import math
from statistics import median
from typing import Any

Row = dict[str, float]
_COLUMNS = ("epoch", "loss", "accuracy", "mae", "val_loss", "val_accuracy", "val_mae", "seconds")


def is_row(row: object) -> bool:
    """Whether something that was read from a file is a row."""
    return (
        isinstance(row, dict)
        and {"epoch", "loss", "seconds"} <= row.keys()
        and all(isinstance(value, (int, float)) for value in row.values())
    )


def best(rows: list[Row]) -> Row | None:
    """Return the row of the epoch whose weights are kept, None if no epoch ended with a finite loss.

    With validation: the highest validation accuracy, then the lowest validation loss (the loss alone in
    regression), then the first. Without: the last epoch.
    """
    finite = [row for row in rows if all(map(math.isfinite, row.values()))]
    if not finite:
        return None
    if "val_loss" not in finite[-1]:
        return finite[-1]
    return max(finite, key=lambda row: (row.get("val_accuracy", 0.0), -row["val_loss"], -row["epoch"]))


def figures(rows: list[Row], parameters: int) -> dict[str, Any]:
    """Return the final figures: those of the kept epoch, and the cost of the training.

    Seconds are those of the epochs, each with its validation; those of one epoch are the median, for the
    first one compiles besides.
    """
    chosen = best(rows) or {}
    seconds = sum(row["seconds"] for row in rows)
    named = ("accuracy", "loss", "mae", "val_accuracy", "val_loss", "val_mae")
    return {
        **{name: round(chosen[name], 4) for name in named if name in chosen},
        "best_epoch": int(chosen.get("epoch", 0)),
        "epochs": len(rows),
        "seconds": round(seconds, 2),
        "seconds_per_epoch": round(median(row["seconds"] for row in rows), 2) if rows else 0.0,
        "parameters": parameters,
    }


def to_csv(rows: list[Row]) -> str:
    """Return the history as CSV, a line an epoch."""
    text = io.StringIO()
    columns = [name for name in _COLUMNS if name in rows[0]]
    writer = csv.DictWriter(text, columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows({**row, "epoch": int(row["epoch"])} for row in rows)
    return text.getvalue()
