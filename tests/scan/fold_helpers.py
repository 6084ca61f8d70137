"""Batches to fold, by the kernels and by the reference; what a kernel writes stands between guards."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from stepfold import Cell
from stepfold._llvm._compile import target
from stepfold._reference import Reference
from stepfold._scan import Recurrence, Schedule
from stepfold._step import Step

Array = np.ndarray
Answer = dict[str, Array]
"""What a fold gives: "outputs", "state h", gradients "to inputs", "to W", "to initial h" (if given)."""

GUARD, MARK = 64, 777.0
LIMITS = {"float64": 1e-10, "float32": 1e-5}
TARGETS = [name for name in ("x86-64", "haswell", "host") if target(name).width <= target("host").width]


@functools.cache
def ready(step: Step, units: int, dtype: str = "float64", on: str = "host") -> Recurrence:
    """The recurrence of a step, made once a session."""
    return Recurrence(step, units, dtype, target(on))


def guarded(shape: tuple[int, ...], dtype: Any) -> tuple[Array, Array]:
    """An array filled with NaN, and the memory in whose middle it lies, marked before and behind."""
    size = int(np.prod(shape))
    memory = np.full(size + 2 * GUARD, MARK, dtype)
    inner = memory[GUARD : GUARD + size].reshape(shape)
    inner[...] = np.nan
    return inner, memory


def walled(array: Array) -> Array:
    """A copy with NaN before and behind: whoever reads too far finds NaN in the results."""
    memory = np.full(array.size + 2 * GUARD, np.nan, array.dtype)
    inner = memory[GUARD : GUARD + array.size].reshape(array.shape)
    inner[...] = array
    return inner


def assert_unharmed(memory: Array, what: str) -> None:
    assert (memory[:GUARD] == MARK).all(), f"{what}: something was written before it"
    assert (memory[-GUARD:] == MARK).all(), f"{what}: something was written behind it"


@dataclass(frozen=True)
class Problem:
    """A batch of sequences, and the gradients that arrive at what becomes of it; all as (batch, time, …)."""

    step: Step
    inputs: Array
    params: dict[str, Array]
    initial: list[Array | None]
    output_gradient: Array | None
    last_gradient: list[Array | None]
    mask: Array | None = None
    reverse: bool = False
    extra: Mapping[tuple[str, str], Array] = field(default_factory=dict)
    layout: str = "batch"

    @property
    def units(self) -> int:
        return next(a for a in self.last_gradient if a is not None).shape[-1]

    @property
    def dtype(self) -> str:
        return self.inputs.dtype.name

    def but(self, **changes: Any) -> Problem:
        return replace(self, **changes)

    # ---- how it lies in memory ------------------------------------------------------------------------

    def schedule(self) -> Schedule:
        batch, time = self.inputs.shape[:2]
        if self.layout == "packed":
            assert self.mask is not None
            sizes = self.mask.sum(axis=0)
            return Schedule.packed(sizes[sizes > 0], reverse=self.reverse)
        return Schedule.of(
            batch, time, mask=self.mask, reverse=self.reverse, time_major=self.layout == "time"
        )

    def laid(self, array: Array) -> Array:
        """(batch, time, …) as it lies in memory."""
        if self.layout == "batch":
            return array
        turned = np.swapaxes(array, 0, 1)
        if self.layout == "packed":
            assert self.mask is not None
            return turned[self.mask.T][None]
        return np.ascontiguousarray(turned)

    # ---- both ways ------------------------------------------------------------------------------------

    def reference(self, dtype: str = "float64") -> Answer:
        """The answer of the reference; what lies as the batch does is laid as the problem's layout wants."""
        batch = len(self.inputs)

        def cast(a: Array | None) -> Array:
            return np.zeros((batch, self.units), dtype) if a is None else a.astype(dtype)

        params = {name: p.astype(dtype) for name, p in self.params.items()}
        run = Reference(
            self.step, self.inputs.astype(dtype), params, [cast(s) for s in self.initial],
            mask=self.mask, reverse=self.reverse, extra={k: v.astype(dtype) for k, v in self.extra.items()},
        )  # fmt: skip
        og = None if self.output_gradient is None else self.output_gradient.astype(dtype)
        to_inputs, to_params, to_initial = run.backward(og, [cast(g) for g in self.last_gradient])
        return {
            "outputs": self.laid(run.outputs),
            **{f"state {n}": s for n, s in zip(self.step.states, run.states, strict=True)},
            "to inputs": self.laid(to_inputs),
            **{f"to {n}": g for n, g in to_params.items()},
            **{
                f"to initial {n}": g
                for n, g, given in zip(self.step.states, to_initial, self.initial, strict=True)
                if given is not None
            },
        }

    def fold(
        self,
        on: str = "host",
        *,
        threads: int | None = 2,
        back_threads: int | None = None,
        tokens: Array | None = None,
        recurrence: Recurrence | None = None,
    ) -> Answer:
        """The kernels' answer; with `tokens` the inputs are a table. No array may be overrun."""
        made = recurrence or ready(self.step, self.units, self.dtype, on)
        schedule = self.schedule()
        guards: dict[str, Array] = {}

        def room(what: str, shape: tuple[int, ...]) -> Array:
            inner, guards[what] = guarded(shape, self.dtype)
            return inner

        batch, states = len(self.initial_shape()), self.step.states
        inputs = walled(self.inputs if tokens is not None else self.laid(self.inputs))
        laid_tokens = None if tokens is None else np.ascontiguousarray(self.laid(tokens))
        extra = {k: walled(self.laid(v) if k[0] == "step_input" else v) for k, v in self.extra.items()}
        initial = [None if s is None else walled(s) for s in self.initial]
        given = {"tokens": laid_tokens, "extra": extra}
        places = (*schedule.shape, self.units)
        answer: Answer = {}
        kept = room("kept", (made.kept_size(schedule.batch, schedule.time),))
        for way, memory in (("inference", None), ("training", kept)):
            outputs = room(f"{way} outputs", places)
            last = [room(f"{way} state {n}", (batch, self.units)) for n in states]
            made.forward(
                schedule,
                inputs,
                self.params,
                initial,
                outputs=outputs,
                last=last,
                kept=memory,
                threads=threads,
                **given,
            )
            found = {"outputs": outputs, **{f"state {n}": s for n, s in zip(states, last, strict=True)}}
            if answer:
                for key, array in found.items():
                    close(array, answer[key], LIMITS[self.dtype], f"{key}: inference and training differ")
            answer.update(found)
        to_inputs = room("to inputs", inputs.shape)
        to_params = {name: room(f"to {name}", p.shape) for name, p in self.params.items()}
        to_initial = {}
        for name, value in zip(states, self.initial, strict=True):
            if value is not None:
                to_initial[name] = room(f"to initial {name}", (batch, self.units))
        og = None if self.output_gradient is None else walled(self.laid(self.output_gradient))
        last_gradient = [None if g is None else walled(g) for g in self.last_gradient]
        made.backward(
            schedule, inputs, self.params, kept, output_gradient=og, last_gradient=last_gradient,
            inputs_gradient=to_inputs, params_gradient=to_params,
            initial_gradient=[to_initial.get(n) for n in states], threads=back_threads or threads, **given,
        )  # fmt: skip
        for what, memory in guards.items():
            assert_unharmed(memory, what)
        answer["to inputs"] = to_inputs
        answer.update({f"to {n}": g for n, g in to_params.items()})
        answer.update({f"to initial {n}": g for n, g in to_initial.items()})
        return answer

    def initial_shape(self) -> Array:
        return next(a for a in self.last_gradient if a is not None)

    def check(self, on: str = "host", **options: Any) -> Answer:
        """Fold by both and compare; return the kernels' answer."""
        found = self.fold(on, **options)
        expected = self.reference()
        # float32 may be as far off as NumPy's own float32 is, besides the limit
        plain = self.reference("float32") if self.dtype == "float32" and _off(found, expected) else None
        assert found.keys() == expected.keys()
        for key, array in found.items():
            slack = 0.0 if plain is None else distance(plain[key], expected[key])
            close(array, expected[key], LIMITS[self.dtype], f"{self.step.name}, {key}", slack)
        return found


