"""Batches to scan, by the kernels and by the reference; what a kernel writes stands between guards, what it
reads between walls of NaN."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from stepfold import Cell
from stepfold._dims import size_of
from stepfold._graph import Dims
from stepfold._llvm import target
from stepfold._native import Executor, own_threads
from stepfold._reference import Reference
from stepfold._runtime import (
    Engine,
    Recipe,
    Shape,
    Threads,
    Wanted,
    backward_operands,
    backward_program,
    forward_operands,
    forward_program,
    residuals_size,
)
from stepfold._runtime._run import run
from stepfold._step import Step
from tests.runtime.scan_arrays import (
    FINER,
    LIMITS,
    Array,
    Results,
    close,
    distance,
    magnitude,
    walled,
)
from tests.runtime.scan_rounding import other_rounding

Answer = dict[str, Array]
"""What a scan gives: "outputs", "state h", "gradient of inputs", "gradient of W", "gradient of initial h" (if
given)."""


@functools.cache
def ready(
    step: Step,
    units: int,
    dtype: str = "float64",
    on: str = "host",
    sizes: tuple[tuple[str, int], ...] = (),
) -> Engine:
    """The engine of a step, made once a session."""
    return Engine(step, units, dtype, target(on), sizes)


@dataclass(frozen=True)
class Problem:
    """A batch of sequences, and the gradients that arrive at its results; all as (batch, time, …).

    With `tokens` (batch, time) the `inputs` are a table (vocabulary_size, features), to whose rows `side`
    (batch, time, features), if given, is appended. `lengths`: the mask is
    told to the kernels as lengths. `padding` as in a recipe."""

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
    tokens: Array | None = None
    lengths: bool = False
    padding: str = "repeat"
    side: Array | None = None
    sizes: Mapping[str, int] = field(default_factory=dict)
    named: Mapping[str, Array] = field(default_factory=dict)

    @property
    def units(self) -> int:
        first = next(a for a in self.last_gradient if a is not None)
        return self.sizes.get("units", first.shape[-1])

    def zeros(self, state: str, dtype: str | None = None) -> Array:
        """A state of zeros of the whole batch."""
        return np.zeros((self.batch, *self.recipe.shape(self.step.dims_of(state))), dtype or self.dtype)

    @property
    def batch(self) -> int:
        return len(next(a for a in self.last_gradient if a is not None))

    @property
    def time(self) -> int:
        return (self.inputs if self.tokens is None else self.tokens).shape[1]

    @property
    def dtype(self) -> str:
        return self.inputs.dtype.name

    @property
    def features(self) -> int:
        own = self.inputs.shape[-1] if self.step.takes_features else 0
        return own + (0 if self.side is None else self.side.shape[-1])

    def but(self, **changes: Any) -> Problem:
        return replace(self, **changes)

    # ---- how it lies in memory ------------------------------------------------------------------------

    def laid(self, array: Array) -> Array:
        """(batch, time, …) as it lies in memory."""
        if self.layout == "batch":
            return array
        turned = np.swapaxes(array, 0, 1)
        if self.layout == "packed":
            assert self.mask is not None
            return turned[self.mask.T]
        return np.ascontiguousarray(turned)

    @property
    def active(self) -> str:
        if self.layout == "packed":
            return "packed"
        return "all" if self.mask is None else "lengths" if self.lengths else "mask"

    @property
    def recipe(self) -> Recipe:
        return Recipe.of(self.step, self.units, self.sizes).but(
            reverse=self.reverse,
            time_major=self.layout == "time",
            tokens=self.tokens is not None,
            side=self.side is not None,
            active=self.active,
            padding=self.padding,
            initial=any(state is not None for state in self.initial),
        )

    @property
    def shape(self) -> Shape:
        packed, time = self.layout == "packed", self.time
        if packed:
            assert self.mask is not None
            time = int(self.mask.any(axis=0).sum())
        return Shape(
            self.batch,
            time,
            self.features,
            tuple(p.shape for p in self.params.values()),
            int(self.mask.sum()) if packed and self.mask is not None else None,
            0 if self.tokens is None else len(self.inputs),
            64 if self.tokens is None else self.tokens.itemsize * 8,
            0 if self.side is None else self.side.shape[-1],
        )

    def operands(self) -> dict[str, Array]:
        """What both passes read, by the operands' names, between walls."""
        found = {"inputs": self.laid(self.inputs) if self.tokens is None else self.inputs}
        if self.tokens is not None:
            found = {"the table of vectors": self.inputs, "tokens": self.laid(self.tokens)}
        if self.side is not None:
            found["side features"] = self.laid(self.side)
        found |= {f"input {name}": self.laid(value) for name, value in self.named.items()}
        if self.mask is not None:
            sizes = self.mask.sum(axis=0)
            found |= {
                "lengths": self.mask.sum(axis=1),
                "mask": self.mask,
                "batch_sizes": sizes[sizes > 0],
            }
        for name, state in zip(self.step.states, self.initial, strict=True):
            found[f"initial state {name}"] = self.zeros(name) if state is None else state
        for (kind, name), value in self.extra.items():
            found[name] = self.laid(value) if kind == "step_input" else value
        found |= {f"weight {k}": value for k, value in enumerate(self.params.values())}
        if self.output_gradient is not None:
            found["the gradient of outputs"] = self.laid(self.output_gradient)
        for name, gradient in zip(self.step.states, self.last_gradient, strict=True):
            if gradient is not None:
                found[f"the gradient of last state {name}"] = gradient
        return {name: walled(np.asarray(array, order="C")) for name, array in found.items()}

    def wanted(self) -> Wanted:
        given = tuple(gradient is not None for gradient in self.last_gradient)
        own = self.step.takes_features
        wishes = own, (True,) * len(self.params), self.side is not None, (True,) * len(self.named)
        return Wanted(self.output_gradient is not None, given, *wishes)

    # ---- both passes ----------------------------------------------------------------------------------

    def reference(self, dtype: str = "float64") -> Answer:
        """The answer of the reference; what lies as the batch does is laid as the problem's layout wants."""

        def cast(values: Sequence[Array | None]) -> list[Array]:
            pairs = zip(self.step.states, values, strict=True)
            return [self.zeros(name, dtype) if a is None else a.astype(dtype) for name, a in pairs]

        params = {name: p.astype(dtype) for name, p in self.params.items()}
        inputs = self.inputs.astype(dtype)
        given = inputs if self.tokens is None else inputs[self.tokens]
        if self.side is not None:
            given = np.concatenate([given, self.side.astype(dtype)], axis=-1)
        scan = Reference(
            self.step, given, params,
            cast(self.initial), mask=self.mask, reverse=self.reverse,
            extra={k: v.astype(dtype) for k, v in self.extra.items()},
            named={k: v.astype(dtype) for k, v in self.named.items()},
        )  # fmt: skip
        gradient = None if self.output_gradient is None else self.output_gradient.astype(dtype)
        outputs = scan.outputs

        def where_active(value: Array, other: float) -> Array:
            if self.mask is None:
                return value
            return np.where(self.mask.reshape(*self.mask.shape, *[1] * (value.ndim - 2)), value, other)

        if self.padding != "repeat":
            outputs = where_active(outputs, 0 if self.padding == "zero" else np.nan)
            gradient = None if gradient is None else where_active(gradient, 0)
        of_inputs, of_params, of_initial = scan.backward(gradient, cast(self.last_gradient))
        by_step = "gradient of inputs", of_inputs
        more = {}
        if self.tokens is not None:
            width = inputs.shape[1]
            of_table = np.zeros_like(inputs)
            np.add.at(of_table, self.tokens, of_inputs[..., :width])
            more["gradient of inputs"] = of_table
            by_step = "gradient of side features", of_inputs[..., width:]
        if self.step.takes_features and (self.tokens is None or self.side is not None):
            name, value = by_step
            more[name] = self.laid(where_active(value, np.nan) if self.padding == "none" else value)
        for name, value in scan.named_gradients.items():
            value = where_active(value, np.nan) if self.padding == "none" else value
            more[f"gradient of input {name}"] = self.laid(value)
        return {
            "outputs": self.laid(outputs),
            **{f"state {n}": s for n, s in zip(self.step.states, scan.states, strict=True)},
            **more,
            **{f"gradient of {n}": g for n, g in of_params.items()},
            **{
                f"gradient of initial {n}": g
                for n, g, given in zip(self.step.states, of_initial, self.initial, strict=True)
                if given is not None
            },
        }

    def forward(
        self, engine: Engine, threads: Threads, *, training: bool, shift: int = 0
    ) -> tuple[Answer, Array | None]:
        """Run the forward program on guarded arrays: its results, and the residuals of training."""
        operands = forward_operands(engine, self.recipe, self.shape, True, training)
        results = Results(self.dtype, shift)
        arrays = results.arrays(operands, self.operands())
        program = forward_program(
            engine, self.recipe, self.shape, outputs=True, training=training, threads=threads.most
        )
        run(program, operands, arrays, engine.dtype, threads)
        results.check()
        found = {n.replace("last state", "state"): results.made[n] for n in results.made if n != "residuals"}
        return found, results.made.get("residuals")

    def backward(self, engine: Engine, threads: Threads, residuals: Array) -> Answer:
        """Run the backward program on guarded arrays."""
        wanted, before = self.wanted(), residuals.copy()
        operands = backward_operands(engine, self.recipe, self.shape, wanted)
        results = Results(self.dtype)
        arrays = results.arrays(operands, self.operands() | {"residuals": residuals})
        program = backward_program(engine, self.recipe, self.shape, wanted, threads=threads.most)
        run(program, operands, arrays, engine.dtype, threads)
        results.check()
        assert np.array_equal(before, residuals), "the backward pass has written to its residuals"
        names = {f"weight {k}": name for k, name in enumerate(self.params)} | {
            "the table of vectors": "inputs"
        }
        found = {}
        for name, array in results.made.items():
            what = name.removeprefix("the gradient of ").replace("initial state", "initial")
            found[f"gradient of {names.get(what, what)}"] = array
        if self.padding == "none" and self.mask is not None and self.layout != "packed":
            own = "inputs" if self.tokens is None else "side features"
            for name in (own, *(f"input {name}" for name in self.named)):
                by_step = found.get(f"gradient of {name}")
                if by_step is not None:
                    rest = by_step[~self.laid(self.mask)]  # not written, or (no input is used) zero
                    assert (np.isnan(rest) | (rest == 0)).all()
                    by_step[~self.laid(self.mask)] = np.nan
        for name, state in zip(self.step.states, self.initial, strict=True):
            if state is None:
                found.pop(f"gradient of initial {name}", None)
        return found

    def run(
        self,
        on: str = "host",
        *,
        threads: int = 2,
        backward_threads: int | None = None,
        engine: Engine | None = None,
        executor: Executor | None = None,
    ) -> Answer:
        """The kernels' answer. No array may be overrun."""
        made = engine or ready(self.step, self.units, self.dtype, on, self.recipe.sizes)
        executor = executor or own_threads()
        answer, _ = self.forward(made, Threads(executor, threads), training=False)
        trained, residuals = self.forward(made, Threads(executor, threads), training=True)
        assert residuals is not None
        for key, array in trained.items():
            what, nan = f"{key}: inference and training differ", self.padding == "none"
            close(array, answer[key], LIMITS[self.dtype], what, nan=nan)
        return trained | self.backward(made, Threads(executor, backward_threads or threads), residuals)

    def rounding(self) -> dict[str, float]:
        """How far right answers may be apart: 1 - tanh(9)**2 has eight digits left in float64, and of what
        cancels out rounding is all that there is."""
        plain, others = self.reference(self.dtype), [self.reference(FINER[self.dtype])]
        for seed in range(2):
            with other_rounding(seed):
                others.append(self.reference(self.dtype))
        return {key: max(distance(value, other[key]) for other in others) for key, value in plain.items()}

    def check(self, on: str = "host", **options: Any) -> Answer:
        """Scan by both and compare; return the kernels' answer."""
        found = self.run(on, **options)
        expected = self.reference()
        assert found.keys() == expected.keys(), found.keys() ^ expected.keys()
        slack = dict.fromkeys(expected, 0.0)
        if _off(found, expected, LIMITS[self.dtype]):
            slack = self.rounding()
        for key, array in found.items():
            what, nan = f"{self.step.name}, {key}", self.padding == "none"
            close(array, expected[key], LIMITS[self.dtype], what, slack[key], nan=nan)
        return found


