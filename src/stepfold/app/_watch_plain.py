"""Watching a model read, as plain lines."""

from __future__ import annotations

import sys

from ._predict import one_word, printable
from ._watched import Watched, Word, sparkline

_COLUMNS = 72


class PlainPage:
    """Writes a line for each word at once, since a program may be waiting for it, and a summary."""

    def begin(self, watched: Watched, title: str) -> None:
        """Write what stands before the first word."""
        self._write(title)
        self._write(f"{watched.number(watched.before):>8}  {'':>8}  (before the first word)")

    def word(self, watched: Watched, word: Word) -> None:
        """Write one word."""
        note = "" if word.known else "  (not in the vocabulary)"
        number, difference = watched.number(word.after), watched.difference(word)
        self._write(f"{number:>8}  {difference:>8}  {one_word(word.shown)}{note}")

    def end(self, watched: Watched) -> None:
        """Write what stands after the last word."""
        line = sparkline(watched.heights(_COLUMNS))
        if printable(line) == line:
            self._write(f"\n{line}")
        for name, sign in (("up", 1), ("down", -1)):
            turns = [f"{one_word(word.shown)} {watched.difference(word)}" for word in watched.turns(sign)]
            self._write(f"{name + ':':<6}{', '.join(turns) or 'no word'}")
        self._write(f"{watched.of}: {watched.number(watched.now)}")

    @staticmethod
    def _write(line: str) -> None:
        print(printable(line))
        sys.stdout.flush()
