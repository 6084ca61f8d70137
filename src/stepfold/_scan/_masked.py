"""What stands at masked timesteps: the state as it was before, and its gradient's way back to where it was
made."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._schedule import Schedule

Array = NDArray[Any]


def _by_row(schedule: Schedule, values: Array) -> Array:
    """A view (batch, time in the order of work, …) of values that lie as the batch does."""
    view = np.swapaxes(values, 0, 1) if schedule.time_major else values
    return view[:, ::-1] if schedule.reverse else view


def repeat_outputs(schedule: Schedule, outputs: Array, initial: Array | None) -> None:
    """Write into masked places of `outputs` what the last working timestep before gave, or the initial
    state."""
    assert schedule.mask is not None
    mask = schedule.mask[:, ::-1] if schedule.reverse else schedule.mask
    batch, time = mask.shape
    latest = np.maximum.accumulate(np.where(mask, np.arange(time), -1), axis=1)
    view = _by_row(schedule, outputs)
    rows, steps = np.nonzero(~mask)
    sources = latest[rows, steps]
    values = view[rows, np.maximum(sources, 0)]
    start = np.zeros((batch, 1), outputs.dtype) if initial is None else initial
    values = np.where((sources >= 0)[:, None], values, start[rows])
    view[rows, steps] = values


def gather_gradient(schedule: Schedule, gradient: Array) -> tuple[Array, Array]:
    """Sum a gradient of outputs over runs of equal outputs: at the working timestep that made them, and to
    the initial state.

    Returns the gradient with nothing at masked places, laid out like `gradient`, and (batch, units) for the
    initial state."""
    assert schedule.mask is not None
    mask = schedule.mask[:, ::-1] if schedule.reverse else schedule.mask
    batch, time = mask.shape
    starts = mask.copy()
    starts[:, 0] = True
    rows, steps = np.nonzero(starts)
    ordered = np.ascontiguousarray(_by_row(schedule, gradient)).reshape(batch * time, gradient.shape[-1])
    sums = np.add.reduceat(ordered, rows * time + steps, axis=0)
    working = mask[rows, steps]
    result = np.zeros_like(gradient)
    _by_row(schedule, result)[rows[working], steps[working]] = sums[working]
    initial = np.zeros((batch, gradient.shape[-1]), gradient.dtype)
    initial[rows[~working]] = sums[~working]
    return result, initial
