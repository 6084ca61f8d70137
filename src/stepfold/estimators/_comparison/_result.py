"""The result of a comparison: a row for each setting, as a table, as JSON, as a report."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Literal

from ..._cell import Cell
from ...report import ComparisonReport, ComparisonRow, Epoch, write_comparison_report
from .._report import equations, versions

Measure = Literal["accuracy", "r2"]
NAMES: dict[Measure, str] = {"accuracy": "accuracy", "r2": "R²"}


@dataclass(frozen=True)
class ComparedRun:
    """One run of a setting.

    Attributes:
        seed: its seed.
        score: accuracy (R² for regression) on the held-out examples; None if the run failed.
        results, history: as the estimator's ``results_`` and ``history_``.
        failure: why it failed; "" if it did not.
        folder: where it is; None if it was not kept.
    """

    seed: int
    score: float | None
    results: Mapping[str, Any]
    history: Mapping[str, Sequence[float]]
    failure: str = ""
    folder: Path | None = None


@dataclass(frozen=True)
class ComparedSetting:
    """The runs of one setting, one a seed.

    Attributes:
        name: what tells it from the others, such as "gru, units 64".
        varied: the parameters that differ between the settings.
        runs: in the order of the seeds.
    """

    name: str
    varied: Mapping[str, Any]
    runs: Sequence[ComparedRun]

    @property
    def done(self) -> list[ComparedRun]:
        """The runs that did not fail."""
        return [run for run in self.runs if run.score is not None]

    @property
    def scores(self) -> list[float]:
        """The scores of the runs that did not fail."""
        return [run.score for run in self.runs if run.score is not None]

    @property
    def mean(self) -> float | None:
        """The mean score; None if every run failed."""
        return fmean(self.scores) if self.scores else None

    @property
    def deviation(self) -> float | None:
        """The sample standard deviation of the scores; None for fewer than two."""
        return stdev(self.scores) if len(self.scores) > 1 else None

    @property
    def seconds_per_epoch(self) -> float | None:
        """The mean over the runs of each one's median."""
        return fmean(run.results["seconds_per_epoch"] for run in self.done) if self.scores else None

    @property
    def parameters(self) -> int | None:
        """The number of trained values."""
        return int(self.done[0].results["parameters"]) if self.scores else None

    @property
    def best_epochs(self) -> list[int]:
        """The epoch with the best score, one a run."""
        return [int(run.results["best_epoch"]) for run in self.done]

    def to_dict(self, measure: Measure) -> dict[str, Any]:
        """Return the figures for JSON."""
        return {
            "setting": self.name,
            "varied": dict(self.varied),
            measure: _rounded(self.mean, 6),
            "deviation": _rounded(self.deviation, 6),
            "scores": self.scores,
            "seeds": [run.seed for run in self.done],
            "seconds_per_epoch": _rounded(self.seconds_per_epoch, 3),
            "parameters": self.parameters,
            "best_epochs": self.best_epochs,
            "failed": {str(run.seed): run.failure for run in self.runs if run.score is None},
            "runs": [str(run.folder) for run in self.runs if run.folder is not None],
        }


@dataclass(frozen=True)
class Comparison:
    """What ``compare`` found.

    Attributes:
        rows: the settings, the best mean score first, those without one last.
        measure: what the scores are: "accuracy", or "r2" for regression.
        held_out: examples that the scores were measured on, if all runs have as many.
        split: how they were chosen, as in ``Settings.split``; or "given".
        seconds: of all runs together, each with its validation.
        configuration: what all settings share.
        cells: the cells that were compared.
        notes: the warnings of the runs.
    """

    rows: tuple[ComparedSetting, ...]
    measure: Measure
    held_out: int | None
    split: str
    seconds: float
    configuration: Mapping[str, Any]
    cells: tuple[Cell, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def failures(self) -> dict[str, str]:
        """Why each run failed that did, by its setting and seed."""
        return {
            f"{row.name}, seed {run.seed}": run.failure
            for row in self.rows
            for run in row.runs
            if run.score is None
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the figures for JSON."""
        return {
            "measure": self.measure,
            "held_out": self.held_out,
            "split": self.split,
            "seconds": round(self.seconds, 2),
            "rows": [row.to_dict(self.measure) for row in self.rows],
        }

    def table(self) -> list[list[str]]:
        """Return the table, cell by cell, with its head."""
        head = ["setting", f"{NAMES[self.measure]} (held out)", "seconds an epoch", "parameters"]
        return [[*head, "epochs to the best", "runs"], *map(_cells, self.rows)]

    def __str__(self) -> str:
        table = self.table()
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        return "\n".join(
            "  ".join(
                [row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]
            )
            for row in table
        )

    def _repr_html_(self) -> str:
        head, *rows = ([html.escape(cell) for cell in row] for row in self.table())
        names = "".join(f'<th scope="col">{cell}</th>' for cell in head)
        body = "".join(
            f'<tr><th scope="row">{row[0]}</th>{"".join(f"<td>{cell}</td>" for cell in row[1:])}</tr>'
            for row in rows
        )
        return f"<table><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table>"

    def report(self, path: str | Path, *, title: str = "", command: str = "", data: str = "") -> None:
        """Write the comparison to one HTML file, which needs no other file and no network.

        Args:
            path: where the file goes.
            title: its heading.
            command: how to run it again.
            data: the name of the data.
        """
        failures = [f"Failed: {name}: {reason}" for name, reason in self.failures.items()]
        shown = [row for row in self.rows if row.scores] or self.rows
        content = ComparisonReport(
            title=title or data or "settings",
            seconds=self.seconds,
            command=command,
            configuration=self.configuration,
            versions=versions(),
            **equations(self.cells),
            notes=[*failures, *self.notes],
            rows=[_report_row(row) for row in shown],
            measure=self.measure,
            data=data,
            held_out=self.held_out,
            split=self.split,  # type: ignore[arg-type]  # checked by the estimator
            planned=sum(len(row.runs) for row in self.rows),
        )
        write_comparison_report(path, content)


def ranked(rows: Sequence[ComparedSetting]) -> tuple[ComparedSetting, ...]:
    """Return the settings, the best mean score first, those without one last."""
    return tuple(sorted(rows, key=lambda row: -math.inf if row.mean is None else row.mean, reverse=True))


def _cells(row: ComparedSetting) -> list[str]:
    failed = len(row.runs) - len(row.scores)
    runs = f"{len(row.runs)}" if not failed else f"{failed} of {len(row.runs)} failed"
    if row.mean is None:
        return [row.name, "failed", "", "", "", runs]
    spread = "" if row.deviation is None else f" ± {row.deviation:.4f}"
    return [
        row.name,
        f"{row.mean:.4f}{spread}",
        f"{row.seconds_per_epoch:.2f}",
        f"{row.parameters:,}",
        f"{fmean(row.best_epochs):.1f}",
        runs,
    ]


def _report_row(row: ComparedSetting) -> ComparisonRow:
    histories = []
    for run in row.done:
        values = zip(*run.history.values(), strict=True)
        lines = [dict(zip(run.history, each, strict=True)) for each in values]
        histories.append([Epoch.from_mapping({"epoch": k, **line}) for k, line in enumerate(lines, 1)])
    return ComparisonRow(
        name=row.name,
        scores=row.scores or [math.nan],
        seconds_per_epoch=row.seconds_per_epoch,
        parameters=row.parameters,
        best_epochs=row.best_epochs,
        histories=histories,
    )


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
