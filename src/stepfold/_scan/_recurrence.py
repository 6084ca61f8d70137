"""TEMPORARY stand-in with the final interface, run by the NumPy reference; the compiled one replaces it."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._reference import Reference
from .._step import Step
from ._schedule import Schedule

Array = NDArray[Any]


class Recurrence:
    """A step made ready for a number of units and a dtype (float32 or float64)."""

    def __init__(self, step: Step, units: int, dtype: Any) -> None:
        self.step, self.units, self.dtype = step, units, np.dtype(dtype)

    def kept_size(self, batch: int, time: int) -> int:
        """How many numbers (of this dtype) `kept` must have room for, at most, for a batch of this shape."""
        return max(1, batch * time)

    def _inputs(self, schedule: Schedule, inputs: Array, tokens: Array | None) -> Array:
        x = inputs if tokens is None else inputs[tokens]
        return np.swapaxes(x, 0, 1) if schedule.time_major else x

    def _run(self, schedule, inputs, params, initial, tokens, extra):
        initial = [np.zeros((schedule.batch, self.units), self.dtype) if s is None else s for s in initial or [None] * len(self.step.states)]
        return Reference(self.step, self._inputs(schedule, inputs, tokens), params, initial, mask=schedule.mask, reverse=schedule.reverse, extra=extra)

    def forward(
        self,
        schedule: Schedule,
        inputs: Array,
        params: Mapping[str, Array],
        initial: Sequence[Array | None] | None = None,
        *,
        tokens: Array | None = None,
        extra: Mapping[tuple[str, str], Array] | None = None,
        outputs: Array | None = None,
        last: Sequence[Array | None] | None = None,
        kept: Array | None = None,
        threads: int | None = None,
    ) -> None:
        """Fold the step over a batch of sequences; everything that is asked for is written into arrays given.

        `inputs` (*schedule.shape, features), contiguous; with `tokens` (schedule.shape, int32 or int64) it is instead a
        table (words, features) whose rows the tokens choose. `params` name → array (any strides). `initial` one array
        (batch, units) a state, None for zeros. `extra`: what transforms of the step ask for, ("row_input", name) →
        (batch, units), ("step_input", name) → (*schedule.shape, units). Written: `outputs` (*schedule.shape, units), the
        first state after every timestep (at a masked one: as it was before); `last` one (batch, units) a state; `kept`
        (kept_size,), what `backward` needs; leave it out for inference, which is faster.
        """
        run = self._run(schedule, inputs, params, initial, tokens, extra)
        self._memory = (run, schedule)
        if outputs is not None:
            outputs[...] = np.swapaxes(run.outputs, 0, 1) if schedule.time_major else run.outputs
        for target, value in zip(last or (), run.states):
            if target is not None:
                target[...] = value
        if kept is not None:
            _STORE[kept.ctypes.data] = initial

    def backward(
        self,
        schedule: Schedule,
        inputs: Array,
        params: Mapping[str, Array],
        kept: Array,
        *,
        tokens: Array | None = None,
        extra: Mapping[tuple[str, str], Array] | None = None,
        output_gradient: Array | None = None,
        last_gradient: Sequence[Array | None] | None = None,
        inputs_gradient: Array | None = None,
        params_gradient: Mapping[str, Array],
        initial_gradient: Sequence[Array | None] | None = None,
        threads: int | None = None,
    ) -> None:
        """Carry gradients back; `kept` is what `forward` wrote for the same inputs and params.

        Read: `output_gradient` like `outputs`, `last_gradient` like `last` (None: zeros). Written (overwritten, not added
        to): `inputs_gradient` like `inputs` (with tokens: like the table), `params_gradient` name → array of any strides
        (only the names given are written), `initial_gradient` like `initial`.
        """
        run = self._run(schedule, inputs, params, _STORE.get(kept.ctypes.data), tokens, extra)
        zero = np.zeros((schedule.batch, self.units), self.dtype)
        og = None if output_gradient is None else (np.swapaxes(output_gradient, 0, 1) if schedule.time_major else output_gradient)
        gx, gp, gs = run.backward(og, [zero if g is None else g for g in last_gradient or [None] * len(self.step.states)])
        if inputs_gradient is not None:
            gx = np.swapaxes(gx, 0, 1) if schedule.time_major else gx
            if tokens is None:
                inputs_gradient[...] = gx
            else:
                inputs_gradient[...] = 0
                np.add.at(inputs_gradient, tokens, gx)
        for name, target in params_gradient.items():
            target[...] = gp[name]
        for target, value in zip(initial_gradient or (), gs):
            if target is not None:
                target[...] = value


_STORE: dict[int, Any] = {}


@functools.lru_cache(maxsize=256)
def recurrence(step: Step, units: int, dtype: str) -> Recurrence:
    """Return the recurrence of a step, made once; `dtype` "float32" or "float64"."""
    return Recurrence(step, units, dtype)
