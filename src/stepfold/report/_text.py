"""Numbers and texts as a reader wants them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
# Characters that XML 1.0 or UTF-8 cannot hold; tab, newline and carriage return may stay.
_FORBIDDEN = dict.fromkeys(
    [*range(9), 11, 12, *range(14, 32), *range(127, 160), *range(0xD800, 0xE000), 0xFFFE, 0xFFFF],
    "\N{REPLACEMENT CHARACTER}",
)


def clean(text: object) -> str:
    """Return the text without characters that a page cannot hold."""
    return str(text).translate(_FORBIDDEN)


def shorten(text: object, most: int) -> str:
    """Return the text, cut after `most` characters with an ellipsis."""
    whole = clean(text)
    return whole if len(whole) <= most else whole[: most - 1].rstrip() + "…"


def number(value: float | None, digits: int = 3) -> str:
    """Return a figure with so many decimals, a dash for None."""
    if value is None:
        return "–"
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else "infinite"
    if value and not 1e-3 <= abs(value) < 1e6:
        return power(value)
    return f"{value:,.{digits}f}".replace("-", "\N{MINUS SIGN}")


def value(given: str | float) -> str:
    """Return the name of a class, or a value as a number."""
    if isinstance(given, str) or hasattr(given, "__index__"):
        return shorten(given, 120)
    return number(float(given))


def power(value: float) -> str:
    """Return a value in scientific notation, such as 2 × 10⁻⁹."""
    if not value or not math.isfinite(value):
        return number(value, 0)
    exponent = math.floor(math.log10(abs(value)))
    mantissa = f"{value / 10.0**exponent:.2g}"
    if mantissa in ("10", "-10"):
        mantissa, exponent = mantissa[:-1], exponent + 1
    tens = "10" + str(exponent).translate(_SUPERSCRIPTS)
    return (
        tens
        if mantissa == "1"
        else f"{mantissa.replace('-', chr(0x2212))}\N{NO-BREAK SPACE}×\N{NO-BREAK SPACE}{tens}"
    )


def count(value: int | None) -> str:
    """Return a count with separators of thousands."""
    return "–" if value is None else f"{value:,}"


def about(value: int) -> str:
    """Return a count to three digits, such as 1.23 million."""
    for size, word in ((1_000_000_000, "billion"), (1_000_000, "million")):
        if value >= size:
            return f"{value / size:.3g} {word}"
    return f"{value:,}"


def duration(seconds: float | None) -> str:
    """Return seconds as 0.42 s, 48 s, 4 min 12 s or 2 h 5 min."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    if seconds < 9.95:
        return f"{seconds:.2g}\N{NO-BREAK SPACE}s" if seconds >= 0.001 else "0\N{NO-BREAK SPACE}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}\N{NO-BREAK SPACE}s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return (
            f"{minutes}\N{NO-BREAK SPACE}min {rest}\N{NO-BREAK SPACE}s"
            if rest
            else f"{minutes}\N{NO-BREAK SPACE}min"
        )
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours}\N{NO-BREAK SPACE}h {minutes}\N{NO-BREAK SPACE}min"
        if minutes
        else f"{hours}\N{NO-BREAK SPACE}h"
    )


def plural(many: int, noun: str) -> str:
    """Return a count and its noun: 1 epoch, 6 epochs."""
    return f"{many:,} {noun}{'' if many == 1 else 's'}"


def listed(names: list[str]) -> str:
    """Return names as a list in a sentence: a, b and c."""
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else "".join(names)


def pieces(text: str) -> list[str]:
    """Return a text cut at its white space: words at even places, the space between them at odd ones."""
    return re.split(r"(\s+)", text)


def flat(configuration: Mapping[str, object], prefix: str = "", depth: int = 0) -> list[tuple[str, str]]:
    """Return a nested mapping as rows of a dotted name and a text."""
    rows: list[tuple[str, str]] = []
    for key, value in configuration.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            rows += flat(value, f"{name}.", depth + 1) if depth < 8 else [(name, "…")]
        else:
            rows.append((name, _setting(value)))
    return rows


def _setting(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (list, tuple)):
        return shorten(", ".join(str(v) for v in value), 400)
    return shorten(value, 400)
