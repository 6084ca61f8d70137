"""The sizes that a program is recorded for."""

from __future__ import annotations

from dataclasses import dataclass, replace

MOST_ROWS = 64
"""How many rows a group has, at most."""


@dataclass(frozen=True)
class Shape:
    """The sizes of a batch: `time` timesteps, of a packed batch those of the longest row, with `places` rows
    of inputs in all; `vocabulary_size` 0 without tokens, which have `token_bits`; of the `features` the last
    `side` are given for each step; `weights` the weights' shapes."""

    batch: int
    time: int
    features: int
    weights: tuple[tuple[int, ...], ...]
    places: int | None = None
    vocabulary_size: int = 0
    token_bits: int = 64
    side: int = 0

    @property
    def width(self) -> int:
        """How many features inputs, or the table of vectors, have."""
        return self.features - self.side

    @property
    def steps(self) -> int:
        """How many steps can be active, at most."""
        return self.batch * self.time if self.places is None else self.places

    @property
    def most_groups(self) -> int:
        """Into how many groups the rows can be cut, with however many threads."""
        return min(self.batch, self.batch // MOST_ROWS + 256)

    def held(self, windowed: int) -> Shape:
        """The shape of residuals of a window of so many active steps of each row; 0: of all."""
        return replace(self, time=windowed, places=None) if windowed else self

    def groups(self, tasks: int, rows: int = MOST_ROWS) -> int:
        """Into how many groups the rows are cut: each task has as many of at most so many rows, but for very
        many groups."""
        wanted = tasks * max(1, -(-self.batch // (tasks * rows)))
        return min(self.batch, wanted, max(self.most_groups, tasks * -(-self.batch // (tasks * MOST_ROWS))))
