"""Shows how a comparison gets on, on standard error: a live table, or a line for each epoch and run."""

from __future__ import annotations

import csv
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from .._run import RunFolder
from ._run import Outcome

_SECONDS = 0.3
"""How often the histories of the runs are read."""
_ENDED_ROWS = 12
"""The runs that have ended which the live table shows, besides those that train."""


@dataclass
class _Run:
    name: str
    folder: Path
    state: str = "waiting"
    rows: list[dict[str, float]] = field(default_factory=list)
    score: float | None = None


class Progress:
    """Follows the runs by the histories that they write; a context.

    Args:
        runs: the name and the folder of each.
        measure: what their scores are, such as "validation accuracy".
        shown: whether anything is shown.
    """

    def __init__(self, runs: Sequence[tuple[str, Path]], measure: str, *, shown: bool) -> None:
        self._runs = [_Run(name, folder) for name, folder in runs]
        self._measure, self._shown = measure, shown
        self._ended: list[_Run] = []
        self._lock, self._over = threading.Lock(), threading.Event()
        self._live: Any = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if self._shown:
            if sys.stderr.isatty():
                from rich.console import Console
                from rich.live import Live

                self._live = Live(
                    console=Console(stderr=True), get_renderable=self._table, refresh_per_second=4
                )
                self._live.start()
            self._thread = threading.Thread(target=self._follow, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        if self._live is not None:
            self._live.stop()

    def begin(self, k: int) -> None:
        """Say that a run begins; the epochs that it has from before are not shown again."""
        with self._lock:
            run = self._runs[k]
            run.rows, run.state = _history(run.folder), "training"

    def end(self, k: int, outcome: Outcome, score: float | None, state: str = "done") -> None:
        """Say what became of a run."""
        with self._lock:
            run = self._runs[k]
            names = list(outcome.history)
            rows = [dict(zip(names, row, strict=True)) for row in zip(*outcome.history.values(), strict=True)]
            if run.state == "training":
                self._add(run, rows)
            run.rows, run.score = rows or run.rows, score
            run.state = "failed" if outcome.failure else state
            self._ended.append(run)
            epochs = f"{len(run.rows)} epoch{'s' if len(run.rows) != 1 else ''}"
            found = outcome.failure or f"{self._measure} {score:.4f}, {epochs}, {_seconds(run)}"
            self._say(f"[{len(self._ended)}/{len(self._runs)}] {run.name}: {run.state}, {found}")

    def _follow(self) -> None:
        while not self._over.wait(_SECONDS):
            with self._lock:
                for run in self._runs:
                    if run.state == "training":
                        self._add(run, _history(run.folder))

    def _add(self, run: _Run, rows: list[dict[str, float]]) -> None:
        for row in rows[len(run.rows) :]:
            run.rows.append(row)
            name = "val_accuracy" if "val_accuracy" in row else "val_loss"
            figure = f", {name.replace('val_', 'validation ')} {row[name]:.4f}" if name in row else ""
            self._say(f"{run.name}: epoch {len(run.rows)}{figure}, {row['seconds']:.1f} s")

    def _say(self, line: str) -> None:
        if self._shown and self._live is None:
            print(line, file=sys.stderr, flush=True)

    def _table(self) -> Any:
        from rich.table import Table

        waiting = sum(run.state == "waiting" for run in self._runs)
        table = Table(caption=f"{len(self._ended)} of {len(self._runs)} runs have ended, {waiting} wait")
        table.add_column("run", overflow="ellipsis")
        for name in ("state", "epoch", self._measure, "time"):
            table.add_column(name, justify="left" if name == "state" else "right", no_wrap=True)
        training = [run for run in self._runs if run.state == "training"]
        for run in [*self._ended[-_ENDED_ROWS:], *training]:
            last = run.rows[-1] if run.rows else {}
            figure = run.score if run.score is not None else last.get("val_accuracy")
            table.add_row(
                run.name,
                run.state,
                str(len(run.rows)),
                "" if figure is None else f"{figure:.4f}",
                _seconds(run),
                style={"failed": "red", "training": "bold"}.get(run.state),
            )
        return table


def _seconds(run: _Run) -> str:
    return f"{sum(row.get('seconds', 0.0) for row in run.rows):.1f} s"


def _history(folder: Path) -> list[dict[str, float]]:
    """Return the rows of a run's history so far."""
    try:
        with RunFolder(folder).history.open(encoding="utf-8", newline="") as file:
            return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    except (OSError, ValueError, TypeError):
        return []
