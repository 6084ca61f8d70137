"""Cells that hypothesis writes, over batches that it cuts: kernels and reference agree, whatever the step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from stepfold import Cell, cell, tanh
from stepfold import cells as built_in
from stepfold._llvm import target
from stepfold._runtime import Engine
from strategies import cells, masks
from tests.runtime.scan_helpers import Problem, problem, ragged, ready
from tests.targets import TARGETS

VOCABULARY = 4


@pytest.fixture(autouse=True)
def threads_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let any batch be worth as many tasks as there are threads."""
    monkeypatch.setattr("stepfold._runtime._engine._SMALL", -1)


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


def made_of(cell: Cell, how: dict[str, Any]) -> Problem:
    """The problem that `batches` describes, for a cell."""
    batch, time, features, units = how["sizes"]
    side = 0 if how["tokens"] == "none" else how["side"]
    made = problem(cell, batch, time, features + side, units, **how["problem"])
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


def check(cell: Cell, how: dict[str, Any], engine: Engine) -> None:
    made_of(cell, how).check(engine=engine, threads=how["threads"], backward_threads=how["backward_threads"])


def fresh(cell: Cell, how: dict[str, Any], on: str = "host") -> Engine:
    """An engine that the helpers' cache does not hold: a random cell is never met again."""
    return Engine(cell.step, how["sizes"][3], "float64", target(on))


plain = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
# shrinking compiles hundreds of cells; what it found is printed without
quick = settings(plain, max_examples=12, phases=[p for p in Phase if p is not Phase.shrink])


@cell
def blind(x, h, c, *, U):
    return tanh(U @ h), c * 0.5


KNOWN = ["lstm", "gru_reset_before", "layer_norm_gru"]


@settings(plain, max_examples=150)
@given(st.sampled_from(KNOWN), batches())
def test_any_batch_of_a_built_in_cell(name: str, how: dict[str, Any]) -> None:
    known, (*others, units) = built_in.by_name(name), how["sizes"]
    how["sizes"] = (*others, 3 if units < 4 else 9)  # few engines to compile
    check(known, how, ready(known.step, how["sizes"][3]))


@settings(plain, max_examples=50)
@given(batches())
def test_any_batch_of_a_cell_without_inputs(how: dict[str, Any]) -> None:
    check(blind, how, ready(blind.step, how["sizes"][3]))


@quick
@given(cells(), batches())
def test_a_random_cell_is_its_reference(cell: Cell, how: dict[str, Any]) -> None:
    check(cell, how, fresh(cell, how))


@pytest.mark.slow
@settings(plain, max_examples=200)
@given(cells(), batches(), st.sampled_from(TARGETS))
def test_many_random_cells_on_every_target(cell: Cell, how: dict[str, Any], on: str) -> None:
    check(cell, how, fresh(cell, how, on))
