"""The groups of rows that a forward pass makes, read from its residuals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stepfold._llvm import GROUP, GROUP_WORDS, HEADER
from stepfold._native import Argument, own_threads
from stepfold._runtime import Threads
from stepfold._runtime._residuals import headers_of
from tests.runtime.scan_helpers import Problem, ready


@dataclass(frozen=True)
class Group:
    """A group of rows as residuals hold it: its header, its index arrays."""

    header: dict[str, int]
    arrays: dict[str, list[int]]


def groups_of(made: Problem, threads: int) -> list[Group]:
    """The groups that a forward pass of training cuts a batch into."""
    engine = ready(made.step, made.units, made.dtype, sizes=made.recipe.sizes)
    _, residuals = made.forward(engine, Threads(own_threads(), threads), training=True)
    assert residuals is not None
    words = residuals[: residuals.size // 8 * 8].view(np.int64)
    begin = headers_of(made.recipe, made.shape, Argument()).offset // 8
    found = []
    for k in range(words[HEADER.index("groups")]):
        line = words[begin + k * GROUP_WORDS :]
        header = dict(zip(GROUP, line.tolist(), strict=False))
        steps, work = header["steps"], header["work"]
        sizes = {
            "row_numbers": header["rows"], "counts": header["rows"], "offsets": steps + 1,
            "slots": steps + 1, "positions": work, "previous": work,
        }  # fmt: skip
        if made.tokens is not None:
            sizes |= {"source": work, "distinct": header["distinct_count"]}
        arrays = {name: words[header[name] // 8 :][:size].tolist() for name, size in sizes.items()}
        found.append(Group(header, arrays))
    return found
