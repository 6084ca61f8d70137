"""What passes from layer to layer while a model is written as ONNX: names in place of arrays."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray

from ._builder import Builder


@dataclass
class Order:
    """The active timesteps of each row brought to the front, as ONNX's operators want them, and back.

    Args:
        rows: (batch, time) int64, the active timesteps in their order, then the others.
        lengths: (batch,) int32, how many are active.
        forward, backward: (batch, time) int64, where among the active ones the state after a timestep stands
            that was read forward, or in reverse.
        begun, begun_backward: (batch, time, 1) booleans, whether there is such a state: before the first
            active timestep there is none.
    """

    rows: str
    lengths: str
    forward: str
    backward: str
    begun: str
    begun_backward: str


@dataclass
class Named:
    """A signal by its names in the graph.

    Args:
        features: the length of the last axis.
        ids: (batch, time) ids and the name of the table that they choose rows of; None for numbers.
        batched: (batch, time, features), or (batch, features) where there is no time left; None if not
            written yet.
        timed: (time, batch, features); None if not written yet.
        mask: (batch, time) booleans; None if every timestep is active.
        time: whether there is time left.
    """

    features: int
    ids: tuple[str, str] | None = None
    batched: str | None = None
    timed: str | None = None
    mask: str | None = None
    time: bool = True
    _fronted: str | None = field(default=None, repr=False)

    def values(self, b: Builder) -> str:
        """Return the name of the values, batch first."""
        if self.batched is None:
            if self.ids is not None:
                self.batched = b.operator("Gather", self.ids[1], self.ids[0])
            else:
                assert self.timed is not None
                self.batched = _swapped(b, self.timed)
        return self.batched

    def time_major(self, b: Builder) -> str:
        """Return the name of the values, time first."""
        if self.timed is None:
            if self.ids is not None:
                swapped = b.operator("Transpose", self.ids[0], perm=[1, 0])
                self.timed = b.operator("Gather", self.ids[1], swapped)
            else:
                self.timed = _swapped(b, self.values(b))
        return self.timed

    def fronted(self, b: Builder, order: Order) -> str:
        """Return the name of the values, time first, the active timesteps of each row before the others."""
        if self._fronted is None:
            if self.ids is not None:
                ids = b.operator("GatherElements", self.ids[0], order.rows, axis=1)
                swapped = b.operator("Transpose", ids, perm=[1, 0])
                self._fronted = b.operator("Gather", self.ids[1], swapped)
            else:
                self._fronted = _swapped(b, along_time(b, self.values(b), order.rows))
        return self._fronted


def along_time(b: Builder, values: str, rows: str) -> str:
    """Return `values` (batch, time, features) at the timesteps `rows` (batch, time)."""
    return b.operator("GatherND", values, b.operator("Unsqueeze", rows, b.integers(-1)), batch_dims=1)


def order_of(b: Builder, mask: str) -> Order:
    """Add what brings the active timesteps of a mask (batch, time) to the front, and back."""
    int32, int64 = onnx.TensorProto.INT32, onnx.TensorProto.INT64
    active = b.operator("Cast", mask, to=int64)
    time = b.size(mask, 1)  # (1,)
    steps = b.operator(
        "Range", b.array(_int64(0)), b.operator("Squeeze", time, b.integers(0)), b.array(_int64(1))
    )
    # an active timestep t gets time - t, above 0, a masked one -t: in falling order, active ones come first
    keys = b.operator("Sub", b.operator("Mul", active, time), steps)
    rows = b.operators("TopK", [keys, time], 2, axis=1)[1]
    count = b.operator("CumSum", b.operator("Cast", mask, to=int32), b.array(_int64(1)))
    count = b.operator("Cast", count, to=int64)  # (B, T): active timesteps up to this one
    lengths = b.reduction("ReduceSum", active, 1)  # (B, 1)
    before = b.operator("Sub", count, active)
    zero, one = b.integers(0), b.integers(1)
    last = b.operator("Sub", time, one)

    def wide(condition: str) -> str:
        return b.operator("Unsqueeze", condition, b.integers(-1))

    return Order(
        rows=rows,
        lengths=b.operator("Cast", b.operator("Squeeze", lengths, b.integers(1)), to=int32),
        forward=b.operator("Max", b.operator("Sub", count, one), zero),
        backward=b.operator("Min", before, last),
        begun=wide(b.operator("Greater", count, zero)),
        begun_backward=wide(b.operator("Less", before, lengths)),
    )


def _swapped(b: Builder, values: str) -> str:
    return b.operator("Transpose", values, perm=[1, 0, 2])


def _int64(value: int) -> NDArray[np.int64]:
    return np.array(value, np.int64)
