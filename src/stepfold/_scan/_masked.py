"""What stands at masked places: outputs repeated, their gradients brought back to where they were made,
zeros.

Each is a call for some rows of a batch, to be made by the thread that works on them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._calls import Call, small
from ._schedule import Schedule

Array = NDArray[Any]
Whole = NDArray[np.int64]


def repeat_call(schedule: Schedule, rows: Whole, outputs: Array, initial: Array | None) -> Call:
    """Write into the rows' masked places of `outputs` what the last working timestep before gave, or the
    initial state."""
    start = np.zeros(outputs.shape[-1], outputs.dtype) if initial is None else np.ascontiguousarray(initial)
    words = {"start": start, "start_row": 0 if initial is None else outputs.shape[-1], "outputs": outputs}
    return _call("repeat", schedule, rows, outputs, words)


def gather_call(schedule: Schedule, rows: Whole, gradient: Array, gathered: Array, initial: Array) -> Call:
    """Sum the rows' gradient of outputs over runs of equal outputs: into `gathered`, laid out alike, where
    the outputs were made, and into `initial` (batch, units) for the initial state."""
    words = {"gradient": gradient, "gathered": gathered, "start": initial}
    return _call("gather", schedule, rows, gradient, words)


def blank_call(schedule: Schedule, rows: Whole, target: Array) -> Call:
    """Write zeros into the rows' masked places."""
    return _call("blank", schedule, rows, target, {"target": target})


def _call(name: str, schedule: Schedule, rows: Whole, like: Array, words: dict[str, Any]) -> Call:
    assert schedule.mask is not None
    batch, time = schedule.mask.shape
    common = {
        "rows": len(rows),
        "lines": rows,
        "time": time,
        "width": like.shape[-1],
        "mask": schedule.mask,
        "row_place": 1 if schedule.time_major else time,
        "time_place": batch if schedule.time_major else 1,
        "reverse": int(schedule.reverse),
        "zeros": np.zeros(like.shape[-1], like.dtype),
    }
    return Call(small(f"{name}{8 * like.itemsize}"), common | words)
