"""The figures of each epoch as rows: the best row, the final figures, CSV and curves."""

import csv
import io
import math
from pathlib import Path
from typing import Any

Row = dict[str, float]
COLUMNS = ("epoch", "loss", "accuracy", "val_loss", "val_accuracy", "seconds")


def best(rows: list[Row]) -> Row:
    """Return the best epoch's row: highest validation accuracy, then lowest loss, then the first."""
    return max(rows, key=lambda row: (row["val_accuracy"], -_finite(row["val_loss"]), -row["epoch"]))


def figures(rows: list[Row], parameters: int) -> dict[str, Any]:
    """Return the final figures: those of the saved (best) model, and the cost of the training.

    Seconds are those of the epochs, each with its validation.
    """
    chosen = best(rows)
    seconds = sum(row["seconds"] for row in rows)
    return {
        "val_accuracy": round(chosen["val_accuracy"], 4),
        "val_loss": round(chosen["val_loss"], 4) if math.isfinite(chosen["val_loss"]) else None,
        "epochs": len(rows),
        "seconds": round(seconds, 2),
        "seconds_per_epoch": round(seconds / len(rows), 2),
        "parameters": parameters,
    }


def to_csv(rows: list[Row]) -> str:
    """Return the history as CSV, a line an epoch."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({**row, "epoch": int(row["epoch"])} for row in rows)
    return text.getvalue()


def draw(rows: list[Row], path: Path) -> None:
    """Draw loss and accuracy over the epochs, for training and validation, into a PNG file."""
    # Figure without pyplot: no window system and no global state.
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    epochs = [row["epoch"] for row in rows]
    chosen = best(rows)
    figure = Figure(figsize=(9, 3.6), dpi=120, layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        axes.plot(epochs, [row[name] for row in rows], "o-", color="tab:gray", label="training")
        axes.plot(epochs, [row[f"val_{name}"] for row in rows], "o-", color="tab:blue", label="validation")
        axes.plot(
            chosen["epoch"], chosen[f"val_{name}"], "o", markersize=12, fillstyle="none", color="tab:red",
            label=f"saved model: {chosen[f'val_{name}']:.4f}",
        )  # fmt: skip
        axes.set(xlabel="epoch", title=name)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path)


def _finite(loss: float) -> float:
    return loss if math.isfinite(loss) else math.inf
