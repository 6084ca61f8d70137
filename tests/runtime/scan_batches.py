"""Batches that hypothesis cuts: their sizes, and all that a recipe may say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from hypothesis import strategies as st

from stepfold import Cell
from strategies import masks
from tests.runtime.scan_helpers import Problem, problem, ragged

VOCABULARY = 4


@st.composite
def batches(draw: Any) -> dict[str, Any]:
    """How to make a batch: its sizes, and all that a recipe may say."""
    batch, time = draw(st.integers(1, 9)), draw(st.integers(0, 7))
    layout = draw(st.sampled_from(("batch", "time", "packed")))
    mask, lengths = draw(masks(batch, time)), False
    if layout == "packed":
        rows = draw(st.lists(st.integers(1, 7), min_size=batch, max_size=batch))
        time, mask = max(rows), ragged(sorted(rows, reverse=True), max(rows))
    elif draw(st.booleans()):
        rows = draw(st.lists(st.integers(0, time), min_size=batch, max_size=batch))
        mask, lengths = ragged(rows, time), True
    return {
        "sizes": (batch, time, draw(st.integers(1, 4)), draw(st.sampled_from((1, 2, 3, 8, 9)))),
        "tokens": draw(st.sampled_from(("none", "random", "alike"))),
        "side": draw(st.integers(0, 3)),
        "initial": draw(st.booleans()),
        "threads": draw(st.integers(1, 3)),
        "backward_threads": draw(st.integers(1, 3)),
        "problem": {
            "seed": draw(st.integers(0, 99)),
            "mask": mask,
            "lengths": lengths,
            "reverse": draw(st.booleans()),
            "layout": layout,
            "padding": draw(st.sampled_from(("repeat", "zero", "none"))),
        },
    }


def made_of(cell: Cell, how: dict[str, Any], sizes: Mapping[str, int] | None = None) -> Problem:
    """The problem that `batches` describes, for a cell; `sizes`: those of other axes than the units."""
    batch, time, features, units = how["sizes"]
    side = 0 if how["tokens"] == "none" else how["side"]
    made = problem(cell, batch, time, features + side, units, sizes=sizes, **how["problem"])
    random = np.random.default_rng(how["problem"]["seed"])
    if not how["initial"]:
        made = made.but(initial=[None] * len(made.step.states))
    if made.layout == "packed":
        made = made.but(output_gradient=made.output_gradient * made.mask[:, :, None])
    if how["tokens"] != "none":
        tokens = random.integers(0, VOCABULARY, (batch, time))
        if how["tokens"] == "alike":  # long prefixes, at the side where the scan begins
            depths = random.integers(0, time + 1, batch)
            tokens = np.where(ragged(depths.tolist(), time, left=made.reverse), 1, tokens)
        tokens = tokens.astype(random.choice([np.int32, np.int64]))
        made = made.but(inputs=random.standard_normal((VOCABULARY, features)), tokens=tokens)
        if side:
            made = made.but(side=random.standard_normal((batch, time, side)))
    return made
