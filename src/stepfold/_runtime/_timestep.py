"""One timestep of a batch on weights that are read where they lie.

Where a call is one timestep, packing the weights takes longer than their products. The backward program gives
the rows of which the gradients of matrices are made, so that a loop sums them all at once."""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .._llvm import STATUS, TIMESTEP_KERNELS, Timestep
from .._native import SLOTS, Argument, CompiledKernel, Program, Recorder, support
from .._plan import Place
from ._engine import Engine, engine_for
from ._programs import programs
from ._recipe import Recipe
from ._recording import check_weights
from ._shape import Shape

_RANKS = STATUS.index("ranks")
_SMALL = 2_500_000  # multiply-adds of a timestep from which a second thread, awake in a loop, saves time
_RANK = 250_000  # multiply-adds for which one more rank saves what it costs to wake a thread for a timestep


class MatrixGradient(NamedTuple):
    """What is added to `rows` rows of a weight's gradient, from `first` on: the sum over the rows of `terms`
    of the outer products of as many elements from `delta` on with `columns` elements from `operand` on."""

    weight: int
    first: int
    rows: int
    delta: int
    operand: int
    columns: int


class VectorGradient(NamedTuple):
    """What is added to `size` elements of a weight's gradient, from `first` on: the sum over all rows of as
    many elements from `begin` on; to a weight that is one number, the sum of these (`total`)."""

    weight: int
    first: int
    size: int
    begin: int
    total: bool


@dataclass(frozen=True)
class _Key:
    """What a program is recorded for; `initial`: whether states are given, `inputs`: whether the input's
    gradient is wanted."""

    timestep: OneTimestep
    kind: str
    batch: int
    initial: bool
    inputs: bool
    threads: int


