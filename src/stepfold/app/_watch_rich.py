"""Watching a model read, in a terminal: words in colour, the probability after each, its line."""

from __future__ import annotations

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from ._predict import one_word
from ._watched import BLOCKS, Watched, Word

_UP = ("", "dodger_blue1", "bold white on dodger_blue3")
_DOWN = ("", "dark_orange", "bold white on orange_red1")
_ROWS = 4
_WIDEST_COLUMN = 4


class RichPage:
    """Writes the words, each with the probability after it below, in lines of the terminal's width."""

    def __init__(self, console: Console | None = None, *, live: bool = False) -> None:
        self._console, self._live = console or Console(highlight=False), live
        self._line: list[tuple[Text, Text]] = []
        self._width = 0

    def begin(self, watched: Watched, title: str) -> None:
        """Write what stands before the first word."""
        self._console.print(Text(title, "bold"))
        self._console.print(Text(f"before the first word: {self._number(watched, watched.before)}", "dim"))
        self._console.print()

    def word(self, watched: Watched, word: Word) -> None:
        """Write one word; where words come one by one, at once, otherwise with its line."""
        text, number = (
            Text(one_word(word.shown), self._style(watched, word)),
            self._number(watched, word.after),
        )
        below = Text(number, "dim")
        if self._live:
            self._console.print(text, below, end="  ", soft_wrap=True)
            return
        width = max(cell_len(text.plain), cell_len(number)) + 2
        if self._width + width > self._console.width:
            self._flush()
        for each in (text, below):
            each.append(" " * (width - cell_len(each.plain)), "default on default")
        self._line.append((text, below))
        self._width += width

    def _flush(self) -> None:
        if self._line:
            for row in zip(*self._line, strict=True):
                self._console.print(Text.assemble(*row), no_wrap=True, crop=True)
        self._line, self._width = [], 0

    def end(self, watched: Watched) -> None:
        """Write what stands after the last word."""
        self._flush()
        if self._live:
            self._console.print()
        self._console.print()
        if watched.words:
            self._chart(watched)
        for name, sign, styles in (("up", 1, _UP), ("down", -1, _DOWN)):
            line = Text.assemble((f"{name:<6}", "dim"))
            turns = watched.turns(sign)
            for word in turns:
                line.append(one_word(word.shown), styles[1]).append(f" {self._difference(watched, word)}   ")
            self._console.print(line if turns else line.append("no word"))
        self._console.print(
            Text.assemble((f"{watched.of}: ", "bold"), (self._number(watched, watched.now), "bold"))
        )

    def _chart(self, watched: Watched) -> None:
        """The line of the probability as bars of eighths of a row."""
        heights = watched.heights(self._console.width - 8)
        wide = max(1, min(_WIDEST_COLUMN, (self._console.width - 8) // len(heights)))
        names = ("100 %", "0 %") if watched.is_share else ("high", "low")
        for row in reversed(range(_ROWS)):
            name = {0: names[1], _ROWS - 1: names[0]}.get(row, "")
            line = Text.assemble((f"{name:>6} ", "dim"))
            for height in heights:
                eighths = round(height * _ROWS * 8) - row * 8
                if row == 0:
                    eighths = max(eighths, 1)
                block = " " if eighths <= 0 else BLOCKS[min(eighths, 8) - 1]
                above = watched.is_share and height >= 0.5
                line.append(block * wide, _UP[1] if above or not watched.is_share else _DOWN[1])
            self._console.print(line, no_wrap=True, crop=True)
        self._console.print()

    @staticmethod
    def _style(watched: Watched, word: Word) -> str:
        style = (_UP if word.change > 0 else _DOWN)[watched.strength(word)]
        return style if word.known else f"{style} underline".strip()

    @staticmethod
    def _number(watched: Watched, value: float) -> str:
        return f"{100 * value:.0f} %" if watched.is_share else watched.number(value)

    @staticmethod
    def _difference(watched: Watched, word: Word) -> str:
        return f"{100 * word.change:+.0f} points" if watched.is_share else watched.difference(word)
