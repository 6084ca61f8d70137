"""From content to a page: the sentence, the charts and the tables of each report."""

from __future__ import annotations

import os
from typing import Any

from ._chart import thinned
from ._comparison import learning_curves, shown_figure, spread_chart
from ._content import ComparisonReport, EvaluationReport, MemoryReport, Report, TrainingReport
from ._curves import NAMES, scatter, training_curves
from ._equations import draw_equations
from ._memory import flow_charts, lag_charts, lag_text
from ._numbers import frequent_confusions, macro, mean_and_deviation, per_class
from ._parts import Confusion
from ._reading import show_reading
from ._render import render, write
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
from ._text import about, count, duration, number, shorten

MOST_CLASSES = 30  # of a confusion table; of more, the most frequent confusions are listed instead
MOST_ROWS = 100  # of the table of classes; of more, those with the lowest F1
MOST_MISTAKES = 50
MOST_EPOCHS = 300
MOST_ATTEMPTS = 500


def write_training_report(path: str | os.PathLike[str], content: TrainingReport) -> None:
    """Write the report of a training to `path`, an HTML file that needs no other file and no network.

    ImportError names the cure if matplotlib or jinja2 is missing; OSError if the file cannot be written.
    """
    write(path, training_page(content))


def write_evaluation_report(path: str | os.PathLike[str], content: EvaluationReport) -> None:
    """Write the report of an evaluation to `path`, as `write_training_report` does."""
    write(path, evaluation_page(content))


def write_comparison_report(path: str | os.PathLike[str], content: ComparisonReport) -> None:
    """Write the report of a comparison to `path`, as `write_training_report` does."""
    write(path, comparison_page(content))


def write_memory_report(path: str | os.PathLike[str], content: MemoryReport) -> None:
    """Write the report of what cells remember to `path`, as `write_training_report` does."""
    write(path, memory_page(content))


def training_page(content: TrainingReport) -> str:
    """Return the page of a training."""
    return _page("training.html", content, **_training(content), **_judgement(content))


def _page(template: str, content: Report, **parts: Any) -> str:
    """Return a page with the equations of its cells."""
    headings = dict.fromkeys([*content.latex, *content.equations])
    drawn = {heading: draw_equations(latex) for heading, latex in content.latex.items()}
    equations = [(heading, drawn.get(heading), content.equations.get(heading, "")) for heading in headings]
    return render(template, content, equations=equations, **parts)


def training_fragment(content: TrainingReport) -> str:
    """Return a training in short, as HTML for a notebook: the sentence, the curves, the settings."""
    return render("fragment.html", content, **_training(content))


def _training(content: TrainingReport) -> dict[str, Any]:
    history = content.history
    where = "training" if content.split == "none" else "held out"
    figures = [
        (f"{NAMES[content.measure]} ({where})", number(score(content))),
        ("Epochs", count(len(history))),
        ("Time", duration(content.seconds)),
        ("Parameters", about(content.parameters)),
    ]
    columns = [key for name in NAMES for key in (name, f"val_{name}")]
    rows = {*thinned(len(history), MOST_EPOCHS), history.index(content.best)}
    return {
        "sentence": training_sentence(content),
        "figures": figures,
        "curves": training_curves(content),
        "columns": [key for key in columns if any(getattr(e, key) is not None for e in history)],
        "epochs": [history[k] for k in sorted(rows)],
    }


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
    return _page(
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
    figures = [
        (f"{NAMES[content.measure]} of {shorten(rows[0].name, 40)}", spread(rows[0].scores)),
        ("Settings", count(len(rows))),
        ("Runs", count(done)),
        ("Time", duration(content.seconds)),
    ]
    table = [
        (row, spread(row.scores), mean_and_deviation(row.best_epochs)[0] if row.best_epochs else None)
        for row in rows
    ]
    return _page(
        "comparison.html",
        content,
        sentence=comparison_sentence(content),
        figures=figures,
        table=table,
        done=done,
        chart=spread_chart(content),
        curves=learning_curves(content),
        figure=shown_figure(content).replace("val_", "held-out ").replace("r2", "R²"),
    )


def memory_page(content: MemoryReport) -> str:
    """Return the page of what cells remember."""
    cells = list(dict.fromkeys([*(f.cell for f in content.flows), *(row.cell for row in content.lags)]))
    tasks = list(dict.fromkeys(row.task for row in content.lags))
    lag, left = remaining(content.flows) if content.flows else (0, {})
    trained = remaining(content.flows, trained=True)[1] if content.flows else {}
    figures = [("Cells", count(len(cells))), ("Time", duration(content.seconds))]
    if content.lags:
        figures.insert(0, ("Longest lag solved", count(max(row.lag for row in content.lags))))
    return _page(
        "memory.html",
        content,
        sentence=memory_sentence(content),
        figures=figures,
        flows=flow_charts(content),
        charts=lag_charts(content),
        cells=cells,
        tasks=tasks,
        lag=lag,
        left={cell: power_of(share) for cell, share in left.items()},
        trained={cell: power_of(share) for cell, share in trained.items()},
        attempts=list(content.attempts)[:MOST_ATTEMPTS],
        solved={(row.cell, row.task): lag_text(row) for row in content.lags},
    )


def _judgement(content: TrainingReport | EvaluationReport) -> dict[str, Any]:
    """Return what a model does with examples: the same parts for a training and an evaluation."""
    return {
        "classes": None if content.confusion is None else _classes(content.confusion),
        "predictions": None if content.predictions is None else scatter(content.predictions),
        "mistakes": list(content.mistakes)[:MOST_MISTAKES],
        "reading": None if content.reading is None else show_reading(content.reading),
    }


def _classes(confusion: Confusion) -> dict[str, Any]:
    rows = per_class(confusion)
    table = len(rows) <= MOST_CLASSES
    worst = sorted(rows, key=lambda row: row.f1 or 0.0)[:MOST_ROWS]
    counts = confusion.table.tolist() if table else []
    return {
        "size": len(rows),
        "rows": rows if len(rows) <= MOST_ROWS else worst,
        "mean": macro(rows),
        "names": [row.name for row in rows],
        "counts": counts,
        "shares": [[count / (sum(row) or 1) for count in row] for row in counts],
        "table": table,
        "pairs": frequent_confusions(confusion, 10 if table else 30) if len(rows) > 8 else [],
        "upright": len(rows) > 6 or max(len(row.name) for row in rows) > 16,
    }