class OneTimestep:
    """The kernels and programs of one timestep of a recipe that `serves`, with so many features of the
    input."""

    def __init__(self, engine: Engine, recipe: Recipe, features: int) -> None:
        step = recipe.step
        self.engine, self.states = engine, len(step.states)
        self._recipe, self._features = recipe, features
        sizes = {"features": features} | dict(recipe.sizes)
        shapes = step.parameter_shapes(units=recipe.units, **sizes)
        self._parts = dict(recipe.parts)
        pieces = {
            name: tuple((part.weight, (part.block or 0) * math.prod(shapes[name])) for part in parts)
            for name, parts in recipe.parts
        }
        self._of = Timestep(engine.layout, features, pieces, shapes)
        self._form = hashlib.sha256(repr(sorted(pieces.items())).encode()).hexdigest()[:16]

    @staticmethod
    def serves(recipe: Recipe) -> bool:
        """Whether a recipe is of a step whose one input has no name, whose states are vectors of the units
        and all of whose values are vectors and numbers; and each matrix is one block of rows of a weight."""
        step = recipe.step
        if step.inputs or step.output or recipe.extra or set(recipe.state_shapes) != {(recipe.units,)}:
            return False
        for name, parts in recipe.parts:
            if any(part.axis or part.row is not None or part.transposed for part in parts):
                return False
            if name in step.matrices and len(parts) != 1:
                return False
        return all(
            len(n.dims) < 2 or (n.op == "parameter" and n.attributes[0] in step.matrices) for n in step.nodes
        )

    def check(self, shapes: Sequence[tuple[int, ...]]) -> None:
        """ValueError unless the weights are of the shapes that the recipe says."""
        check_weights(self._recipe, Shape(1, 1, self._features, tuple(shapes)))

    # ---- sizes --------------------------------------------------------------------------------------------

    def saved(self, batch: int) -> int:
        """How many elements the forward pass saves for the backward pass."""
        return batch * self._of.saved(True)

    @property
    def terms_row(self) -> int:
        """How many elements a row of `terms` has, one row a row of the batch."""
        return self._of.terms_row

    @property
    def vector_row(self) -> int:
        """How many elements each task of the backward program sums itself."""
        return self._of.vector_row

    def tasks(self, batch: int, threads: int) -> int:
        """How many tasks the programs of a batch have."""
        return self.engine.tasks(batch, batch, threads, _SMALL)

    def _ranks(self, batch: int, threads: int) -> int:
        """How many threads are to share the one row of a batch of one."""
        work = sum(math.prod(shape) for shape in self._of.shapes.values() if len(shape) == 2)
        return min(self.engine.ranks(batch, threads), max(1, work // _RANK))

    # ---- gradients of parameters --------------------------------------------------------------------------

    @functools.cached_property
    def matrix_gradients(self) -> tuple[MatrixGradient, ...]:
        """What the gradients of matrices are made of."""
        layout, found = self.engine.layout, []
        for outer in layout.plan.outers:
            (part,) = self._parts[outer.matrix]
            size = layout.sizes.count(layout.plan.backward.slots["delta"][outer.delta])
            operand = self._of.terms[outer.operand], self._of.operand_width(outer.operand)
            place = part.weight, (part.block or 0) * size, size
            found.append(MatrixGradient(*place, layout.delta(outer.delta), *operand))
        return tuple(found)

    @functools.cached_property
    def column_sums(self) -> tuple[VectorGradient, ...]:
        """The gradients of vectors that are sums of the rows of `terms`."""
        layout = self.engine.layout
        deltas = layout.plan.backward.slots["delta"]
        return self._vectors(
            (name, layout.delta(delta), layout.sizes.count(deltas[delta]))
            for name, delta in layout.plan.column_sums
        )

    @functools.cached_property
    def vector_gradients(self) -> tuple[VectorGradient, ...]:
        """The gradients of vectors that are sums over the tasks."""
        layout = self.engine.layout
        dims = layout.plan.backward.slots["vector_gradient"]
        return self._vectors(
            (name, layout.backward.of(Place("vector_gradient", k)), layout.sizes.count(dims[k]))
            for k, name in enumerate(layout.plan.vector_gradients)
            if name in self._parts  # and not of a value that was made of parameters
        )

    def _vectors(self, places: Iterable[tuple[str, int, int]]) -> tuple[VectorGradient, ...]:
        return tuple(
            VectorGradient(part.weight, (part.block or 0) * size, size, begin, name in self._of.scalars)
            for name, begin, size in places
            for part in self._parts[name]
        )

    # ---- programs -----------------------------------------------------------------------------------------

    def forward(self, batch: int, *, initial: bool, training: bool, threads: int) -> Program:
        """Return the forward program. Operands: inputs (batch, features), the states before (batch, units)
        each if there are any, the weights; the states after; in training `saved`."""
        kind = "timestep_train" if training else "timestep"
        if not training and self._ranks(batch, threads) > 1:
            kind = "timestep_cooperative"
        key = _Key(self, kind, batch, initial, False, threads)
        return programs.get(key, lambda: self._record_forward(key))

    def backward(self, batch: int, *, initial: bool, inputs: bool, threads: int) -> Program:
        """Return the backward program. Operands: inputs, the weights, `saved`, the gradients of the states
        after, 0 for one that there is none of; the input's gradient if it is wanted, the gradients of the
        states before if there were any, `terms` (batch, terms_row), the vector gradients (tasks,
        vector_row)."""
        key = _Key(self, "timestep_backward", batch, initial, inputs, threads)
        return programs.get(key, lambda: self._record_backward(key))

    def _kernel(self, kind: str) -> CompiledKernel:
        name = f"{kind} {self._features} {self._form}"
        return self.engine.kernel(name, lambda: TIMESTEP_KERNELS[kind](self._of))

    def _memory(self, recorder: Recorder, elements: int, tasks: int = 0) -> Argument:
        return recorder.workspace(elements * self.engine.itemsize, tasks=tasks)

    def _record_forward(self, key: _Key) -> Program:
        r, layout, batch = Recorder(), self.engine.layout, key.batch
        kernel, training = self._kernel(key.kind), key.kind == "timestep_train"
        inputs = r.operand()
        states = _operands(r, self.states if key.initial else 0)
        weights, results = _operands(r, self._recipe.weights), _operands(r, self.states)
        saved = r.operand() if training else self._memory(r, batch * self._of.saved(False))
        cooperative = key.kind == "timestep_cooperative"
        ranks = self._ranks(batch, key.threads) if cooperative else 1
        tasks = ranks if cooperative else self.tasks(batch, key.threads)
        own = 0 if cooperative else tasks  # what ranks share is one
        rows = -(-batch // tasks) if not cooperative else batch
        arguments: dict[str, Any] = {
            "batch": batch,
            "parts": tasks,
            "inputs": inputs,
            "states": states,
            "weights": weights,
            "results": results,
            "saved": saved,
            "scratch": self._memory(r, ranks * rows * kernel.kernel.scratch, own),
            "vectors": self._memory(r, layout.forward.row("vector"), tasks),
            "projection": self._memory(r, rows * layout.projection_row, own),
        }
        if not cooperative:
            phase = r.phase(tasks)
            for task, launches in enumerate(phase.once):
                launches.launch(kernel, **arguments, part=task)
            return r.finish()
        barrier = r.workspace(8)
        r.phase().once[0].launch(support("clear"), target=barrier, bytes=8, part=0, parts=1)
        r.phase(ranks, cooperative=True).each.launch(
            kernel,
            **arguments,
            part=0,
            rank=Argument(per_task=1),
            ranks=r.status.field(_RANKS),
            barrier=barrier,
        )
        return r.finish()

    def _record_backward(self, key: _Key) -> Program:
        r, layout, batch = Recorder(), self.engine.layout, key.batch
        kernel = self._kernel(key.kind)
        inputs, weights, saved = r.operand(), _operands(r, self._recipe.weights), r.operand()
        arriving = _operands(r, self.states)
        to_inputs = r.operand() if key.inputs else Argument()
        results = _operands(r, self.states if key.initial else 0)
        terms, vector_gradients = r.operand(), r.operand()
        tasks = self.tasks(batch, key.threads)
        rows = -(-batch // tasks)
        arguments: dict[str, Any] = {
            "batch": batch,
            "parts": tasks,
            "inputs": inputs,
            "weights": weights,
            "saved": saved,
            "arriving": arriving,
            "inputs_gradient": to_inputs,
            "results": results,
            "terms": terms,
            "vector_gradients": vector_gradients,
            "scratch": self._memory(r, rows * kernel.kernel.scratch, tasks),
            "vectors": self._memory(r, layout.backward.row("vector"), tasks),
            "cotangents": self._memory(r, 2 * rows * layout.state_row, tasks),
        }
        for task, launches in enumerate(r.phase(tasks).once):
            launches.launch(kernel, **arguments, part=task)
        return r.finish()


def _operands(recorder: Recorder, count: int) -> Argument:
    """Take so many operands; returns where their addresses lie side by side, null for none."""
    found: Sequence[Argument] = [recorder.operand() for _ in range(count)]
    return SLOTS + 8 * found[0].slot if found else Argument()


@functools.lru_cache(maxsize=256)
def one_timestep(recipe: Recipe, features: int, dtype: np.dtype[Any]) -> OneTimestep:
    """Return the kernels of one timestep, made once."""
    engine = engine_for(recipe.step, recipe.units, dtype, recipe.sizes)
    return OneTimestep(engine, recipe, features)
