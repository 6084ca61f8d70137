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
from ._schedule import Schedule
from ._shared import Split, gradient_by_step, shared_start

Array = NDArray[Any]
Extra = Mapping[tuple[str, str], Array]


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
        # a start that rows share takes one row more; two numbers more say how the batch was cut
        return self._engine.kept_size(batch + 1, batch * time) + 2

    def forward(
        self,
        schedule: Schedule,
        inputs: Array,
        params: Mapping[str, Array],
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
        before); `last` one (batch, units) a state; `kept` (kept_size,), what `backward` needs; leave it out
        for inference, which is faster."""
        engine = self._engine
        split = self._split(schedule, tokens, initial, extra)
        if kept is not None:
            kept[-1] = split is not None
        if split is None:
            forward(
                engine,
                schedule,
                inputs,
                params,
                initial,
                tokens=tokens,
                extra=extra,
                outputs=outputs,
                last=last,
                kept=None if kept is None else kept[: self._size(schedule)],
                threads=threads,
            )
            return
        first = self._size(split.start)
        start = np.empty(first, self.dtype) if kept is None else kept[:first]
        forward(
            engine,
            split.start,
            inputs[split.token : split.token + 1],
            params,
            None,
            tokens=_same(split),
            extra=None,
            outputs=None,
            last=None,
            kept=start,
            threads=1,
        )
        count = split.start.time + 1
        states = start[: count * self.layout.state_row].reshape(count, len(self.step.states), -1)[
            ..., : self.units
        ]
        forward(
            engine,
            split.rest,
            inputs,
            params,
            [states[split.depths, s] for s in range(states.shape[1])],
            tokens=tokens,
            extra=None,
            outputs=outputs,
            last=last,
            kept=None if kept is None else kept[first : first + self._size(split.rest)],
            threads=threads,
        )
        if outputs is not None:
            places, _, steps = split.shared
            outputs.reshape(-1, self.units)[places] = states[steps + 1, 0]

    def backward(
        self,
        schedule: Schedule,
        inputs: Array,
        params: Mapping[str, Array],
        kept: Array,
        *,
        tokens: Array | None = None,
        extra: Extra | None = None,
        output_gradient: Array | None = None,
        last_gradient: Sequence[Array | None] | None = None,
        inputs_gradient: Array | None = None,
        params_gradient: Mapping[str, Array],
        initial_gradient: Sequence[Array | None] | None = None,
        threads: int | None = None,
    ) -> None:
        """Carry gradients back; `kept` is what `forward` wrote for the same inputs and params.

        Read: `output_gradient` like `outputs`, `last_gradient` like `last` (None: zeros). Written
        (overwritten, not added to): `inputs_gradient` like `inputs` (with tokens: like the table),
        `params_gradient` name → array of any strides (only the names given are written), `initial_gradient`
        like `initial`."""
        engine = self._engine
        split = shared_start(schedule, tokens) if kept[-1] and tokens is not None else None
        common: dict[str, Any] = {"tokens": tokens, "output_gradient": output_gradient, "threads": threads}
        if split is None:
            backward(
                engine,
                schedule,
                inputs,
                params,
                kept[: self._size(schedule)],
                extra=extra,
                last_gradient=last_gradient,
                inputs_gradient=inputs_gradient,
                params_gradient=params_gradient,
                initial_gradient=initial_gradient,
                **common,
            )
            return
        if any(wanted is not None for wanted in initial_gradient or ()):
            raise ValueError("the forward run had no initial state, so there is no gradient of it")
        first = self._size(split.start)
        starts = [np.empty((schedule.batch, self.units), self.dtype) for _ in self.step.states]
        backward(
            engine,
            split.rest,
            inputs,
            params,
            kept[first : first + self._size(split.rest)],
            extra=None,
            last_gradient=last_gradient,
            inputs_gradient=inputs_gradient,
            params_gradient=params_gradient,
            initial_gradient=starts,
            **common,
        )
        of_params = {name: np.empty(target.shape, self.dtype) for name, target in params_gradient.items()}
        of_token = np.empty((1, inputs.shape[-1]), self.dtype)
        before = [np.empty((1, self.units), self.dtype) for _ in self.step.states]
        backward(
            engine,
            split.start,
            inputs[split.token : split.token + 1],
            params,
            kept[:first],
            tokens=_same(split),
            extra=None,
            output_gradient=None,
            states_gradient=gradient_by_step(split, starts, output_gradient, self.layout.shape.padded),
            last_gradient=None,
            inputs_gradient=of_token,
            params_gradient=of_params,
            initial_gradient=before,
            threads=1,
        )
        for name, value in of_params.items():
            params_gradient[name][...] += value
        if inputs_gradient is not None:
            inputs_gradient[split.token] += of_token[0]

    def _size(self, schedule: Schedule) -> int:
        return self._engine.kept_size(schedule.batch, int(schedule.counts.sum()))

    def _split(
        self,
        schedule: Schedule,
        tokens: Array | None,
        initial: Sequence[Array | None] | None,
        extra: Extra | None,
    ) -> Split | None:
        """How to share the rows' common start: only from the zero state, and if nothing else tells rows
        apart."""
        if tokens is None or extra or any(s is not None for s in initial or ()):
            return None
        return shared_start(schedule, tokens)


def _same(split: Split) -> Array:
    """The tokens of the common run, in a table of that one row."""
    return np.zeros(split.start.shape, np.int64)


@functools.lru_cache(maxsize=256)
def recurrence(step: Step, units: int, dtype: str) -> Recurrence:
    """Return the recurrence of a step, made once; `dtype` "float32" or "float64"."""
    return Recurrence(step, units, dtype)
