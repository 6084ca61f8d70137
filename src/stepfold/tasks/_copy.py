"""Copy: symbols at the beginning of a sequence are repeated at its end."""

from __future__ import annotations

import numpy as np

from ._task import Examples, Task


def copy_with(symbols: int = 8, length: int = 10) -> Task:
    """Return the copy task: `length` symbols of an alphabet of `symbols`, by default as in the paper.

    ValueError for an alphabet of less than two symbols, or a length below 1."""
    if symbols < 2 or length < 1:
        raise ValueError(
            "copy needs at least 2 symbols and a length of at least 1, "
            f"got symbols={symbols}, length={length}"
        )

    def generate(lag: int, batch: int, random: np.random.Generator) -> Examples:
        targets = random.integers(0, symbols, (batch, length), np.int32)
        ids = np.full((batch, lag + length), symbols)  # blanks
        ids[:, :length] = targets
        ids[:, lag - 1] = symbols + 1  # the sign to begin
        return np.eye(symbols + 2, dtype=np.float32)[ids], targets

    return Task(
        name="copy",
        features=symbols + 2,
        answers=length,
        classes=symbols,
        solved_at=0.99,
        guess=1 / symbols,
        shortest=length + 1,
        about=f"Copy, {length} out of {symbols} symbols (Arjovsky, Shah & Bengio 2016, arXiv:1511.06464). "
        "Inputs: the symbols, blanks, a sign to begin before the answers, blanks; one-hot. Targets: the "
        "symbols, each due lag timesteps after it was shown. Only these answers count, not the blanks.",
        generate=generate,
    )


copy = copy_with(symbols=4, length=2)
