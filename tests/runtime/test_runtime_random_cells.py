"""Cells that hypothesis writes, over batches that it cuts: kernels and reference agree, whatever the step."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from scan_helpers import TARGETS, problem

from stepfold import Cell
from stepfold._llvm import target
from stepfold._runtime import Engine
from strategies import cells, masks


@st.composite
def batches(draw: Any) -> dict[str, Any]:
    batch, time = draw(st.integers(1, 6)), draw(st.integers(0, 7))
    return {
        "batch": batch,
        "time": time,
        "features": draw(st.integers(1, 4)),
        "units": draw(st.sampled_from((1, 2, 3, 8, 9))),
        "seed": draw(st.integers(0, 99)),
        "mask": draw(masks(batch, time)),
        "reverse": draw(st.booleans()),
        "layout": draw(st.sampled_from(("batch", "time"))),
        "padding": draw(st.sampled_from(("repeat", "zero"))),
    }


def check(cell: Cell, how: dict[str, Any], on: str = "host") -> None:
    sizes = [how[key] for key in ("batch", "time", "features", "units")]
    rest = {key: how[key] for key in ("mask", "reverse", "layout", "padding", "seed")}
    made = problem(cell, *sizes, **rest)
    # not through the helpers' cache: a random cell is never met again
    made.check(engine=Engine(made.step, how["units"], "float64", target(on)))


plain = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
# shrinking compiles hundreds of cells; what it found is printed without
quick = settings(plain, max_examples=12, phases=[p for p in Phase if p is not Phase.shrink])


@quick
@given(cells(), batches())
def test_a_random_cell_is_its_reference(cell: Cell, how: dict[str, Any]) -> None:
    check(cell, how)


@pytest.mark.slow
@settings(plain, max_examples=200)
@given(cells(), batches(), st.sampled_from(TARGETS))
def test_many_random_cells_on_every_target(cell: Cell, how: dict[str, Any], on: str) -> None:
    check(cell, how, on)
