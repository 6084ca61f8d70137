"""The result of each report in one sentence, derived from its figures."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ._content import (
    ComparisonReport,
    ComparisonRow,
    EvaluationReport,
    GradientFlow,
    MemoryReport,
    TrainingReport,
)
from ._numbers import mean_and_deviation
from ._text import about, duration, listed, number, plural, power

MEASURES = {"accuracy": "accuracy", "r2": "R²", "mae": "a mean absolute error of", "loss": "a loss of"}
_SPLITS = {
    "random": "chosen at random",
    "blocks": "held out in blocks of neighbours",
    "given": "given for validation",
}


def score(content: TrainingReport) -> float | None:
    """Return the figure that the saved model is judged by: held out if there is one."""
    if content.score is not None:
        return content.score
    held = getattr(content.best, f"val_{content.measure}")
    if content.split == "none" or held is None:
        value = getattr(content.best, content.measure)
        return None if value is None else float(value)
    return float(held)


def training_sentence(content: TrainingReport) -> str:
    """Return what a training reached, on which examples, and at which cost."""
    cost = f"after {plural(len(content.history), 'epoch')}"
    if content.seconds is not None:
        cost += f" in {duration(content.seconds)}"
    lost = [e.epoch for e in content.history if not math.isfinite(e.loss)]
    value = score(content)
    if lost and (value is None or not math.isfinite(value) or content.best.epoch >= lost[0]):
        return f"The training failed: in epoch {lost[0]} the loss was no finite number any more, {cost}."
    reached = f"{_measure(content.measure)} {number(value)}"
    if content.split == "none":
        where = (
            f"Trained on all {content.training_examples:,} {content.examples}, the network reaches {reached} "
            f"on those same {content.examples}"
        )
        return f"{where} {cost}; nothing was held out, so new {content.examples} are not measured."
    held = f"{content.held_out:,} held-out {content.examples} ({_SPLITS[content.split]})"
    return f"On {held}, the network reaches {reached} {cost}, with {about(content.parameters)} parameters."


def _measure(measure: str) -> str:
    return MEASURES[measure]


def evaluation_sentence(content: EvaluationReport) -> str:
    """Return how a model does on labelled data."""
    data = f" of {content.data}" if content.data else ""
    where = f"On {content.count:,} {content.examples}{data}, the network"
    if content.accuracy is not None:
        right = round(content.accuracy * content.count)
        wrong = content.count - right
        return f"{where} has accuracy {number(content.accuracy)}: {right:,} are right, {wrong:,} are wrong."
    figures = [f"R² {number(content.r2)}"] if content.r2 is not None else []
    figures += [f"a mean absolute error of {number(content.mae)}"] if content.mae is not None else []
    return f"{where} has {listed(figures)}."


def ranked(rows: Sequence[ComparisonRow]) -> list[ComparisonRow]:
    """Return the settings, the best mean score first, those without a finite one last."""
    means = [mean_and_deviation(row.scores)[0] for row in rows]
    order = sorted(
        range(len(rows)),
        key=lambda k: (not math.isfinite(means[k]), -means[k] if math.isfinite(means[k]) else 0),
    )
    return [rows[k] for k in order]


def spread(scores: Sequence[float]) -> str:
    """Return the mean and the deviation of scores as 0.889 ± 0.003."""
    mean, deviation = mean_and_deviation(scores)
    return (
        number(mean)
        if deviation is None
        else f"{number(mean)}\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}{deviation:.3f}"
    )


def comparison_sentence(content: ComparisonReport) -> str:
    """Return which setting is best, by how much, and whether that is more than the seeds' spread."""
    best, *others = ranked(content.rows)
    measure = MEASURES[content.measure]
    mean, deviation = mean_and_deviation(best.scores)
    seeds = f" over {plural(len(best.scores), 'seed')}"
    if not math.isfinite(mean):
        return f"No setting reached a finite {measure}."
    if not others:
        alone = "there is nothing to compare it with yet"
        return f"{best.name} reaches {measure} {spread(best.scores)}{seeds}; {alone}."
    second, spread_of = mean_and_deviation(others[0].scores)
    start = f"{best.name} is best of {len(content.rows)}: {measure} {spread(best.scores)}{seeds}"
    if not math.isfinite(second):
        return f"{start}; no other setting reached a finite one."
    lead = f"{mean - second:.3f} above {others[0].name} ({spread(others[0].scores)})"
    if deviation is None or spread_of is None:
        return f"{start}, {lead}; a single seed cannot say whether that is chance."
    error = math.sqrt(deviation**2 / len(best.scores) + spread_of**2 / len(others[0].scores))
    certain = mean - second > 2 * error
    verdict = (
        "more than the seeds' spread explains" if certain else "which the seeds' spread alone could explain"
    )
    return f"{start}, {lead}, {verdict}."


def memory_sentence(content: MemoryReport) -> str:
    """Return which cell remembers longest, and what is left of its gradient beside the shortest memory's."""
    parts = [_longest(content)] if content.lags else []
    if content.flows:
        lag, left = remaining(content.flows)
        order = sorted(left, key=left.__getitem__)
        text = f"over {lag:,} timesteps, {power_of(left[order[0]])} of the gradient is left in {order[0]}"
        if len(order) > 1:
            text += f", {power_of(left[order[-1]])} in {order[-1]}"
        parts.append(text)
    sentence = "; ".join(parts)
    return sentence[:1].upper() + sentence[1:] + "."


def _longest(content: MemoryReport) -> str:
    cells = list(dict.fromkeys(row.cell for row in content.lags))
    longest = {cell: max(row.lag for row in content.lags if row.cell == cell) for cell in cells}
    best, worst = max(cells, key=longest.__getitem__), min(cells, key=longest.__getitem__)
    lag = longest[best]
    if not lag:
        return "no cell solves even the shortest lag"
    at_limit = any(
        r.cell == best and r.lag == lag and r.limit is not None and lag >= r.limit for r in content.lags
    )
    tried = ", the longest tried" if at_limit else ""
    if len(cells) == 1:
        return f"the cell {best} solves lags of up to {lag:,} timesteps{tried}"
    if lag == longest[worst]:
        return f"all {len(cells)} cells solve lags of up to {lag:,} timesteps{tried}"
    end = f"{worst} ends at {longest[worst]:,}" if longest[worst] else f"{worst} solves none"
    far = f"of {len(cells)} cells, {best} remembers longest: it solves lags of {lag:,} timesteps{tried}"
    return f"{far}, while {end}"


def power_of(value: float) -> str:
    """Return a share of a gradient, such as 0.4 or 10⁻⁹."""
    return "nothing" if value <= 0 else power(value) if value < 0.01 or value >= 1000 else f"{value:.2f}"


def remaining(flows: Sequence[GradientFlow]) -> tuple[int, dict[str, float]]:
    """Return the longest lag that all cells have, and what is left of each cell's gradient there."""
    lag = min(float(np.asarray(flow.lags)[-1]) for flow in flows)
    left = {}
    for flow in flows:
        lags = np.asarray(flow.lags, np.float64)
        values = np.asarray(flow.trained if flow.trained is not None else flow.initial, np.float64)
        place = int(np.searchsorted(lags, lag, side="right")) - 1
        left[flow.cell] = float(values[max(place, 0)])
    return int(lag), left
