"""Recording how a batch is laid out: active steps, shared prefixes, groups of rows."""

from __future__ import annotations

from dataclasses import dataclass

from .._llvm import GROUP, GROUP_WORDS
from .._native import Argument, Launches, Recorder, support
from ._engine import Engine
from ._recipe import Recipe
from ._residuals import Regions, indexed, mask_of, regions
from ._shape import MOST_ROWS, Shape

_NULL = Argument()
_WORDS = 8 * GROUP_WORDS


@dataclass(frozen=True)
class Window:
    """The active steps of each row that a program takes: `limit` of them from the `begin`-th on."""

    begin: Argument
    limit: int


class Groups:
    """The headers of a batch's groups of rows: their fields as arguments of launches for each group."""

    def __init__(self, recorder: Recorder, most: int) -> None:
        self.headers = recorder.workspace(most * _WORDS)
        self.header = Argument(self.headers.slot, self.headers.offset, per_group=_WORDS)

    def field(self, name: str) -> Argument:
        """A field of the header of the group that is run."""
        return self.header.field(GROUP.index(name))


class Schedule:
    """The part of a forward program that finds out which row is active when, and cuts the batch into
    groups."""

    def __init__(
        self,
        recorder: Recorder,
        engine: Engine,
        recipe: Recipe,
        shape: Shape,
        window: Window | None,
        *,
        tasks: int,
        residuals: Argument | None,
    ) -> None:
        self.recorder, self.engine, self.recipe, self.shape = recorder, engine, recipe, shape
        self.window = window or Window(Argument(), shape.time)
        rows = engine.rows if residuals is None else MOST_ROWS
        self.tasks, self.count = tasks, shape.groups(tasks, rows)
        self.regions: Regions | None = None
        if residuals is not None:
            held = shape.held(self.window.limit if window else 0)
            self.regions = regions(engine, recipe, held, self.count, residuals)
        self.rows = -(-shape.batch // max(1, self.count))
        self.groups = Groups(recorder, self.count)
        words = 8
        batch, time = shape.batch * words, shape.time * words
        self.lengths, self.counts = recorder.workspace(batch), recorder.workspace(batch)
        self.order, self.sorted_counts = recorder.workspace(batch), recorder.workspace(batch)
        self.starts = recorder.workspace((shape.time + 2) * words)
        self.time_offsets = recorder.workspace(time)
        masked = recipe.active == "mask"
        self.active_times = recorder.workspace(batch * shape.time) if masked else _NULL
        self.mask = self._mask(recorder, residuals)

    def _mask(self, recorder: Recorder, residuals: Argument | None) -> Argument:
        if self.recipe.masked and residuals is not None:
            return mask_of(residuals)
        if self.recipe.masked or self.recipe.active == "mask":
            return recorder.workspace(self.shape.batch * self.shape.time)
        return _NULL

    @property
    def time_stride(self) -> int:
        """How many places lie from one timestep to the next; a packed batch has no such number."""
        return self.shape.batch if self.recipe.time_major else 1

    @property
    def most_steps(self) -> int:
        """How many active steps a group can have, at most."""
        return min(self.rows * self.window.limit, self.shape.steps)

    def record(self, launches: Launches, active: Argument | None, tokens: Argument | None) -> None:
        """Add what is done once for the batch; `active` is the operand that says which steps are active."""
        recipe, shape, recorder = self.recipe, self.shape, self.recorder
        common: dict[str, Argument | int] = {
            "batch": shape.batch,
            "time": shape.time,
            "begin": self.window.begin,
            "limit": self.window.limit,
            "status": recorder.status,
            "lengths": self.lengths,
            "counts": self.counts,
            "time_offsets": self.time_offsets,
            "time_stride": self.time_stride,
            "reverse": int(recipe.reverse),
            "clean_mask": self.mask,
            "active_times": self.active_times,
            "places": shape.places or 0,
        }
        kernel, operand = _KINDS[recipe.active]
        if operand:
            common[operand] = active or _NULL
        launches.launch(support(kernel), **common)
        launches.launch(
            support("sort"),
            batch=shape.batch,
            limit=self.window.limit,
            counts=self.counts,
            rows=self.order,
            sorted_counts=self.sorted_counts,
            starts=self.starts,
        )
        step_offsets = _NULL
        if recipe.shares and tokens is not None:
            step_offsets = self._share(launches, tokens)
        self._partition(launches, step_offsets)

    def _share(self, launches: Launches, tokens: Argument) -> Argument:
        shape, words = self.shape, 8
        arrays = {name: self.recorder.workspace(shape.batch * words) for name in _SHARE_WORKSPACE}
        offsets = self.recorder.workspace(shape.time * words) if self.regions is None else None
        step_offsets = offsets or self.regions.step_offsets  # type: ignore[union-attr]
        launches.launch(
            support(f"share{shape.token_bits}"),
            batch=shape.batch,
            time=shape.time,
            row_stride=row_stride(self.recipe, self.shape),
            reverse=int(self.recipe.reverse),
            vocabulary_size=shape.vocabulary_size,
            status=self.recorder.status,
            tokens=tokens,
            time_offsets=self.time_offsets,
            step_offsets=step_offsets,
            rows=self.order,
            sorted_counts=self.sorted_counts,
            index=self.recorder.workspace(4 * shape.vocabulary_size),
            starts=self.starts,
            **arrays,
        )
        return step_offsets

    def _partition(self, launches: Launches, step_offsets: Argument) -> None:
        shape, engine, recorder, regions = self.shape, self.engine, self.recorder, self.regions
        layout, size = engine.layout, engine.itemsize
        stride = 0
        rows = 8 * (shape.batch + self.count)
        if regions is None:
            stride = 8 * (2 * (self.window.limit + 1) + self.most_steps * indexed(self.recipe.tokens))
            arena = recorder.workspace(stride, tasks=self.tasks)
            stride = arena.per_task
        launches.launch(
            support("partition"),
            batch=shape.batch,
            groups=self.count,
            time=self.window.limit,
            vocabulary_size=shape.vocabulary_size,
            tasks=self.tasks,
            arena_stride=stride,
            state_row=layout.state_row * size if regions else 0,
            residual_row=layout.residual_row * size if regions else 0,
            status=recorder.status,
            rows=self.order,
            sorted_counts=self.sorted_counts,
            headers=self.groups.headers,
            group_rows=regions.group_rows if regions else recorder.workspace(rows),
            group_counts=regions.group_counts if regions else recorder.workspace(rows),
            step_offsets=step_offsets,
            arena=regions.arena if regions else Argument(arena.slot, arena.offset),
            states=regions.states if regions else _NULL,
            residuals=regions.values if regions else _NULL,
        )

    def index(self, launches: Launches, tokens: Argument | None) -> None:
        """Add what is done for each group: its index arrays, its distinct tokens."""
        launches.launch(
            support("index"),
            time=self.shape.time,
            begin=self.window.begin,
            row_stride=row_stride(self.recipe, self.shape),
            reverse=int(self.recipe.reverse),
            group=self.groups.header,
            lengths=self.lengths,
            time_offsets=self.time_offsets,
            active_times=self.active_times,
        )
        if tokens is not None:
            index = self.recorder.workspace(4 * self.shape.vocabulary_size, tasks=self.tasks)
            launches.launch(
                support(f"distinct{self.shape.token_bits}"),
                vocabulary_size=self.shape.vocabulary_size,
                status=self.recorder.status,
                group=self.groups.header,
                tokens=tokens,
                index=index,
            )


_KINDS = {
    "all": ("whole", ""),
    "lengths": ("lengths", "given_lengths"),
    "mask": ("mask", "mask"),
    "packed": ("packed", "batch_sizes"),
}
_SHARE_WORKSPACE = ("leaders", "totals", "longest", "depths")


def row_stride(recipe: Recipe, shape: Shape) -> int:
    """How many places lie from one row to the next at the same timestep."""
    return 1 if recipe.time_major or recipe.active == "packed" else shape.time


def padding_arguments(
    recorder: Recorder, recipe: Recipe, shape: Shape, group: Argument, mask: Argument, width: int
) -> dict[str, Argument | int]:
    """The arguments of the kernels for what stands at steps that are not active."""
    return {
        "time": shape.time,
        "width": width,
        "row_stride": row_stride(recipe, shape),
        "time_stride": shape.batch if recipe.time_major else 1,
        "reverse": int(recipe.reverse),
        "status": recorder.status,
        "group": group,
        "mask": mask,
    }


def pad_extra(
    launches: Launches,
    engine: Engine,
    recorder: Recorder,
    groups: Groups,
    operands: dict[tuple[str, str], Argument],
    *,
    most_steps: int,
    tasks: int,
) -> dict[str, Argument | int]:
    """Add copies of the inputs with a name and of what transforms of the step ask for, vectors a row and
    vectors a step, as the kernels read them; returns the kernels' arguments."""
    layout, size = engine.layout, engine.itemsize
    found: dict[str, Argument | int] = {"row_inputs": 0, "step_inputs": 0}
    plan = layout.plan
    named = [("named_input", name) for name in plan.step.inputs]
    by_step = named + [("step_input", name) for name in plan.step_inputs]
    by_row = [("row_input", name) for name in plan.row_inputs]
    for leaves, array, row, count, numbers, most in (
        (by_row, "row_inputs", layout.forward.row("row_input"), "rows", "row_numbers", MOST_ROWS),
        (by_step, "step_inputs", layout.step_input_row, "work", "positions", most_steps),
    ):
        if not leaves:
            continue
        memory = recorder.workspace(most * row * size, tasks=tasks)
        found[array] = memory
        places = [
            place for kind in dict.fromkeys(kind for kind, _ in leaves) for place in layout.extras(kind)
        ]
        for leaf, (begin, (pieces, width, stride)) in zip(leaves, places, strict=True):
            launches.launch(
                support(f"pad_rows{engine.bits}"),
                count=groups.field(count),
                width=width,
                pieces=pieces,
                piece_stride=stride,
                row=row,
                row_numbers=groups.field(numbers),
                source=operands[leaf],
                target=memory + begin * size,
            )
    return found
