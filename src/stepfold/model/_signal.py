"""What passes from layer to layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ._arrays import Array
from .ngrams import Evidence


@dataclass(frozen=True, eq=False)
class Signal:
    """What passes from layer to layer.

    Args:
        values: (batch, time) ids, (batch, time, features), or (batch, features) once there is no time left.
        mask: (batch, time) booleans, True where a timestep is active; None if all are, or time is gone.
        table: (vocabulary_size, features), from which `values`, ids, choose rows; None for numbers.
        evidence: what n-grams say, channels (batch, time, channels) and logits (batch, scores); None for
            models without. Behind a row of the table stand the timestep's channels.
    """

    values: Array
    mask: Array | None = None
    table: Array | None = None
    evidence: Evidence | None = None

    @property
    def side(self) -> Array | None:
        """The channels that stand behind the rows of a table, (batch, time, channels); None if none do."""
        return None if self.table is None or self.evidence is None else self.evidence.channels

    def vectors(self) -> Array:
        """Return the values as numbers, ids replaced by their rows of the table."""
        if self.table is None:
            return self.values
        rows: Array = self.table[self.values]
        return rows if self.side is None else np.concatenate((rows, self.side), axis=-1)

    def with_values(self, values: Array, mask: Array | None = None) -> Signal:
        """Return a signal with other values, which are numbers, and another mask."""
        return Signal(values, mask, None, self.evidence)

    def last_vectors(self) -> Array:
        """Return the values at the last timestep as numbers, (batch, features)."""
        evidence = self.evidence
        if evidence is not None:
            evidence = evidence._replace(channels=evidence.channels[:, -1:])
        return Signal(self.values[:, -1:], None, self.table, evidence).vectors()[:, 0]
