"""Recording the forward program of a batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from .._dims import size_of
from .._llvm import GROUP, STATUS
from .._native import (
    Argument,
    Copy,
    Launches,
    Packing,
    Phase,
    Pieces,
    Program,
    Recorder,
    forward_sizes,
    sources_of,
    support,
)
from ._engine import Engine
from ._recipe import Recipe
from ._residuals import expected_header, headers_of
from ._schedule import Schedule, Window, pad_extra, padding_arguments
from ._shape import Shape

_RANKS = STATUS.index("ranks")
_DISTINCT_COUNT = GROUP.index("distinct_count")
Given = int | Argument


def pieces_of(recipe: Recipe, packing: Packing, weights: list[Argument | None], shape: Shape) -> Pieces:
    """The pieces of each parameter as views of the weights, which become arrays of the packing (None: not
    there)."""
    check_weights(recipe, shape)
    forms = [
        None if at is None else packing.add(f"weight {k}", at, shape.weights[k])
        for k, at in enumerate(weights)
    ]
    return {
        name: [
            (f"weight {part.weight}", part.of(forms[part.weight], recipe.block(name, part)))
            for part in parts
            if forms[part.weight] is not None
        ]
        for name, parts in recipe.parts
    }


def check_weights(recipe: Recipe, shape: Shape) -> None:
    """ValueError unless each piece of a weight has the shape of the parameter that it is a piece of."""
    if len(shape.weights) != recipe.weights:
        raise ValueError(f"there are {len(shape.weights)} weights, the recipe has {recipe.weights}")
    compiled = dict(recipe.sizes).get("features", shape.features)
    if recipe.step.takes_features and shape.features != compiled:
        raise ValueError(f"there are {shape.features} features, the recipe has {compiled}")
    forms = [np.broadcast_to(0, of) for of in shape.weights]
    sizes = {"features": shape.features, "units": recipe.units, **dict(recipe.sizes)}
    for name, parts in recipe.parts:
        expected = tuple(size_of(axis, sizes) for axis in recipe.step.parameters[name])
        for part in parts:
            try:
                found = part.of(forms[part.weight], recipe.block(name, part)).shape
            except IndexError:
                found = None
            if found != expected:
                given = shape.weights[part.weight] if part.weight < recipe.weights else None
                raise ValueError(
                    f"weight {part.weight} has shape {given}, but {part} of it should be parameter {name!r} "
                    f"of shape {expected}"
                )


def record_packing(
    recorder: Recorder, first: Phase, packing: Packing, copies: Iterator[Copy], tasks: int
) -> None:
    """Add copies to the first phase, or, if they are many, to a phase of their own."""
    plan = packing.plan(copies)
    mine = plan.tasks(tasks)
    plan.record(first if mine == 1 else recorder.phase(mine))


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


class _Forward:
    """A forward program being recorded."""

    def __init__(self, key: ForwardKey) -> None:
        engine, recipe, shape, outputs, training, threads, windowed = key
        self.engine, self.recipe, self.shape, self.training = engine, recipe, shape, training
        if recipe.tokens and shape.steps and not shape.vocabulary_size:
            raise IndexError("the embedding has no rows, so no token can choose one")
        self.recorder = r = Recorder()
        step = recipe.step
        window = Window(r.operand(), windowed) if windowed else None
        self.inputs = r.operand() if step.takes_features else Argument()
        self.tokens = r.operand() if recipe.tokens else None
        self.side = r.operand() if recipe.side else None
        named = {("named_input", name): r.operand() for name in step.inputs}
        self.active = r.operand() if recipe.active != "all" else None
        self.initial = [r.operand() if recipe.initial else None for _ in step.states]
        self.extra = named | {leaf: r.operand() for leaf in recipe.extra}
        self.weights: list[Argument | None] = [r.operand() for _ in range(recipe.weights)]
        self.outputs = r.operand() if outputs else None
        self.last = [r.operand() for _ in step.states]
        self.residuals = r.operand() if training else None
        self.tasks = engine.tasks(shape.steps, shape.batch, threads)
        self.ranks = 1 if training else engine.ranks(shape.batch, threads)
        kind = "train" if training else "cooperative" if self.ranks > 1 else "infer"
        self.kernel = engine.kernel(kind)
        self.windowed = windowed
        self.schedule = Schedule(r, engine, recipe, shape, window, tasks=self.tasks, residuals=self.residuals)

    def record(self) -> Program:
        r, schedule = self.recorder, self.schedule
        first = r.phase()
        packed = self._pack(first)
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
        if self.training:
            self._seal(r.phase().once[0])
        return r.finish()

    def _pack(self, first: Phase) -> dict[str, Argument]:
        engine, sources = self.engine, sources_of(self.shape.features, self.shape.side)
        packing = Packing(engine.dtype)
        kernel = self.kernel.kernel
        packed = packing.reserve(self.recorder, forward_sizes(engine.layout, kernel, sources))
        params = pieces_of(self.recipe, packing, self.weights, self.shape)
        copies = packing.forward(engine.layout, kernel, sources, params)
        record_packing(self.recorder, first, packing, copies, self.tasks)
        return packed

    def _load(self, each: Launches) -> Argument:
        """The groups' index, and the states that their rows begin with; returns where states lie."""
        engine, schedule = self.engine, self.schedule
        layout, size = engine.layout, engine.itemsize
        schedule.index(each, self.tokens)
        row = layout.state_row * size
        if self.training:
            states = schedule.groups.field("states")
        else:  # the states of two timesteps take turns
            states = self._workspace(2 * schedule.rows * row)
        each.launch(support("clear_rows"), row=row, group=schedule.groups.header, target=states)
        for s, given in enumerate(self.initial):
            if given is not None:
                each.launch(
                    support(f"load_states{engine.bits}"), **self._rows(states, s), source=given, copies=1
                )
        return states

    def _rows(self, states: Argument, number: int) -> dict[str, Given]:
        layout = self.engine.layout
        begin, (count, width, stride) = layout.states[number]
        return {
            "width": width,
            "pieces": count,
            "piece_stride": stride,
            "state_row": layout.state_row,
            "group": self.schedule.groups.header,
            "states": states + begin * self.engine.itemsize,
        }

    def _workspace(self, size: int) -> Argument:
        """Workspace of each task; ranks of one group share theirs."""
        return self.recorder.workspace(size, tasks=0 if self.ranks > 1 else self.tasks)

    def _arguments(self, each: Launches, states: Argument, packed: dict[str, Argument]) -> dict[str, Given]:
        engine, recipe, schedule, shape = self.engine, self.recipe, self.schedule, self.shape
        layout, size, field = engine.layout, engine.itemsize, schedule.groups.field
        chunk = layout.chunk(schedule.rows)
        by_token = self.tokens is not None and bool(layout.plan.projections)
        dense = not by_token or self.side is not None
        row = layout.projection_row * size
        projection = table = self._workspace(chunk * schedule.rows * row if dense else 0)
        if by_token:
            table = self._workspace(min(schedule.most_steps, shape.vocabulary_size) * row)
        extra = pad_extra(
            each, engine, self.recorder, schedule.groups, self.extra,
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
                distinct_count=schedule.groups.header + 8 * _DISTINCT_COUNT,
            )
        scratch = self.ranks * schedule.rows * self.kernel.kernel.scratch * size
        shares = self.outputs is not None and recipe.shares
        return {
            **extra,
            # for each step its inputs, or side features, are projected onto where its projection starts: the
            # bias, or its token's projection
            "inputs": self.side or self.inputs,
            "features": shape.side or shape.width,
            "input_panel": packed["side_panel" if self.side else "input_panel"],
            "starts": table if by_token else packed["input_bias"],
            "start_row": layout.projection_row if by_token else 0,
            "projection": projection if dense else table,
            "steps": field("steps"),
            "rows": field("rows"),
            "chunk": chunk,
            "dense": int(dense),
            "row_stride": schedule.row_stride,
            "ring": int(not self.training),
            "offsets": field("offsets"),
            "slots": field("slots"),
            "source": field("source" if by_token else "positions"),
            "target": field("positions"),
            "row_numbers": field("row_numbers"),
            "prefix_offsets": field("prefix_offsets") if shares else 0,
            "panels": packed["panels"],
            "vectors": packed["vectors"],
            "states": states,
            "residuals": field("residuals") if self.training else 0,
            "scratch": self._workspace(scratch),
            "outputs": self.outputs or 0,
        }

    def _store(self, each: Launches, states: Argument) -> None:
        """What stands at steps that are not active, and the last states."""
        engine, recipe, schedule = self.engine, self.recipe, self.schedule
        bits, group = engine.bits, schedule.groups.header
        if self.outputs is not None and recipe.masked:
            arguments = padding_arguments(
                self.recorder, recipe, self.shape, group, schedule.mask, engine.layout.output
            )
            if recipe.padding == "zero":
                each.launch(support(f"blank{bits}"), **arguments, target=self.outputs)
            else:
                start = self.initial[0]
                each.launch(
                    support(f"repeat{bits}"),
                    **arguments,
                    start=start or 0,
                    start_row=engine.layout.output if start else 0,
                    outputs=self.outputs,
                )
        for s, target in enumerate(self.last):
            each.launch(
                support(f"store_states{bits}"),
                **self._rows(states, s),
                ring=int(not self.training),
                target=target,
            )

    def _seal(self, launches: Launches) -> None:
        held = self.shape.held(self.windowed)
        assert self.residuals is not None
        launches.launch(
            support("seal"),
            **expected_header(self.engine, self.recipe, held),
            status=self.recorder.status,
            headers=self.schedule.groups.headers,
            residuals=self.residuals,
            held_headers=headers_of(self.recipe, held, self.residuals),
        )
