"""Cells that hypothesis writes, over batches that it cuts: kernels and reference agree, whatever the step."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from stepfold import Cell, cell, tanh
from stepfold import cells as built_in
from stepfold._llvm import target
from stepfold._runtime import Engine
from strategies import cells
from tests.runtime.scan_batches import batches, made_of
from tests.runtime.scan_helpers import ready
from tests.targets import TARGETS


@pytest.fixture(autouse=True)
def threads_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let any batch be worth as many tasks as there are threads."""
    monkeypatch.setattr("stepfold._runtime._engine._SMALL", -1)


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
