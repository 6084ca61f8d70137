"""What stands there without scripts: the words, coloured, and the line of the output."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from ._stored import probabilities, shown_class

_LEVELS = 6
_WIDTH, _HEIGHT, _LEFT, _FOOT = 440.0, 180.0, 46.0, 24.0  # px
_FORBIDDEN = dict.fromkeys(
    [*range(9), 11, 12, *range(14, 32), *range(127, 160), *range(0xD800, 0xE000), 0xFFFE, 0xFFFF], "\ufffd"
)


def still(name: str, explanation: Mapping[str, Any]) -> str:
    """Return the words of an explanation and its line as HTML: the same colours as with scripts."""
    labels = explanation["labels"]
    chosen, classes = shown_class(explanation), probabilities(explanation)
    values = [math.nan if row[chosen] is None else float(row[chosen]) for row in explanation["outputs"]]
    before = explanation["before"][chosen]
    subject = f"Probability of {labels[chosen]}" if classes else labels[chosen].capitalize()
    words, unit = "", explanation["unit"]
    if unit == "word":
        spans = _words(explanation, values, math.nan if before is None else before, classes)
        words = f'<p class="words" dir="auto">{spans}</p>\n'
    return (
        f'<h3>{_text(name)}</h3>\n{words}<p class="note">{_text(subject)} after each {_text(unit)}</p>\n'
        f"{_line(values, subject, unit, classes)}\n"
    )


def _text(text: str) -> str:
    return escape(text.translate(_FORBIDDEN))


def _words(explanation: Mapping[str, Any], values: Sequence[float], before: float, classes: bool) -> str:
    finite = [value for value in (before, *values) if math.isfinite(value)]
    span = 0.35 if classes else (max(finite) - min(finite) if finite else 0.0) or 1.0
    parts = []
    for token, known, earlier, value in zip(
        explanation["tokens"], explanation["known"], [before, *values][:-1], values, strict=True
    ):
        change = value - earlier
        level = int(_LEVELS * min(1.0, math.sqrt(abs(change) / span))) if math.isfinite(change) else 0
        tone = "up" if change > 0 else "down"
        names = " ".join(([tone, f"{tone}{level}"] if level else []) + ([] if known else ["new"]))
        shown = token if len(token) <= 80 else token[:79] + "…"
        kind = f' class="{names}"' if names else ""
        parts.append(f'<span{kind} title="{value:.2f}">{_text(shown)}</span> ')
    return "".join(parts)


def _line(values: Sequence[float], subject: str, unit: str, classes: bool) -> str:
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return ""
    low, high = (0.0, 1.0) if classes else (min(finite), max(finite))
    high = high if high > low else low + 1.0
    bottom = _HEIGHT - _FOOT
    step = (_WIDTH - _LEFT - 8) / len(values)

    def y(value: float) -> float:
        return 10 + (bottom - 20) * (high - value) / (high - low)

    points = " ".join(
        f"{_LEFT + (k + 0.5) * step:.1f},{y(value):.1f}"
        for k, value in enumerate(values)
        if math.isfinite(value)
    )
    marks = "".join(
        f'<line class="grid" x1="{_LEFT:g}" x2="{_WIDTH:g}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>'
        f'<text x="{_LEFT - 8:g}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.3g}</text>'
        for value in (low, (low + high) / 2, high)
    )
    ends = f"{values[0]:.2f} after the first, {values[-1]:.2f} at the end"
    label = f"{subject} after each of {len(values)} {unit}s: {ends}"
    last = f"{_text(unit)} {len(values)}"
    return (
        f'<svg viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" role="img" aria-label="{_text(label)}">{marks}'
        f'<polyline class="curve" points="{points}"/>'
        f'<text x="{_LEFT:g}" y="{_HEIGHT - 6:g}">{_text(unit)} 1</text>'
        f'<text x="{_WIDTH - 8:g}" y="{_HEIGHT - 6:g}" text-anchor="end">{last}</text></svg>'
    )
