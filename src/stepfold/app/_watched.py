"""What a model made of each word of a text: how far the word moved it, and which words turned it most."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

BLOCKS = "▁▂▃▄▅▆▇█"
_MOST_TURNS = 3
_LONGEST = 40  # characters of a word that are shown
_SMALL = 0.005  # of the scale; a smaller change turns nothing


@dataclass(frozen=True)
class Word:
    """A word, whether the vocabulary has it, and the probability (or value) before and after it."""

    text: str
    known: bool
    before: float
    after: float

    @property
    def shown(self) -> str:
        """The word, or its beginning where it is long: some texts are no words."""
        return self.text if len(self.text) <= _LONGEST else f"{self.text[: _LONGEST - 1]}…"

    @property
    def change(self) -> float:
        """How far it moved the probability; 0 where that is no number."""
        found = self.after - self.before
        return found if math.isfinite(found) else 0.0


@dataclass
class Watched:
    """A text as it is read: `of` names what is watched, a class or "value"; `before` is what the model said
    before the first word; `is_share` whether it is a probability."""

    of: str
    before: float
    is_share: bool
    words: list[Word] = field(default_factory=list)
    greatest: float = field(default=0.0, init=False)
    """The greatest change so far."""

    @property
    def now(self) -> float:
        """The probability (or value) after the last word so far."""
        return self.words[-1].after if self.words else self.before

    def read(self, text: str, known: bool, after: float) -> Word:
        """Add the next word."""
        word = Word(text, known, self.now, after)
        self.words.append(word)
        self.greatest = max(self.greatest, abs(word.change))
        return word

    @property
    def scale(self) -> float:
        """What counts as the greatest change: 1 for probabilities, else the greatest so far."""
        return 1.0 if self.is_share else self.greatest or 1.0

    def strength(self, word: Word) -> int:
        """How strongly a word moved it: 0 hardly, 1 a little (2 % of the scale), 2 strongly (10 %)."""
        size = abs(word.change) / self.scale
        return 2 if size >= 0.1 else 1 if size >= 0.02 else 0

    def turns(self, sign: int) -> list[Word]:
        """Return the words that moved it most, upwards (`sign` 1) or downwards (-1), the strongest first."""
        found = [word for word in self.words if sign * word.change >= _SMALL * self.scale]
        return sorted(found, key=lambda word: -sign * word.change)[:_MOST_TURNS]

    def number(self, value: float) -> str:
        """Return a probability or value as text."""
        return f"{value:.3f}" if self.is_share else f"{value:.6g}"

    def difference(self, word: Word) -> str:
        """Return how far a word moved it, with its sign."""
        return f"{round(word.change, 3) + 0.0:+.3f}" if self.is_share else f"{word.change:+.4g}"

    def heights(self, columns: int) -> list[float]:
        """Return the line of the probability, before the first word and after each, as heights from 0 to 1,
        one a column: means where there are more words than columns."""
        line = (self.before, *(word.after for word in self.words))
        values = [value for value in line if math.isfinite(value)]
        low, high = (0.0, 1.0) if self.is_share else (min(values, default=0.0), max(values, default=1.0))
        span = high - low or 1.0
        return [min(max((value - low) / span, 0.0), 1.0) for value in _means(values, columns)]


def _means(values: Sequence[float], columns: int) -> Iterator[float]:
    parts = min(columns, len(values))
    for k in range(parts):
        part = values[k * len(values) // parts : (k + 1) * len(values) // parts]
        yield sum(part) / len(part)


def sparkline(heights: Sequence[float]) -> str:
    """Return heights from 0 to 1 as one line of blocks."""
    return "".join(BLOCKS[min(int(height * len(BLOCKS)), len(BLOCKS) - 1)] for height in heights)
