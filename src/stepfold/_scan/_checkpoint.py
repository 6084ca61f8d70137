"""Less memory for more time: keep the states only at every √time-th timestep and compute the rest again on
the way back.

(Chen et al. 2016, Training deep nets with sublinear memory cost, arXiv:1604.06174.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._calls import chain
from ._masked import gather_call, repeat_call
from ._memory import aligned
from ._recurrence import Recurrence
from ._schedule import Schedule

Array = NDArray[Any]
_LEAST = 2048  # pieces of work a segment: less would take as long to prepare as to do


def segment_begins(schedule: Schedule) -> range:
    """The timesteps, of those that work, at which segments begin: √time of them, or fewer of few rows."""
    most = int(schedule.counts.max(initial=0))
    size = max(math.isqrt(max(0, most - 1)) + 1, _LEAST // max(1, schedule.batch))
    return range(0, most, min(size, max(1, most)))


def segment(schedule: Schedule, begin: int) -> Schedule:
    """A segment of a schedule; masked places belong to none. It is made anew for every use: what is worked
    out for it grows with time, and goes with it."""
    return replace(
        schedule,
        counts=np.clip(schedule.counts - begin, 0, segment_begins(schedule).step),
        starts=schedule.starts + begin,
        mask=None,
    )


class Checkpoints:
    """A forward run that kept the states between segments, and its way back."""

    def __init__(
        self,
        recurrence: Recurrence,
        schedule: Schedule,
        inputs: Array,
        params: Mapping[str, Array],
        initial: Sequence[Array | None] | None,
        *,
        tokens: Array | None = None,
        outputs: Array | None = None,
        last: Sequence[Array | None] | None = None,
        threads: int | None = None,
    ) -> None:
        self._recurrence, self._schedule, self._threads = recurrence, schedule, threads
        self._inputs, self._params, self._tokens = inputs, params, tokens
        given = initial or [None] * len(recurrence.step.states)
        self._starts: list[list[Array]] = [[self._zeros() if s is None else s for s in given]]
        for begin in segment_begins(schedule):
            after = [self._zeros() for _ in given]
            recurrence.forward(
                segment(schedule, begin),
                inputs,
                params,
                self._starts[-1],
                tokens=tokens,
                outputs=outputs,
                last=after,
                threads=threads,
            )
            self._starts.append(after)
        for wanted, state in zip(last or (), self._starts[-1], strict=False):
            if wanted is not None:
                wanted[...] = state
        if outputs is not None and not schedule.whole:
            chain([repeat_call(schedule, schedule.rows, outputs, self._starts[0][0])])()

    def _zeros(self) -> Array:
        return np.zeros((self._schedule.batch, self._recurrence.units), self._recurrence.dtype)

    def backward(
        self,
        *,
        output_gradient: Array | None = None,
        last_gradient: Sequence[Array | None] | None = None,
        inputs_gradient: Array,
        params_gradient: Mapping[str, Array],
        initial_gradient: Sequence[Array | None],
    ) -> None:
        """Carry gradients back as `Recurrence.backward` does; everything given is overwritten."""
        schedule, recurrence = self._schedule, self._recurrence
        to_initial: Array | None = None
        if output_gradient is not None and not schedule.whole:
            given, output_gradient, to_initial = (
                output_gradient,
                np.empty_like(output_gradient),
                self._zeros(),
            )
            chain([gather_call(schedule, schedule.rows, given, output_gradient, to_initial)])()
        states = recurrence.step.states
        carried = [self._zeros() if g is None else g for g in last_gradient or [None] * len(states)]
        for total in (inputs_gradient, *params_gradient.values()):
            total[...] = 0
        begins = segment_begins(schedule)
        kept = aligned(recurrence.kept_size(schedule.batch, begins.step), recurrence.dtype)
        part = {name: np.empty_like(value) for name, value in params_gradient.items()}
        of_table = np.empty_like(inputs_gradient) if self._tokens is not None else None
        for begin, start in zip(reversed(begins), reversed(self._starts[:-1]), strict=True):
            common: dict[str, Any] = {"tokens": self._tokens, "threads": self._threads}
            piece = segment(schedule, begin)
            recurrence.forward(piece, self._inputs, self._params, start, kept=kept, **common)
            before = [self._zeros() for _ in states]
            recurrence.backward(
                piece,
                self._inputs,
                self._params,
                kept,
                output_gradient=output_gradient,
                last_gradient=carried,
                inputs_gradient=inputs_gradient if of_table is None else of_table,
                params_gradient=part,
                initial_gradient=before,
                **common,
            )
            carried = before
            for name, value in part.items():
                params_gradient[name][...] += value
            if of_table is not None:
                inputs_gradient += of_table
        for target, value in zip(initial_gradient, carried, strict=True):
            if target is not None:
                target[...] = value
        if to_initial is not None and initial_gradient[0] is not None:
            initial_gradient[0][...] += to_initial
