"""What stands at masked places: outputs repeated, their gradients brought back to where they were made,
zeros.

Each is a job for some rows of a batch, to be run by the thread that works on them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._calls import Job
from ._lists import small
from ._schedule import Schedule

Array = NDArray[Any]
Whole = NDArray[np.int64]


def repeat_job(schedule: Schedule, rows: Whole, outputs: Array, initial: Array | None) -> Job:
    """Write into the rows' masked places of `outputs` what the last working timestep before gave, or the
    initial state."""
    start = np.zeros(outputs.shape[-1], outputs.dtype) if initial is None else np.ascontiguousarray(initial)
    words = {"start": start, "start_row": 0 if initial is None else outputs.shape[-1], "outputs": outputs}
    return _job("repeat", schedule, rows, outputs, words)


def gather_job(schedule: Schedule, rows: Whole, gradient: Array, gathered: Array, initial: Array) -> Job:
    """Sum the rows' gradient of outputs over runs of equal outputs: into `gathered`, laid out alike, where
    the outputs were made, and into `initial` (batch, units) for the initial state."""
    words = {"gradient": gradient, "gathered": gathered, "start": initial}
    return _job("gather", schedule, rows, gradient, words)


def blank_job(schedule: Schedule, rows: Whole, target: Array) -> Job:
    """Write zeros into the rows' masked places."""
    return _job("blank", schedule, rows, target, {"target": target})


def _job(name: str, schedule: Schedule, rows: Whole, like: Array, words: dict[str, Any]) -> Job:
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
    return small(f"{name}{8 * like.itemsize}").job(common | words)