def size_of_residuals(made: Problem, engine: Engine) -> int:
    """How many bytes the residuals of a problem take."""
    shape = made.shape
    return int(residuals_size(engine, made.recipe, shape.batch, shape.time, shape.places))


def _off(found: Answer, expected: Answer, limit: float) -> bool:
    return any(not distance(found[k], expected[k]) <= limit * magnitude(expected[k]) for k in expected)


def problem(
    cell: Cell | Step,
    batch: int,
    time: int,
    features: int,
    units: int,
    dtype: str = "float64",
    *,
    seed: int = 0,
    sizes: Mapping[str, int] | None = None,
    **more: Any,
) -> Problem:
    """A random batch for a cell; `sizes`: those of other axes than units and features."""
    step = cell.step if isinstance(cell, Cell) else cell
    random = np.random.default_rng(seed)

    def some(*shape: int) -> Array:
        return random.standard_normal(shape).astype(dtype)

    known = {"units": units, "features": features, **(sizes or {})}

    def of(dims: Dims) -> tuple[int, ...]:
        return tuple(size_of(axis, known) for axis in dims)

    params = {}
    for name, dims in step.parameters.items():
        shape = of(dims)
        value = some(*shape) * (shape[1] ** -0.5 if len(shape) > 1 else 0.5)
        params[name] = np.asarray(value, dtype)
    rows = {"row_input": (batch,), "step_input": (batch, time)}
    extra = {(n.op, str(n.attributes[0])): some(*rows[n.op], *of(n.dims)) for n in step.nodes if n.op in rows}
    states = [of(step.dims_of(state)) for state in step.states]
    made = Problem(
        step, some(batch, time, features), params, [some(batch, *shape) for shape in states],
        some(batch, time, *states[0]), [some(batch, *shape) for shape in states], extra=extra,
        sizes={} if sizes is None else {"units": units, **sizes},
        named={name: some(batch, time, *of(dims)) for name, dims in step.inputs.items()},
    )  # fmt: skip
    return made.but(**more)


def ragged(lengths: Sequence[int], time: int, *, left: bool = False) -> Array:
    """The mask of lengths, padded on the right or on the left."""
    mask = np.arange(time) < np.asarray(lengths)[:, None]
    return mask[:, ::-1].copy() if left else mask
