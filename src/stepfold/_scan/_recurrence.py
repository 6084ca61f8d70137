"""A step made ready for a number of units: batches run forward and back."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._llvm import Layout, Target
from .._step import Step
from ._backward import backward
from ._engine import Engine
from ._forward import forward
from ._groups import Ticket, batch_of, tickets
from ._moves import Params
from ._schedule import Schedule

Array = NDArray[Any]
Extra = Mapping[tuple[str, str], Array]

KEPT_FORM = 3
"""Raised whenever `kept_size` or what `kept` holds changes: compilers that remember sizes go by it."""
_NO_TICKET = Ticket(0, 0, 0)
_TAIL = 1 + len(_NO_TICKET)  # numbers at the end of `kept`: whether rows could share their start, the ticket


class Recurrence:
    """A step made ready for a number of units and a dtype (float32 or float64)."""

    def __init__(self, step: Step, units: int, dtype: Any, on: Target | None = None) -> None:
        self.step, self.units, self.dtype = step, units, np.dtype(dtype)
        self._engine = Engine(step, units, self.dtype, on)

    @property
    def layout(self) -> Layout:
        """How rows lie in memory."""
        return self._engine.layout

    @property
    def from_cache(self) -> dict[str, bool]:
        """For each kernel loaded so far, whether its code came from the disk."""
        return self._engine.from_cache

    def kept_size(self, batch: int, time: int) -> int:
        """How many numbers (of this dtype) `kept` must have room for, at most, for a batch of this shape."""
        work = batch * time
        # a slot of states for every row before and after every timestep, one more for each that joins late;
        # one number says how the batch was cut, some more which batch it was
        return (2 * batch + work) * self.layout.state_row + work * self.layout.kept_row + 1 + _TAIL

    def forward(
        self,
        schedule: Schedule,
        inputs: Array,
        params: Params | Mapping[str, Array],
        initial: Sequence[Array | None] | None = None,
        *,
        tokens: Array | None = None,
        extra: Extra | None = None,
        outputs: Array | None = None,
        last: Sequence[Array | None] | None = None,
        kept: Array | None = None,
        threads: int | None = None,
    ) -> None:
        """Fold the step over a batch of sequences; everything that is asked for is written into arrays given.

        `inputs` (*schedule.shape, features), contiguous; with `tokens` (schedule.shape, int32 or int64) it is
        instead a table (words, features) whose rows the tokens choose. `params` name → array (any strides).
        `initial` one array (batch, units) a state, None for zeros. `extra`: what transforms of the step ask
        for, ("row_input", name) → (batch, units), ("step_input", name) → (*schedule.shape, units). Written:
        `outputs` (*schedule.shape, units), the first state after every timestep (at a masked one: as it was
        before); `last` one (batch, units) a state, contiguous; `kept` (kept_size,), what `backward` needs;
        leave it out for inference, which is faster."""
        share = not extra and all(state is None for state in initial or ())
        batch = batch_of(schedule, tokens, len(inputs), share=share)
        if kept is not None:
            kept[-_TAIL:] = (share, *(tickets.leave(batch) if tokens is not None else _NO_TICKET))
        forward(
            self._engine,
            batch,
            inputs,
            params,
            initial,
            extra=extra,
            outputs=outputs,
            last=last,
            kept=None if kept is None else kept[:-_TAIL],
            threads=threads,
        )

    def backward(
        self,
        schedule: Schedule,
        inputs: Array,
        params: Params | Mapping[str, Array],
        kept: Array,
        *,
        tokens: Array | None = None,
        extra: Extra | None = None,
        output_gradient: Array | None = None,
        last_gradient: Sequence[Array | None] | None = None,
        inputs_gradient: Array | None = None,
        params_gradient: Params | Mapping[str, Array],
        initial_gradient: Sequence[Array | None] | None = None,
        threads: int | None = None,
    ) -> None:
        """Carry gradients back; `kept` is what `forward` wrote for the same inputs and params.

        Read: `output_gradient` like `outputs`, `last_gradient` like `last` (None: zeros). Written
        (overwritten, not added to): `inputs_gradient` like `inputs` (with tokens: like the table),
        `params_gradient` name → array of any strides (only the names given are written), `initial_gradient`
        like `initial`."""
        share, *ticket = map(int, kept[-_TAIL:].tolist())
        batch = tickets.batch(Ticket(*ticket)) if tokens is not None else None
        batch = batch or batch_of(schedule, tokens, len(inputs), share=bool(share))
        if batch.schedule is not schedule and any(wanted is not None for wanted in initial_gradient or ()):
            raise ValueError("the forward run had no initial state, so there is no gradient of it")
        backward(
            self._engine,
            batch,
            inputs,
            params,
            kept[:-_TAIL],
            extra=extra,
            output_gradient=output_gradient,
            last_gradient=last_gradient,
            inputs_gradient=inputs_gradient,
            params_gradient=params_gradient,
            initial_gradient=initial_gradient,
            threads=threads,
        )


@functools.lru_cache(maxsize=256)
def recurrence(step: Step, units: int, dtype: np.dtype[Any]) -> Recurrence:
    """Return the recurrence of a step, made once; `dtype` float32 or float64."""
    return Recurrence(step, units, dtype)
