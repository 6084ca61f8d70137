"""Charts as SVG that takes its colours from the page: drawn by matplotlib, then made fit for HTML."""

from __future__ import annotations

import hashlib
import io
import re
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from xml.etree import ElementTree

from ._require import require
from ._text import clean, number, power

# matplotlib draws in these placeholder colours; in the SVG each becomes a variable of the page's style.
INK, MUTED, GRID, SURFACE = "#0a0101", "#0a0102", "#0a0103", "#0a0104"
ACCENT, QUIET = "#0a0105", "#0a0106"
SERIES = tuple(f"#0a02{k:02x}" for k in range(8))
_VARIABLES = {
    INK: "ink", MUTED: "muted", GRID: "grid", SURFACE: "surface", ACCENT: "accent", QUIET: "quiet",
    **{colour: f"series-{k + 1}" for k, colour in enumerate(SERIES)},
}  # fmt: skip
_DASHES = ((), (5, 2), (1.5, 1.8), (6, 2, 1.5, 2))

TEXT = 12.0  # px, of labels
NARROW = 440  # px, the width of most charts

_STYLE = {
    "svg.fonttype": "none", "svg.hashsalt": "stepfold", "text.parse_math": False, "axes.unicode_minus": True,
    "font.size": TEXT, "text.color": INK, "axes.labelcolor": MUTED, "xtick.color": GRID, "ytick.color": GRID,
    "xtick.labelcolor": MUTED, "ytick.labelcolor": MUTED, "axes.edgecolor": GRID, "grid.color": GRID,
    "axes.linewidth": 1.0, "grid.linewidth": 1.0, "lines.linewidth": 2.0, "axes.axisbelow": True,
    "lines.solid_capstyle": "round", "path.simplify": True,
}  # fmt: skip


_LOCK = threading.RLock()  # settings and warnings belong to the whole process


def colour(k: int) -> str:
    """Return the colour of the k-th series."""
    return SERIES[k % len(SERIES)]


def dashes(k: int) -> tuple[float, ...]:
    """Return the dashes of the k-th series: neighbours differ by more than colour."""
    return _DASHES[(k % len(SERIES)) % len(_DASHES)] if k < len(SERIES) else _DASHES[(k + 1) % len(_DASHES)]


@contextmanager
def style(**changes: object) -> Iterator[None]:
    """Everything of a chart is drawn and turned into SVG in this context, whatever the user's settings."""
    matplotlib = require("matplotlib")
    with _LOCK, matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({**_STYLE, **changes})
        # The browser's fonts draw the text; matplotlib's own, which lack many letters, only measure it.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def canvas(width: float, height: float) -> Any:
    """Return an empty figure of so many pixels."""
    return require("matplotlib.figure").Figure(figsize=(width / 72, height / 72), dpi=72)


def panel(figure: Any, left: float, top: float, right: float, bottom: float) -> Any:
    """Return axes that leave these margins, in pixels, with horizontal grid lines and a line below."""
    width, height = figure.get_size_inches() * 72
    axes = figure.add_axes(
        (left / width, bottom / height, (width - left - right) / width, (height - top - bottom) / height)
    )
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    axes.tick_params(length=0, pad=6)
    axes.grid(axis="y")
    return axes


def plain_ticks(axis: Any, most: int = 5, integer: bool = False) -> None:
    """Put at most so many labels on an axis, as plain numbers."""
    ticker = require("matplotlib.ticker")
    axis.set_major_locator(ticker.MaxNLocator(most, integer=integer, min_n_ticks=1, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: _plain(value)))


def decades(axis: Any, low: float, high: float, most: int = 7) -> None:
    """Label an axis of logarithms with powers of ten."""
    ticker = require("matplotlib.ticker")
    axis.set_major_locator(ticker.LogLocator(10, numticks=most))
    axis.set_minor_locator(ticker.NullLocator())
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: _decade(value, high)))


