"""What the forward pass saves for the backward pass: one buffer of bytes that describes itself.

A header (what it was made for, compared when it is read), the groups' headers, then the regions: row numbers
and counts of the groups, a mask, index arrays, states, values of the step. Addresses are stored as distances,
so the buffer may be moved. Its size is a number of bytes a row times the rows, whatever the batch: a batch
that is cut by rows cuts the size alike."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from .._llvm import GROUP_WORDS, HEADER_WORDS
from .._native import Argument
from ._engine import Engine
from ._recipe import VERSION, Recipe
from ._shape import Shape

_ALIGN = 64
_REGIONS = 8
_MAGIC = 0x73746570666F6C64  # "stepfold"


def indexed(tokens: bool) -> int:
    """How many words of index an active step has."""
    return 4 if tokens else 2


def residuals_size(engine: Engine, recipe: Recipe, batch: Any, time: Any, places: Any = None) -> Any:
    """Return how many bytes residuals take; `places` of a packed batch. The numbers may be symbolic."""
    layout, size = engine.layout, engine.itemsize
    # a row's share of the headers, of the index, of a mask, of what alignment takes, and the states before
    # all
    row = 8 * (HEADER_WORDS + GROUP_WORDS + 4 + 2 * (time + 1) + time) + time
    row = row + _REGIONS * _ALIGN + 2 * layout.state_row * size
    step = 8 * indexed(recipe.tokens) + (layout.state_row + layout.residual_row) * size
    steps = batch * time if places is None else places
    return batch * row + steps * step


def expected_header(engine: Engine, recipe: Recipe, shape: Shape) -> dict[str, int]:
    """The words at the front of residuals that the backward pass insists on."""
    flags = (
        recipe.reverse, recipe.time_major, recipe.tokens, recipe.side, recipe.active, recipe.padding,
        recipe.shares,
    )  # fmt: skip
    digest = hashlib.sha256(f"{engine.form} {flags}".encode()).digest()
    words = (
        _MAGIC + VERSION,
        shape.batch,
        shape.time,
        shape.vocabulary_size,
        int.from_bytes(digest[:7], "little"),
        total_size(engine, recipe, shape),
    )
    return {f"expected{n}": word for n, word in enumerate(words)}


@dataclass(frozen=True)
class Regions:
    """Where the parts of residuals begin."""

    headers: Argument
    group_rows: Argument
    group_counts: Argument
    step_offsets: Argument
    arena: Argument
    states: Argument
    values: Argument


def mask_of(residuals: Argument) -> Argument:
    """Where the mask (batch, time) of residuals lies."""
    return residuals + 8 * HEADER_WORDS


def headers_of(recipe: Recipe, shape: Shape, residuals: Argument) -> Argument:
    """Where the groups' headers of residuals lie."""
    return residuals + _aligned(8 * HEADER_WORDS + (shape.batch * shape.time if recipe.masked else 0))


def regions(engine: Engine, recipe: Recipe, shape: Shape, groups: int, residuals: Argument) -> Regions:
    """Divide residuals that begin at an address."""
    layout, size = engine.layout, engine.itemsize
    late = 2 if recipe.shares else 1
    headers = headers_of(recipe, shape, residuals)
    sizes = {
        "headers": 8 * GROUP_WORDS * groups,
        "group_rows": 8 * (shape.batch + groups),
        "group_counts": 8 * (shape.batch + groups),
        "step_offsets": 8 * shape.time if recipe.shares else 0,
        "arena": 8 * (2 * groups * (shape.time + 1) + shape.steps * indexed(recipe.tokens)),
        "states": (shape.steps + late * shape.batch) * layout.state_row * size,
        "values": shape.steps * layout.residual_row * size,
    }
    begin, found = headers.offset - residuals.offset, {}
    for name, bytes_ in sizes.items():
        begin = _aligned(begin)
        found[name] = residuals + begin
        begin += bytes_
    total = total_size(engine, recipe, shape)
    if begin > total:
        raise AssertionError(f"residuals take {begin} bytes, but {total} were planned")
    return Regions(**found)


def total_size(engine: Engine, recipe: Recipe, shape: Shape) -> int:
    """How many bytes the residuals of a shape take."""
    places = shape.places if recipe.active == "packed" else None
    return int(residuals_size(engine, recipe, shape.batch, shape.time, places))


def _aligned(size: int) -> int:
    return -(-size // _ALIGN) * _ALIGN
