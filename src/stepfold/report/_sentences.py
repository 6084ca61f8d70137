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
_FAR = 100
"""Timesteps over which gradients are compared: what most cells lose, and some keep."""
_STUDENT = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26)
"""What Student's t with 1 to 9 degrees of freedom exceeds with a probability of 5 %, on either side."""
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
    reached = f"{MEASURES[content.measure]}\N{NO-BREAK SPACE}{number(value)}"
    if content.split == "none":
        where = (
            f"Trained on all {content.training_examples:,} {content.examples}, the network reaches {reached} "
            f"on those same {content.examples}"
        )
        return f"{where} {cost}; nothing was held out, so new {content.examples} are not measured."
    held = f"{content.held_out:,} held-out {content.examples} ({_SPLITS[content.split]})"
    size = f"with {about(content.parameters)} parameters"
    if not content.chosen:
        return f"On {held}, the network reaches {reached} {cost}, {size}."
    if content.seconds is not None:
        size += f" trained in {duration(content.seconds)}"
    best = f"in the best of {plural(len(content.history), 'epoch')}"
    return f"On {held}, the network reaches {reached} {best}, {size}."


def evaluation_sentence(content: EvaluationReport) -> str:
    """Return how a model does on labelled data."""
    data = f" of {content.data}" if content.data else ""
    where = f"On {content.count:,} {content.examples}{data}, the network"
    if content.accuracy is not None:
        right = round(content.accuracy * content.count)
        wrong = content.count - right
        return f"{where} has accuracy {number(content.accuracy)}: {right:,} are right, {wrong:,} are wrong."
    figures = [f"R²\N{NO-BREAK SPACE}{number(content.r2)}"] if content.r2 is not None else []
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
    if mean - second < 0.0005:
        return f"{start}, no better than {others[0].name} ({spread(others[0].scores)})."
    lead = f"{mean - second:.3f} above {others[0].name} ({spread(others[0].scores)})"
    if deviation is None or spread_of is None:
        return f"{start}, {lead}; a single seed cannot say whether that is chance."
    certain = _differ(best.scores, others[0].scores)
    verdict = (
        "more than the seeds' spread explains" if certain else "which the seeds' spread alone could explain"
    )
    return f"{start}, {lead}, {verdict}."


def _differ(first: Sequence[float], second: Sequence[float]) -> bool:
    """Return whether two means differ by Welch's t-test, of at least two scores each, at 5 %."""
    errors = [np.var(scores, ddof=1) / len(scores) for scores in (first, second)]
    error = float(sum(errors))
    difference = abs(float(np.mean(first)) - float(np.mean(second)))
    if not error:
        return difference > 0
    # Welch & Satterthwaite; their smallest value is one less than the seeds.
    freedom = error**2 / sum(e**2 / (len(s) - 1) for e, s in zip(errors, (first, second), strict=True))
    place = int(freedom + 1e-9)
    return difference > (_STUDENT[place - 1] if place <= len(_STUDENT) else 2.23) * math.sqrt(error)


def memory_sentence(content: MemoryReport) -> str:
    """Return which cell remembers longest, and what is left of its gradient beside the shortest memory's."""
    parts = [_longest(content)] if content.lags else []
    if content.flows:
        lag, left = remaining(content.flows)
        order = sorted(left, key=left.__getitem__)
        text = (
            f"before training, {power_of(left[order[0]])} of the gradient is left over {lag:,} timesteps "
            f"in {order[0]}"
        )
        if len(order) > 1:
            text += f", {power_of(left[order[-1]])} in {order[-1]}"
        parts.append(text)
    sentence = "; ".join(parts)
    return sentence[:1].upper() + sentence[1:] + "."


def _longest(content: MemoryReport) -> str:
    cells = list(dict.fromkeys(row.cell for row in content.lags))
    longest = {cell: max(row.lag for row in content.lags if row.cell == cell) for cell in cells}
    worst, lag = min(cells, key=longest.__getitem__), max(longest.values())
    if not lag:
        return "no cell solves even the shortest lag"
    found = [row for row in content.lags if row.lag == lag]
    at_limit = any(row.limit is not None and lag >= row.limit for row in found)
    tasks = listed(list(dict.fromkeys(row.task for row in found)))
    far = f"lags of up to {lag:,} timesteps{', the longest tried,' if at_limit else ''} in {tasks}"
    best = [cell for cell in cells if longest[cell] == lag]
    if len(cells) == 1:
        return f"the cell {worst} solves {far}"
    if len(best) == len(cells):
        return f"all {len(cells)} cells solve {far}"
    end = f"{worst} ends at {longest[worst]:,}" if longest[worst] else f"{worst} solves none"
    verb, solve = ("remembers", "it solves") if len(best) == 1 else ("remember", "they solve")
    return f"of {len(cells)} cells, {listed(best)} {verb} longest: {solve} {far}, while {end}"


def power_of(value: float) -> str:
    """Return a share of a gradient, such as 0.4 or 10⁻⁹."""
    return "nothing" if value <= 0 else power(value) if value < 0.01 or value >= 1000 else f"{value:.2f}"


def remaining(flows: Sequence[GradientFlow], *, trained: bool = False) -> tuple[int, dict[str, float]]:
    """Return what is left of each cell's gradient over 100 timesteps, or as many as all cells have."""
    lag = min(_FAR, *(int(np.asarray(flow.lags)[-1]) for flow in flows))
    left = {}
    for flow in flows:
        curve = flow.trained if trained else flow.initial
        if curve is not None:
            place = int(np.searchsorted(np.asarray(flow.lags, np.float64), lag, side="right")) - 1
            left[flow.cell] = float(np.asarray(curve, np.float64)[max(place, 0)])
    return lag, left
