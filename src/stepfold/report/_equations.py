"""Equations as pictures: the aligned lines of a cell's LaTeX, set by matplotlib."""

from __future__ import annotations

import re
from typing import Any

from ._chart import INK, canvas, style, svg
from ._require import require

_SIZE = 17.0  # px, of the letters
_GAP = 12.0  # px, between lines
_ALIGNED = 90.0  # px: a longer left side is not aligned with the others
_MOST = 60  # lines


def draw_equations(latex: str) -> str | None:
    """Return an SVG of equations, or None where matplotlib cannot set them.

    `latex` is what `cell.show("latex")` returns: lines that end with a double backslash, aligned at `&=`. The
    letters are outlines, so that they look the same everywhere; the label is the LaTeX itself.
    """
    body = re.sub(r"\\(?:begin|end)\{aligned\}", "", latex).strip()
    lines = [line.partition("&=")[::2] for line in re.split(r"\\\\\s*", body) if line.strip()]
    if not lines or len(lines) > _MOST or not all(right.strip() for _, right in lines):
        return None
    with style(**{"svg.fonttype": "path", "mathtext.fontset": "stix", "text.parse_math": True}):
        try:
            return _draw([(f"${left.strip()}$", f"$= {right.strip()}$") for left, right in lines], latex)
        except (ValueError, RecursionError):  # no LaTeX that matplotlib knows
            return None


def _draw(lines: list[tuple[str, str]], label: str) -> str:
    parse = require("matplotlib.mathtext").MathTextParser("path").parse
    font = require("matplotlib.font_manager").FontProperties(size=_SIZE)

    def extent(text: str) -> Any:  # width, height over the base line, depth below it
        return parse(text, dpi=72, prop=font)[:3]

    extents = [(extent(left), extent(right)) for left, right in lines]
    column = max((left[0] for left, _ in extents if left[0] <= _ALIGNED), default=0.0)
    width = max(max(column, left[0]) + 8 + right[0] for left, right in extents) + 8
    tops = [max(left[1], right[1], _SIZE) for left, right in extents]
    depths = [max(left[2], right[2], 0.25 * _SIZE) for left, right in extents]
    height = sum(tops) + sum(depths) + _GAP * len(lines)
    figure = canvas(width, height)
    above = _GAP / 2
    for (left, right), (size, _), top, depth in zip(lines, extents, tops, depths, strict=True):
        base, edge = 1 - (above + top) / height, max(column, size[0])
        common = {"fontsize": _SIZE, "color": INK, "va": "baseline"}
        figure.text((edge + 2) / width, base, left, ha="right", **common)
        figure.text((edge + 10) / width, base, right, ha="left", **common)
        above += top + depth + _GAP
    picture = svg(figure, label, "equation")
    return picture.replace(
        "<svg ", f'<svg style="max-width: {width:.0f}px; min-width: {0.7 * width:.0f}px" ', 1
    )