def _plain(value: float) -> str:
    if abs(value) < 1e-12:
        return "0"
    if not 1e-4 <= abs(value) < 1e6:
        return power(value)
    return f"{value:,.6g}".replace("-", "\N{MINUS SIGN}")


def _decade(value: float, high: float) -> str:
    return f"{value:,.0f}" if value >= 1 and high < 1e5 else number(1, 0) if value == 1 else power(value)


def note(axes: Any, text: str) -> None:
    """Write a remark in the middle of axes that have nothing to draw."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=MUTED)


def thinned(count: int, most: int = 600) -> list[int]:
    """Return at most about so many places of `count`, evenly, the first and the last among them."""
    step = max(1, -(-count // most))
    return [*range(0, count - 1, step), count - 1]


def svg(figure: Any, label: str, classes: str = "chart") -> str:
    """Return a figure as an SVG element for HTML, with a label for those who do not see it.

    The ids within it depend on all that it shows, so that charts of one page do not share them.
    """
    text = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(text, format="svg", transparent=True, metadata=nothing)
    source = text.getvalue()
    root = ElementTree.fromstring(source)
    _strip_namespaces(root)
    for defs in root.findall("defs"):
        if defs.find("style") is not None:  # it would style the whole page
            root.remove(defs)
    _rename(root, hashlib.sha256((label + source).encode("utf-8", "replace")).hexdigest()[:10])
    for element in root.iter():
        _tidy(element)
    width, height = (round(value * 72) for value in figure.get_size_inches())
    root.attrib.clear()
    root.attrib.update(
        {
            "class": classes,
            "viewBox": f"0 0 {width} {height}",
            "role": "img",
            "aria-label": clean(label),
        }
    )
    page = ElementTree.tostring(root, encoding="unicode", short_empty_elements=True)
    return re.sub("|".join(_VARIABLES), lambda match: f"var(--{_VARIABLES[match[0]]})", page)


def _strip_namespaces(root: ElementTree.Element) -> None:
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        for name in [name for name in element.attrib if "}" in name]:
            element.set(name.rpartition("}")[2], element.attrib.pop(name))  # xlink:href is href in HTML


def _rename(root: ElementTree.Element, prefix: str) -> None:
    """Keep the ids that something refers to, under names of this chart's own."""
    everything = list(root.iter())
    used: dict[str, str] = {}
    for element in everything:
        for name in ("href", "clip-path"):
            found = re.fullmatch(r"url\(#(.+)\)|#(.+)", element.get(name, ""))
            if found:
                old = found[1] or found[2]
                new = used.setdefault(old, f"c{prefix}-{len(used)}")
                element.set(name, f"url(#{new})" if found[1] else f"#{new}")
    for element in everything:
        old = element.attrib.pop("id", "")
        if old in used:
            element.set("id", used[old])


def _tidy(element: ElementTree.Element) -> None:
    """Take out what the page decides, such as fonts, and what makes the text longer."""
    if element.tag == "text":
        style = [part.strip() for part in element.get("style", "").split(";")]
        element.set("style", "; ".join(part for part in style if not part.startswith("font-family")))
        if element.get("transform", "").startswith(("rotate(-0 ", "rotate(0 ")):
            del element.attrib["transform"]
    elif element.text and not element.text.strip():
        element.text = None
    if element.tag != "tspan" and element.tail and not element.tail.strip():
        element.tail = None
    for name in ("d", "href"):
        if name in element.attrib:
            element.set(name, element.attrib[name].replace("\n", ""))


def legend(
    names: Sequence[str], colours: Sequence[str], patterns: Sequence[tuple[float, ...]]
) -> list[tuple[str, str, str]]:
    """Return each name with the CSS of its colour and the dashes of its line, for the page's legend."""
    return [
        (name, f"var(--{_VARIABLES[colour]})", " ".join(f"{d * 2:g}" for d in pattern))
        for name, colour, pattern in zip(names, colours, patterns, strict=True)
    ]
