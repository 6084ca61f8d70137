"""From content to a page: charts, tables, sentences, put into templates; written under a temporary name."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ._comparison import learning_curves, spread_chart
from ._content import ComparisonReport, EvaluationReport, MemoryReport, Report, TrainingReport
from ._curves import NAMES, scatter, training_curves
from ._memory import flow_charts, lag_charts
from ._numbers import frequent_confusions, macro, mean_and_deviation, per_class
from ._parts import Confusion, Predictions, Reading
from ._reading import show_reading
from ._require import require
from ._sentences import (
    comparison_sentence,
    evaluation_sentence,
    memory_sentence,
    power_of,
    ranked,
    remaining,
    score,
    spread,
    training_sentence,
)  # fmt: skip
from ._text import about, clean, count, duration, flat, number, shorten, value

MOST_CLASSES = 30  # of a confusion table; of more, the most frequent confusions are listed instead
MOST_MISTAKES = 50
MOST_EPOCHS = 300


def write_training_report(path: str | os.PathLike[str], content: TrainingReport) -> None:
    """Write the report of a training to `path`, an HTML file that needs no other file and no network.

    ImportError names the cure if matplotlib or jinja2 is missing; OSError if the file cannot be written.
    """
    _write(path, training_page(content))


def write_evaluation_report(path: str | os.PathLike[str], content: EvaluationReport) -> None:
    """Write the report of an evaluation to `path`, as `write_training_report` does."""
    _write(path, evaluation_page(content))


def write_comparison_report(path: str | os.PathLike[str], content: ComparisonReport) -> None:
    """Write the report of a comparison to `path`, as `write_training_report` does."""
    _write(path, comparison_page(content))


def write_memory_report(path: str | os.PathLike[str], content: MemoryReport) -> None:
    """Write the report of what cells remember to `path`, as `write_training_report` does."""
    _write(path, memory_page(content))


def training_page(content: TrainingReport) -> str:
    """Return the page of a training."""
    return _render("training.html", content, **_training(content), **_judgement(content))


def training_fragment(content: TrainingReport) -> str:
    """Return a training in short, as HTML for a notebook: the sentence, the curves, the settings."""
    return _render("fragment.html", content, **_training(content))


def _training(content: TrainingReport) -> dict[str, Any]:
    figures = [
        (
            NAMES[content.measure] + (" (held out)" if content.split != "none" else " (training)"),
            number(score(content)),
        ),
        ("Epochs", count(len(content.history))),
        ("Time", duration(content.seconds)),
        ("Parameters", about(content.parameters)),
    ]
    step = max(1, -(-len(content.history) // MOST_EPOCHS))
    shown = [name for name in NAMES for name in (name, f"val_{name}")]
    return {
        "sentence": training_sentence(content), "figures": figures, "curves": training_curves(content),
        "columns": [name for name in shown if any(getattr(e, name) is not None for e in content.history)],
        "epochs": [e for k, e in enumerate(content.history) if k % step == 0 or e is content.best or k == len(content.history) - 1],
    }  # fmt: skip


def evaluation_page(content: EvaluationReport) -> str:
    """Return the page of an evaluation."""
    figures = [
        (NAMES[name], number(value))
        for name, value in (("accuracy", content.accuracy), ("r2", content.r2), ("mae", content.mae))
        if value is not None
    ]
    figures.append((content.examples.capitalize(), count(content.count)))
    if content.seconds is not None:
        figures.append(("Time", duration(content.seconds)))
    return _render(
        "evaluation.html",
        content,
        sentence=evaluation_sentence(content),
        figures=figures,
        **_judgement(content),
    )


def comparison_page(content: ComparisonReport) -> str:
    """Return the page of a comparison."""
    rows = ranked(content.rows)
    done = sum(len(row.scores) for row in rows)
    figures = [("Settings", count(len(rows))), ("Runs", count(done)), ("Time", duration(content.seconds))]
    table = [
        (row, spread(row.scores), mean_and_deviation(row.best_epochs)[0] if row.best_epochs else None)
        for row in rows
    ]
    return _render(
        "comparison.html", content, sentence=comparison_sentence(content), figures=figures, table=table, done=done,
        chart=spread_chart(content), curves=learning_curves(content),
    )  # fmt: skip


def memory_page(content: MemoryReport) -> str:
    """Return the page of what cells remember."""
    cells = list(dict.fromkeys([*(f.cell for f in content.flows), *(row.cell for row in content.lags)]))
    tasks = list(dict.fromkeys(row.task for row in content.lags))
    lag, left = remaining(content.flows) if content.flows else (0, {})
    return _render(
        "memory.html", content, sentence=memory_sentence(content), figures=[], flows=flow_charts(content),
        charts=lag_charts(content) if content.lags else [], cells=cells, tasks=tasks, lag=lag,
        left={cell: power_of(value) for cell, value in left.items()},
        solved={(row.cell, row.task): row for row in content.lags},
    )  # fmt: skip


def _judgement(content: TrainingReport | EvaluationReport) -> dict[str, Any]:
    """Return what a model does with examples: the same parts for a training and an evaluation."""
    return {
        "classes": _classes(content.confusion), "predictions": _scatter(content.predictions),
        "mistakes": list(content.mistakes)[:MOST_MISTAKES], "reading": _reading(content.reading),
    }  # fmt: skip


def _classes(confusion: Confusion | None) -> dict[str, Any] | None:
    if confusion is None:
        return None
    rows = per_class(confusion)
    size = len(rows)
    counts = confusion.table.tolist()
    return {
        "rows": rows, "mean": macro(rows), "names": [row.name for row in rows], "counts": counts,
        "shares": [[value / (sum(row) or 1) for value in row] for row in counts],
        "table": size <= MOST_CLASSES, "pairs": frequent_confusions(confusion, 20) if size > 8 else [],
        "upright": size > 6 or max(len(row.name) for row in rows) > 16,
    }  # fmt: skip


def _scatter(predictions: Predictions | None) -> Any:
    return None if predictions is None else scatter(predictions)


def _reading(reading: Reading | None) -> Any:
    return None if reading is None else show_reading(reading)


def _render(template: str, content: Report, **values: Any) -> str:
    return str(_environment().get_template(template).render(content=content, **values))


@cache
def _environment() -> Any:
    jinja2 = require("jinja2")
    filters: Mapping[str, Callable[..., str]] = {
        "number": number, "duration": duration, "count": count, "shorten": shorten, "value": value,
    }  # fmt: skip
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("stepfold.report"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
        finalize=lambda shown: shown if hasattr(shown, "__html__") else clean(shown),
    )  # fmt: skip
    environment.filters.update(filters)
    environment.globals["flat"] = flat
    return environment


def _write(path: str | os.PathLike[str], page: str) -> None:
    """Write under a temporary name beside `path`, then rename."""
    target = Path(path)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        part.write_text(page, encoding="utf-8", errors="replace", newline="\n")
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
