"""Recording the backward program of a batch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from .._llvm import GROUP, STATUS
from .._native import Argument, Launches, Packing, Program, backward_sizes, support
from ._engine import Engine
from ._recipe import Recipe
from ._recording import Given, Recording
from ._residuals import mask_of
from ._schedule import Groups, pad_extra, padding_arguments, row_stride
from ._shape import MOST_ROWS, Shape

_ARRIVING, _DISTINCT_COUNT = STATUS.index("arriving"), GROUP.index("distinct_count")


@dataclass(frozen=True)
class Wanted:
    """Which gradients there are: those that arrive, of `outputs` and of each of the `last` states, and those
    that are asked for, of the `inputs`, of each of the `weights`, of the `side` features, of each of the
    `named` inputs, () for none of them (those of initial states always)."""

    outputs: bool
    last: tuple[bool, ...]
    inputs: bool
    weights: tuple[bool, ...]
    side: bool = False
    named: tuple[bool, ...] = ()


class BackwardKey(NamedTuple):
    """What a backward program is recorded for; `windowed`: the residuals are of a window of so many steps."""

    engine: Engine
    recipe: Recipe
    shape: Shape
    wanted: Wanted
    threads: int
    windowed: int


def record_backward(key: BackwardKey) -> Program:
    """Record the backward program; its operands are in the order that `_recipe` gives."""
    if not key.shape.batch:
        raise ValueError("an empty batch has no residuals; nothing is to be run for it")
    return _Backward(key).record()


class _ByStep(NamedTuple):
    """An operand with features for each step, the packed weights that they meet, and their gradient."""

    inputs: Argument
    features: int
    panel: str
    gradient: Argument | None


class _Backward(Recording):
    """A backward program being recorded."""

    def __init__(self, key: BackwardKey) -> None:
        engine, recipe, shape, wanted, threads, windowed = key
        super().__init__(engine, recipe, shape, "backward")
        self.windowed, self.limit = windowed, windowed or shape.time
        step = recipe.step
        self.inputs = self.operand(step.takes_features) or Argument()
        self.side = self.operand(recipe.side)
        named = self.leaves(("named_input", name) for name in step.inputs)
        self.extra = named | self.leaves(recipe.extra)
        self.weights = self.operands(True for _ in range(recipe.weights))
        self.residuals = self.recorder.operand()
        self.output_gradient = self.operand(wanted.outputs)
        self.last_gradients = self.operands(wanted.last)
        self.inputs_gradient = self.operand(wanted.inputs and step.takes_features)
        self.side_gradient = self.operand(wanted.side)
        wishes = wanted.named or (False,) * len(step.inputs)
        self.named_gradients = dict(zip(step.inputs, self.operands(wishes), strict=True))
        self.initial_gradients = self.operands(recipe.initial for _ in step.states)
        self.weights_gradients = self.operands(wanted.weights)
        self.tasks = engine.tasks(shape.held(windowed).steps, shape.batch, threads)
        self.groups = Groups(self.recorder, shape.most_groups)
        self.rows = min(shape.batch, MOST_ROWS)
        self.most_steps = min(self.rows * self.limit, shape.steps)
        gathers = recipe.masked and recipe.padding == "repeat" and self.output_gradient is not None
        size = shape.steps * self.layout.output * self.itemsize
        self.gathered = self.recorder.workspace(size) if gathers else None
        self.by_token = recipe.tokens and bool(engine.plan.input_deltas)

    def record(self) -> Program:
        r, size = self.recorder, self.layout.sums_size(self.shape.features)
        first = r.phase()
        packed = self.pack(first, backward_sizes, Packing.backward)
        sums = r.workspace(size * self.itemsize, tasks=self.tasks)
        row_gradients = self._row_gradients()
        self._open(first.once[0], row_gradients)
        phase = r.phase(self.tasks)
        for task, launches in enumerate(phase.once):
            self._clear(launches, task, sums)
        self._group(phase.each, packed, sums)
        last = r.phase()
        if row_gradients is not None:
            last.each.launch(
                support(f"add_rows{self.engine.bits}"),
                width=self.shape.width,
                group=self.groups.header,
                target=self.inputs_gradient or 0,
            )
        packing = Packing(self.engine.dtype)
        names = [f"sums {task}" for task in range(self.tasks)]
        for task, name in enumerate(names):
            packing.add(name, Argument(sums.slot, sums.offset + task * sums.per_task), size)
        targets = self.pieces(packing, self.weights_gradients)
        self.copy(last, packing, packing.gradients(self.layout, self.shape.features, names, targets))
        return r.finish()

    def _row_gradients(self) -> Argument | None:
        """Memory for the gradients of each group's distinct tokens."""
        if not self.by_token or self.inputs_gradient is None:
            return None
        rows = min(self.shape.steps, self.shape.most_groups * self.shape.vocabulary_size)
        return self.recorder.workspace(rows * self.shape.width * self.itemsize)

    @property
    def _by_step(self) -> _ByStep:
        """What of the input is given for each step."""
        if self.side is not None:
            return _ByStep(self.side, self.shape.side, "side_panel", self.side_gradient)
        gradient = None if self.recipe.tokens else self.inputs_gradient
        return _ByStep(self.inputs, self.shape.width, "input_panel", gradient)

    def _open(self, launches: Launches, row_gradients: Argument | None) -> None:
        launches.launch(
            support("open"),
            **self.held(self.residuals, self.windowed),
            groups_most=self.shape.most_groups,
            gradient_row=self.shape.width * self.itemsize if row_gradients else 0,
            row_gradients=row_gradients or 0,
            output_gradient=self.output_gradient or 0,
            gathered=self.gathered or self.output_gradient or 0,
        )

    def _clear(self, launches: Launches, task: int, sums: Argument) -> None:
        """What a task does once: its sums, and its part of what is added to or not written at all."""
        engine, shape, clear = self.engine, self.shape, support("clear")
        size = self.layout.sums_size(shape.features) * engine.itemsize
        launches.launch(clear, target=sums, bytes=size, part=0, parts=1)
        unused = not engine.plan.input_deltas
        rows = shape.vocabulary_size if self.recipe.tokens else shape.steps
        computed = engine.plan.input_gradients
        for gradient, size, needed in (
            (self.inputs_gradient, rows * shape.width, self.by_token or unused),
            (self.side_gradient, shape.steps * shape.side, unused),
            *(
                (gradient, shape.steps * math.prod(self.recipe.named_shapes[name]), name not in computed)
                for name, gradient in self.named_gradients.items()
            ),
        ):
            if gradient is not None and needed:
                size *= engine.itemsize
                launches.launch(clear, target=gradient, bytes=size, part=task, parts=self.tasks)

    def _group(self, each: Launches, packed: dict[str, Argument], sums: Argument) -> None:
        bits, layout, size, group = self.engine.bits, self.layout, self.itemsize, self.groups.header
        mask = mask_of(self.residuals)
        each.launch(
            support("check_group"),
            batch=self.shape.batch,
            places=self.shape.steps,
            row_stride=row_stride(self.recipe, self.shape),
            vocabulary_size=self.shape.vocabulary_size,
            status=self.recorder.status,
            group=group,
        )
        if self.gathered is not None:
            start = self.initial_gradients[0]
            spare = self.recorder.workspace(self.shape.batch * layout.output * size)
            each.launch(
                support(f"gather{bits}"),
                **padding_arguments(self.recorder, self.recipe, self.shape, group, mask, layout.output),
                gradient=self.output_gradient or 0,
                gathered=self.gathered,
                start=start or spare,
            )
        by_step = self._by_step
        written = [(by_step.gradient, by_step.features)]
        for name, gradient in self.named_gradients.items():
            written.append((gradient, math.prod(self.recipe.named_shapes[name])))
        for gradient, width in written:
            if self.recipe.masked and gradient is not None:
                each.launch(
                    support(f"blank{bits}"),
                    **padding_arguments(self.recorder, self.recipe, self.shape, group, mask, width),
                    target=gradient,
                )
        copies, row = layout.cotangents, layout.state_row * size
        cotangents = self.recorder.workspace(copies * self.rows * row, tasks=self.tasks)
        each.launch(support("clear_rows"), row=copies * row, group=group, target=cotangents)
        for s, given in enumerate(self.last_gradients):
            if given is not None:
                # of two halves either may be where a row ends, at an odd or an even timestep
                each.launch(
                    support(f"load_states{bits}"),
                    **self.state_rows(cotangents, s),
                    source=given,
                    copies=copies,
                )
        self._launch(each, packed, sums, cotangents)
        for s, target in enumerate(self.initial_gradients):
            if target is not None:
                each.launch(
                    support(f"store_gradient{bits}"),
                    **self.state_rows(cotangents, s),
                    accumulate=self._gathered_here() if s == 0 else 0,
                    target=target,
                )

    def _gathered_here(self) -> Given:
        """Whether `gather` has written the gradient of the initial state: not where every step is active."""
        if self.gathered is None:
            return 0
        return self.recorder.status.field(STATUS.index("partial"))

    def _launch(
        self, each: Launches, packed: dict[str, Argument], sums: Argument, cotangents: Argument
    ) -> None:
        engine, shape, recorder, tasks = self.engine, self.shape, self.recorder, self.tasks
        layout, size, field = self.layout, self.itemsize, self.groups.field
        expected = -(-shape.batch // max(1, shape.groups(tasks)))
        chunk = layout.chunk(expected)
        rows = chunk * self.rows
        distinct = min(self.most_steps, shape.vocabulary_size)
        named: dict[str, Given] = {
            f"named_gradient{k}": self.named_gradients[name] or 0
            for k, name in enumerate(engine.plan.input_gradients)
        }
        named["input_gradients"] = recorder.workspace(rows * layout.input_gradient_row * size, tasks=tasks)
        table = recorder.workspace(distinct * layout.delta_row * size, tasks=tasks) if self.by_token else None
        extra = pad_extra(
            each, engine, recorder, self.groups, self.extra, most_steps=self.most_steps, tasks=tasks
        )
        into = {name: sums + begin * size for name, begin in layout.sums.items()}
        gradient: Given = 0
        if self.output_gradient is not None:
            gradient = recorder.status.field(_ARRIVING)
        common: dict[str, Given] = {"packed": recorder.workspace(layout.packed_size * size, tasks=tasks)}
        by_step = self._by_step
        row = layout.input_deltas * size
        behind = into["kernel_gradients"] + shape.width * row
        if table is not None:
            each.launch(
                support("clear_distinct"), row=layout.delta_row * size, group=self.groups.header, target=table
            )
        each.launch(
            self.kernel,
            **common,
            **extra,
            **named,
            **self.scan_arguments(packed, outputs=self.output_gradient is not None),
            **(into | {"kernel_gradients": behind} if self.side is not None else into),
            inputs=by_step.inputs,
            features=by_step.features,
            input_panel=packed[by_step.panel],
            chunk=chunk,
            dense=int(table is None or self.side is not None),
            source=field("positions" if table is None else "source"),
            states=field("states"),
            residuals=field("residuals"),
            scratch=recorder.workspace(self.rows * self.kernel.kernel.scratch * size, tasks=tasks),
            previous=field("previous"),
            cotangents=cotangents,
            output_gradient=gradient,
            deltas=recorder.workspace(rows * layout.delta_row * size, tasks=tasks),
            operands=recorder.workspace(rows * layout.operand_row * size, tasks=tasks),
            inputs_gradient=by_step.gradient or 0,
            table_gradient=table or 0,
        )
        if table is not None:
            each.launch(
                engine.kernel("table"),
                **common,
                **into,
                inputs=self.inputs,
                features=shape.width,
                input_panel=packed["input_panel"],
                source=field("distinct"),
                distinct_count=self.groups.header + 8 * _DISTINCT_COUNT,
                deltas=table,
                inputs_gradient=field("row_gradients") if self.inputs_gradient is not None else 0,
            )
