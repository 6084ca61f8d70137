"""Examples, and batches of them in an order that depends on the seed and the epoch alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from ..data import Ragged
from ._processes import ALONE, Share


@dataclass(frozen=True)
class Examples:
    """Inputs with their targets.

    Attributes:
        inputs: the sequences: ids, or values (total, features).
        targets: (examples,) int32 class indices, or (examples, outputs) float32.
        weights: (examples,) float32, or None if all count alike.
    """

    inputs: Ragged
    targets: NDArray[Any]
    weights: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.targets)

    def digest(self) -> str:
        """Return a digest of inputs and targets: equal for equal examples."""
        state = hashlib.blake2b(digest_size=16)
        for array in (self.inputs.offsets, self.inputs.values, self.targets):
            for first in range(0, len(array), 2**20):
                state.update(np.ascontiguousarray(array[first : first + 2**20]).data)
        return state.hexdigest()


class Batches(keras.utils.PyDataset):  # type: ignore[misc]  # keras has no types
    """Batches of some of the examples; shuffled if there is a seed, the same order in a resumed run.

    With a seed every batch is whole, so that one shape is compiled: the last batch of an epoch is filled up
    with the first examples of its order.

    Args:
        examples: all examples.
        rows: indices of those that are used.
        batch_size: examples a batch; without a seed the last one may be smaller.
        collate: makes the network's inputs from the sequences and the rows of a batch.
        seed: decides the order of each epoch; None for the order of ``rows``.
        share: of several processes, whose parts make up the batch. Where it cannot be divided, rows without
            weight fill it up, and the others weigh more, so that means are those of the batch; with weights
            of the examples each process gets the whole batch instead.
    """

    def __init__(
        self,
        examples: Examples,
        rows: NDArray[np.int64],
        batch_size: int,
        collate: Callable[[Ragged, NDArray[np.int64]], Any],
        seed: int | None,
        share: Share = ALONE,
    ) -> None:
        super().__init__()
        self._share = share
        self._examples, self._rows, self._batch_size = examples, rows, batch_size
        self._collate, self._seed = collate, seed
        self.start(0)

    def start(self, epoch: int, first: int = 0) -> None:
        """Set the order of an epoch, counted from 0, and the batch that it begins with."""
        order = np.arange(len(self._rows))
        if self._seed is not None:
            order = np.random.default_rng((self._seed, epoch)).permutation(len(self._rows))
            if len(order) > self._batch_size:
                order = np.concatenate((order, order[: -len(order) % self._batch_size]))
        self._order, self.first = self._rows[order], first

    def shared(self, share: Share) -> Batches:
        """Return these batches for one of several processes.

        Raises:
            ValueError: shuffled batches of examples with weights, which the devices do not divide.
        """
        mine = Batches(self._examples, self._rows, self._batch_size, self._collate, self._seed, share)
        divided = mine._divides or mine.filled
        # Dropout would treat copies differently; validation has none.
        if share.processes > 1 and self._seed is not None and not divided:
            size = min(self._batch_size, len(self._rows))
            raise ValueError(
                f"batches of {size} examples cannot be divided among {share.devices} devices, which "
                f"class_weight asks for; set batch_size (--batch-size) to a multiple of {share.devices}, "
                f"at most {size}"
            )
        return mine

    @property
    def _whole(self) -> int:
        """The number of rows that all devices divide, to which every batch is filled up."""
        rows, devices = min(self._batch_size, len(self._rows)), self._share.devices
        return -(-rows // devices) * devices

    @property
    def _divides(self) -> bool:
        return self._whole * self.batches_in_epoch == len(self._order)

    @property
    def filled(self) -> bool:
        """Whether rows without weight fill the batches up."""
        return self._share.processes > 1 and not self._divides and self._examples.weights is None

    @property
    def batches_in_epoch(self) -> int:
        """The number of batches in a whole epoch."""
        return -(-len(self._rows) // self._batch_size)

    def __len__(self) -> int:
        return self.batches_in_epoch - self.first

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        begin = (self.first + index) * self._batch_size
        rows = self._order[begin : begin + self._batch_size]
        weights = None
        if self._share.processes > 1:
            rows, weights = self._part(rows)
        if weights is None and self._examples.weights is not None:
            weights = self._examples.weights[rows]
        batch = self._collate(self._examples.inputs, rows), self._examples.targets[rows]
        return batch if weights is None else (*batch, weights)

    def _part(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32] | None]:
        """Return the rows of a batch that are this process's, and their weights if some have none."""
        process, processes, devices = self._share
        if self._divides:
            return np.split(rows, processes)[process], None
        if not self.filled:
            return np.tile(rows, devices // processes), None
        size = self._whole
        weight = self.batches_in_epoch * size / len(self._order)
        weights = np.where(np.arange(size) < len(rows), np.float32(weight), np.float32(0))
        return np.split(np.resize(rows, size), processes)[process], np.split(weights, processes)[process]


def pair_of(validation_data: Any) -> tuple[Any, Any]:
    """Return the inputs and the targets to validate with."""
    if not isinstance(validation_data, (tuple, list)) or len(validation_data) != 2:
        shown = type(validation_data).__name__
        if isinstance(validation_data, (tuple, list)):
            shown = f"{shown} of {len(validation_data)}"
        raise ValueError(f"validation_data must be a pair (inputs, targets), not a {shown}")
    return validation_data[0], validation_data[1]
