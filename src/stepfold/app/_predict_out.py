"""Predictions for any number of inputs, into a file: inputs are read in blocks, rows written as they come."""

from __future__ import annotations

import contextlib
import itertools
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ..estimators import RunError, outputs_of_blocks
from ._arguments import input_errors
from ._written import written

if TYPE_CHECKING:
    from ..model import Model

_BLOCK = 1024
_EVERY = 10.0
"""Seconds between two lines of progress, where standard error is no terminal."""
Named = Iterable[tuple[str, Any]]


def predict_out(
    model: Model,
    key: str,
    inputs: Named,
    total: int | None,
    out: str,
    every: bool,
    dask: str | None = None,
) -> int:
    """Write a row for each input to a file; returns their number.

    Args:
        model: what predicts.
        key: what the names of the inputs are called, "text" or "sequence".
        inputs: a name and an input each.
        total: how many there are, None if nobody knows.
        out: the file, see ``check_out``.
        every: whether to write the probability of every class.
        dask: the address of a Dask scheduler whose workers predict; None: this process does.

    Raises:
        RunError: no input, one that the model does not take, or a cluster that does not serve.
    """
    progress = _Progress(total)
    names: deque[list[str]] = deque()

    def blocks() -> Iterator[list[Any]]:
        source = iter(inputs)
        while block := list(itertools.islice(source, _BLOCK)):
            names.append([name for name, _ in block])
            yield [given for _, given in block]

    with written(out) as write, contextlib.closing(outputs_of_blocks(model, blocks(), dask=dask)) as found:
        while True:
            with input_errors():
                outputs = next(found, None)
            if outputs is None:
                break
            answers = model.answers(outputs)
            rows = _labelled(model.labels, answers, every) if model.labels is not None else _valued(answers)
            write([{**row, key: name} for row, name in zip(rows, names.popleft(), strict=True)])
            progress.add(len(answers))
        if not progress.count:
            raise RunError("there is no input to predict; nothing is written")
    progress.end(out)
    return progress.count


def _labelled(labels: Any, probabilities: Any, every: bool) -> Iterator[dict[str, Any]]:
    for row in probabilities:
        likeliest = int(row.argmax())
        found = {"label": labels[likeliest], "probability": round(float(row[likeliest]), 6)}
        if every:
            found["probabilities"] = {
                str(label): round(float(value), 6) for label, value in zip(labels, row, strict=True)
            }
        yield found


def _valued(values: Any) -> Iterator[dict[str, Any]]:
    for row in np.asarray(values).tolist():
        yield {"value": row[0] if len(row) == 1 else row}


class _Progress:
    """Says on standard error how far the predictions are."""

    def __init__(self, total: int | None) -> None:
        self.count, self._total = 0, total
        self._began = self._said = time.monotonic()
        self._terminal = sys.stderr.isatty()

    def add(self, count: int) -> None:
        """Count inputs, and say so from time to time."""
        self.count += count
        now = time.monotonic()
        if now - self._said < (0.2 if self._terminal else _EVERY):
            return
        self._said = now
        of = "" if self._total is None else f" of {self._total:,} ({self.count / self._total:.0%})"
        line = f"{self.count:,}{of}, {self.count / (now - self._began):,.0f} a second"
        print(
            f"\r{line}\033[K" if self._terminal else line, end="" if self._terminal else "\n", file=sys.stderr
        )
        sys.stderr.flush()

    def end(self, out: str) -> None:
        """Say what was done."""
        seconds = time.monotonic() - self._began
        start = "\r\033[K" if self._terminal else ""
        print(f"{start}{self.count:,} predictions in {seconds:.1f} s; saved in {out}", file=sys.stderr)