def _off(found: Answer, expected: Answer) -> bool:
    return any(
        not distance(found[k], expected[k]) <= LIMITS["float32"] * _size(expected[k]) for k in expected
    )


def _size(array: Array) -> float:
    return float(np.max(np.abs(array), initial=0.0))


def distance(a: Array, b: Array) -> float:
    return float(np.max(np.abs(a - b), initial=0.0)) if a.shape == b.shape else np.inf


def close(found: Array, expected: Array, limit: float, what: str, slack: float = 0.0) -> None:
    """Assert that two arrays are equal within `limit` of the greatest number, which is finite."""
    assert found.shape == expected.shape, f"{what}: shape {found.shape}, expected {expected.shape}"
    assert np.isfinite(expected).all(), f"{what}: nothing is close to what is expected"
    off, allowed = distance(found, expected), limit * _size(expected) + slack
    assert off <= allowed, f"{what}: off by {off:.3g}, allowed {allowed:.3g}"


def problem(
    cell: Cell | Step,
    batch: int,
    time: int,
    features: int,
    units: int,
    dtype: str = "float64",
    *,
    seed: int = 0,
    **more: Any,
) -> Problem:
    """A random batch for a cell."""
    step = cell.step if isinstance(cell, Cell) else cell
    random = np.random.default_rng(seed)

    def some(*shape: int) -> Array:
        return random.standard_normal(shape).astype(dtype)

    params = {}
    for name, dims in step.parameters.items():
        shape = tuple({"units": units, "features": features}[d] for d in dims)
        params[name] = (some(*shape) * (0.5 if len(shape) == 1 else shape[1] ** -0.5)).astype(dtype)
    extra = {("row_input", name): some(batch, units) for name in step.leaves("row_input")} | {
        ("step_input", name): some(batch, time, units) for name in step.leaves("step_input")
    }
    made = Problem(
        step, some(batch, time, features), params, [some(batch, units) for _ in step.states],
        some(batch, time, units), [some(batch, units) for _ in step.states], extra=extra,
    )  # fmt: skip
    return made.but(**more)


def ragged(lengths: Sequence[int], time: int, *, left: bool = False) -> Array:
    """The mask of lengths, padded on the right or on the left."""
    mask = np.arange(time) < np.asarray(lengths)[:, None]
    return mask[:, ::-1].copy() if left else mask
