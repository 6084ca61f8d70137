"""Branches that read the same and whose outputs stand side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ._arrays import Array
from ._evidence_layers import EnsembleLayer, EvidenceLayer, JoinEvidenceLayer
from ._signal import Signal

if TYPE_CHECKING:
    from ._layers import Layer


@dataclass(frozen=True, eq=False)
class ConcatenateLayer:
    """Branches, each a chain of layers that reads the same, their outputs side by side on the last axis.

    A branch of no layer passes on what it reads. All branches give timesteps, or none does. A timestep is
    masked where every branch masks it, as `keras.layers.Concatenate` has it: with one mask for all, as
    embeddings of the same ids with `mask_zero` have, that is this mask; with a branch that masks nothing,
    nothing is masked. As the first layer of a model on ids it has an embedding first in every branch.

    Raises ValueError for fewer than two branches, for layers that look n-grams up or average networks, and
    for more than 16 concatenations within one another.
    """

    branches: tuple[tuple[Layer, ...], ...] = field(repr=False)
    depth: int = field(init=False, repr=False)
    """How many concatenations lie within one another, this one included."""
    most_nested: ClassVar[int] = 16
    """The greatest depth."""

    def __post_init__(self) -> None:
        branches = tuple(map(tuple, self.branches))
        if len(branches) < 2:
            raise ValueError(f"a concatenation needs at least two branches, not {len(branches)}")
        depth = 1
        for layer in (each for branch in branches for each in branch):
            if isinstance(layer, (EvidenceLayer, JoinEvidenceLayer, EnsembleLayer)):
                raise ValueError(
                    f"{type(layer).__name__} cannot stand in a branch; n-grams and ensembles are for "
                    "chains of layers"
                )
            if isinstance(layer, ConcatenateLayer):
                depth = max(depth, layer.depth + 1)
        if depth > self.most_nested:
            raise ValueError(f"concatenations lie {depth} deep in one another, more than {self.most_nested}")
        object.__setattr__(self, "branches", branches)
        object.__setattr__(self, "depth", depth)

    def __call__(self, signal: Signal) -> Signal:
        """(batch, time) ids or (…, features) → (…, the features of all branches)."""
        found = []
        for branch in self.branches:
            passed = signal
            for layer in branch:
                passed = layer(passed)
            found.append(passed)
        return self.joined(found)

    def joined(self, signals: Sequence[Signal]) -> Signal:
        """Return what the branches gave as one signal."""
        masks: list[Array] = [each.mask for each in signals if each.mask is not None]
        values = np.concatenate([each.vectors() for each in signals], axis=-1)
        every = len(masks) == len(signals)
        return Signal(values, np.logical_or.reduce(masks) if every else None)
