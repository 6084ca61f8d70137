"""Recording the forward program of a batch."""

from __future__ import annotations

from typing import NamedTuple

from .._llvm import GROUP, STATUS
from .._native import Argument, Launches, Packing, Program, forward_sizes, support
from ._engine import Engine
from ._recipe import Recipe
from ._recording import Given, Recording
from ._schedule import Schedule, Window, pad_extra, padding_arguments
from ._shape import Shape

_RANKS = STATUS.index("ranks")
_DISTINCT_COUNT = GROUP.index("distinct_count")


class ForwardKey(NamedTuple):
    """What a forward program is recorded for; `windowed`: a window of so many steps, 0: all."""

    engine: Engine
    recipe: Recipe
    shape: Shape
    outputs: bool
    training: bool
    threads: int
    windowed: int


def record_forward(key: ForwardKey) -> Program:
    """Record the forward program; its operands are in the order that `_recipe` gives, behind the window's
    begin if there is a window."""
    if key.training and not key.shape.batch:
        raise ValueError("an empty batch has no residuals; nothing is to be run for it")
    return _Forward(key).record()


class _Forward(Recording):
    """A forward program being recorded."""

    def __init__(self, key: ForwardKey) -> None:
        engine, recipe, shape, outputs, training, threads, windowed = key
        self.ranks = 1 if training else engine.ranks(shape.batch, threads)
        super().__init__(
            engine, recipe, shape, "train" if training else "cooperative" if self.ranks > 1 else "infer"
        )
        self.training, self.windowed = training, windowed
        self.ring = 0 if training else self.layout.ring
        if recipe.tokens and shape.steps and not shape.vocabulary_size:
            raise IndexError("the embedding has no rows, so no token can choose one")
        step = recipe.step
        begin = self.operand(windowed)
        self.inputs = self.operand(step.takes_features) or Argument()
        self.tokens = self.operand(recipe.tokens)
        self.side = self.operand(recipe.side)
        named = self.leaves(("named_input", name) for name in step.inputs)
        self.active = self.operand(recipe.active != "all")
        self.initial = self.operands(recipe.initial for _ in step.states)
        self.extra = named | self.leaves(recipe.extra)
        self.weights = self.operands(True for _ in range(recipe.weights))
        self.outputs = self.operand(outputs)
        self.last = [self.recorder.operand() for _ in step.states]
        self.residuals = self.operand(training)
        self.tasks = engine.tasks(shape.steps, shape.batch, threads)
        window = Window(begin, windowed) if begin else None
        self.schedule = Schedule(
            self.recorder, engine, recipe, shape, window, tasks=self.tasks, residuals=self.residuals
        )
        self.groups = self.schedule.groups

    def record(self) -> Program:
        r, schedule = self.recorder, self.schedule
        first = r.phase()
        packed = self.pack(first, forward_sizes, Packing.forward)
        schedule.record(first.once[0], self.active, self.tokens)
        phase = r.phase(self.tasks)
        states = self._load(phase.each)
        arguments = self._arguments(phase.each, states, packed)
        if self.ranks > 1:
            barrier = r.workspace(8)
            first.once[0].launch(support("clear"), target=barrier, bytes=8, part=0, parts=1)
            cooperative = r.phase(self.ranks, cooperative=True)
            ranks = r.status.field(_RANKS)
            cooperative.each.launch(
                self.kernel, **arguments, rank=Argument(per_task=1), ranks=ranks, barrier=barrier
            )
            phase = r.phase(self.tasks)
        else:
            phase.each.launch(self.kernel, **arguments)
        self._store(phase.each, states)
        if self.residuals is not None:
            r.phase().once[0].launch(support("seal"), **self.held(self.residuals, self.windowed))
        return r.finish()

    def _load(self, each: Launches) -> Argument:
        """The groups' index, and the states that their rows begin with; returns where states lie."""
        schedule, bits = self.schedule, self.engine.bits
        schedule.index(each, self.tokens)
        row = self.layout.state_row * self.itemsize
        if self.training:
            states = self.groups.field("states")
        else:  # the states of two timesteps take turns, or there is one's
            states = self._workspace(self.layout.ring * schedule.rows * row)
        each.launch(support("clear_rows"), row=row, group=self.groups.header, target=states)
        for s, given in enumerate(self.initial):
            if given is not None:
                each.launch(
                    support(f"load_states{bits}"), **self.state_rows(states, s), source=given, copies=1
                )
        return states

    def _workspace(self, size: int) -> Argument:
        """Workspace of each task; ranks of one group share theirs."""
        return self.recorder.workspace(size, tasks=0 if self.ranks > 1 else self.tasks)

    def _arguments(self, each: Launches, states: Argument, packed: dict[str, Argument]) -> dict[str, Given]:
        engine, schedule, shape = self.engine, self.schedule, self.shape
        layout, size, field = self.layout, self.itemsize, self.groups.field
        chunk = layout.chunk(schedule.rows)
        by_token = self.tokens is not None and bool(layout.plan.projections)
        dense = not by_token or self.side is not None
        row = layout.projection_row * size
        projection = table = self._workspace(chunk * schedule.rows * row if dense else 0)
        if by_token:
            table = self._workspace(min(schedule.most_steps, shape.vocabulary_size) * row)
        extra = pad_extra(
            each, engine, self.recorder, self.groups, self.extra,
            most_steps=schedule.most_steps, tasks=0 if self.ranks > 1 else self.tasks,
        )  # fmt: skip
        if by_token:
            each.launch(
                engine.kernel("project"),
                inputs=self.inputs,
                features=shape.width,
                input_panel=packed["input_panel"],
                input_bias=packed["input_bias"],
                projection=table,
                source=field("distinct"),
                distinct_count=self.groups.header + 8 * _DISTINCT_COUNT,
            )
        scratch = self.ranks * schedule.rows * self.kernel.kernel.scratch * size
        return {
            **extra,
            **self.scan_arguments(packed, outputs=self.outputs is not None),
            # for each step its inputs, or side features, are projected onto where its projection starts: the
            # bias, or its token's projection
            "inputs": self.side or self.inputs,
            "features": shape.side or shape.width,
            "input_panel": packed["side_panel" if self.side else "input_panel"],
            "starts": table if by_token else packed["input_bias"],
            "start_row": layout.projection_row if by_token else 0,
            "projection": projection if dense else table,
            "chunk": chunk,
            "dense": int(dense),
            "ring": self.ring,
            "source": field("source" if by_token else "positions"),
            "states": states,
            "residuals": field("residuals") if self.training else 0,
            "scratch": self._workspace(scratch),
            "outputs": self.outputs or 0,
        }

    def _store(self, each: Launches, states: Argument) -> None:
        """What stands at steps that are not active, and the last states."""
        recipe, bits, width = self.recipe, self.engine.bits, self.layout.output
        if self.outputs is not None and recipe.masked:
            arguments = padding_arguments(
                self.recorder, recipe, self.shape, self.groups.header, self.schedule.mask, width
            )
            if recipe.padding == "zero":
                each.launch(support(f"blank{bits}"), **arguments, target=self.outputs)
            else:
                start = self.initial[0]
                each.launch(
                    support(f"repeat{bits}"),
                    **arguments,
                    start=start or 0,
                    start_row=width if start else 0,
                    outputs=self.outputs,
                )
        for s, target in enumerate(self.last):
            each.launch(
                support(f"store_states{bits}"),
                **self.state_rows(states, s),
                ring=self.ring,
                target=target,
            )
