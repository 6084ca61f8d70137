"""Axes whose size follows from others: `units-1`, `4*units`, `units/2`, `features+units`.

The name of an axis is a word, an integer, or a sum of these in one form: `text_of` writes it, so that equal
sums are equal names."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from fractions import Fraction

from ._graph import Dims

LARGEST = 1 << 20
"""The largest size, and the largest number in the name of an axis."""
_LONGEST = 120
_NAME = r"[a-z_][a-z_0-9]*"
_TERM = rf"(?:(?:[1-9][0-9]{{0,6}}\*)?{_NAME}|[0-9]{{1,7}})(?:/[1-9][0-9]{{0,6}})?"
AXIS = rf"{_TERM}(?:[+-]{_TERM})*"
"""The regular expression of an axis; `parsed` knows whether it stands in the one form."""
_WHOLE = re.compile(rf"-?{AXIS}")
_EACH = re.compile(rf"(?P<sign>[+-]?)(?P<term>{_TERM})")

Terms = dict[str, Fraction]
"""A sum: by the name of an axis how often it is taken, by "" the number that is added."""


@functools.lru_cache(maxsize=4096)
def _parsed(text: str) -> tuple[tuple[str, Fraction], ...]:
    if len(text) > _LONGEST or not _WHOLE.fullmatch(text):
        raise ValueError(f"{text[:_LONGEST]!r} is no axis; write a word, an integer, or 'units-1', '4*units'")
    found: Terms = {}
    for match in _EACH.finditer(text):
        factor, _, rest = match["term"].rpartition("*")
        name, _, divisor = rest.partition("/")
        number = Fraction(int(factor or 1), int(divisor or 1))
        if name.isdecimal():
            name, number = "", Fraction(int(name), int(divisor or 1))
        if max(number.numerator, number.denominator) > LARGEST:
            raise ValueError(f"{text!r} has a number above {LARGEST:,}")
        found[name] = found.get(name, Fraction(0)) + (-number if match["sign"] == "-" else number)
    return tuple((name, number) for name, number in found.items() if number)


def parsed(text: str) -> Terms:
    """Return the terms of an axis; ValueError for a text that is none."""
    return dict(_parsed(text))


def text_of(terms: Mapping[str, Fraction]) -> str:
    """Return the name of a sum: what is added first, then what is taken away, the number last."""
    found = ""
    for name, number in sorted(terms.items(), key=lambda term: (term[0] == "", term[1] < 0, term[0])):
        if not number:
            continue
        many, divisor = abs(number.numerator), number.denominator
        written = f"{many}*{name}" if name and many != 1 else name or str(many)
        written += f"/{divisor}" if divisor != 1 else ""
        found += ("-" if number < 0 else "+" if found else "") + written
    return found or "0"


def summed(*axes: str) -> str:
    """Return the axis that has the elements of all of these."""
    return text_of(_sum((1, axis) for axis in axes))


def difference(axis: str, other: str) -> str:
    """Return the axis that has as many elements as one has more than another."""
    return text_of(_sum([(1, axis), (-1, other)]))


def multiplied(axis: str, many: int) -> str:
    """Return the axis of so many elements for each of another."""
    return text_of({name: number * many for name, number in parsed(axis).items()})


def divided(axis: str, parts: int) -> str:
    """Return the axis of one of so many equal parts."""
    return text_of({name: number / parts for name, number in parsed(axis).items()})


def _sum(terms: Iterable[tuple[int, str]]) -> Terms:
    found: Terms = {}
    for sign, axis in terms:
        for name, number in parsed(axis).items():
            found[name] = found.get(name, Fraction(0)) + sign * number
    return found


def is_plain(axis: str) -> bool:
    """Whether an axis has a size of its own: it is a word."""
    return axis.isidentifier()


def names_in(axes: Iterable[str]) -> list[str]:
    """Return the words in axes, units first, then in their order."""
    found = {name for axis in axes for name in parsed(axis) if name}
    return sorted(found, key=lambda name: (name != "units", name))


def integer_of(axis: str, sizes: Mapping[str, int]) -> int:
    """Return the value of a sum, which may be zero or below; ValueError if it is no integer."""
    terms = parsed(axis)
    value = sum((number * (sizes[name] if name else 1) for name, number in terms.items()), Fraction(0))
    if value.denominator != 1:
        raise ValueError(f"{axis} is {value}{told(axis, sizes)}; it must be an integer")
    return int(value)


def told(axis: str, sizes: Mapping[str, int]) -> str:
    """Return the sizes that an axis follows from, as an error says them."""
    known = [f"{name} {sizes[name]}" for name in parsed(axis) if name and axis != name]
    return f" with {', '.join(known)}" if known else ""


def learn(values: Iterable[tuple[Dims, tuple[int, ...]]], sizes: dict[str, int]) -> None:
    """Add to `sizes` those of the axes of values with these shapes; what is known stays.

    Words first; then of sums in which one word is unknown its size, if it is an integer."""
    pairs = [
        pair for dims, shape in values if len(dims) == len(shape) for pair in zip(dims, shape, strict=True)
    ]
    for axis, size in pairs:
        if is_plain(axis):
            sizes.setdefault(axis, int(size))
    for axis, size in pairs:
        terms = parsed(axis)
        unknown = [name for name in terms if name and name not in sizes]
        if len(unknown) == 1:
            coefficient = terms.pop(unknown[0])
            others = sum((n * (sizes[name] if name else 1) for name, n in terms.items()), Fraction(0))
            value = (size - others) / coefficient
            if value.denominator == 1 and value >= 1:
                sizes[unknown[0]] = int(value)
