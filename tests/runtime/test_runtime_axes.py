"""Values of axes of their own: the kernels' answer is the reference's."""

# ruff: noqa: F722, F821, UP037
from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import stepfold
from axes_strategies import axes_cells
from stepfold import Cell, Scalar, cell, sigmoid, tanh
from stepfold._llvm import target
from stepfold._runtime import Engine
from tests.runtime.scan_batches import batches, made_of
from tests.runtime.scan_helpers import problem, ragged
from tests.targets import TARGETS


@cell
def projected(x, h: "projection", c, *, W_i, U_i, b_i, W_o, U_o, b_o, V: "projection units", g: "projection"):
    c = c + sigmoid(W_i @ x + U_i @ h + b_i) * tanh(U_i @ h)
    return V @ (sigmoid(W_o @ x + U_o @ h + b_o) * tanh(c)) + g, c


@cell
def low_rank(x, h, *, W, P: "units rank", Q: "rank units", a: Scalar, g: "rank", K: "rank features"):
    low = Q @ h + K @ x
    return tanh(W @ x + P @ (g * low * a) + a * stepfold.mean(low) + Q.T @ low)


@cell
def read_out(x, h, *, W, U, O: "wide units", b: "wide"):
    h = tanh(W @ x + U @ h)
    return O @ h + b, h


CELLS = {cell.name: cell for cell in (projected, low_rank, read_out)}


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sizes", [(33, 17, 3, 100), (1, 1, 1, 1), (16, 64, 32, 8)], ids=str)
def test_any_sizes(name: str, dtype: str, sizes: tuple[int, ...]) -> None:
    found, (units, projection, rank, wide) = CELLS[name], sizes
    others = {"projection": projection, "rank": rank, "wide": wide}
    own = {axis: others[axis] for axis in found.step.axes if axis != "units"}
    mask = ragged([5, 3, 0, 5], 5)
    problem(found, 4, 5, 6, units, dtype, sizes=own, mask=mask).check()


@st.composite
def axis_sizes(draw: Any, found: Cell) -> dict[str, int]:
    """Sizes of a cell's axes besides the units."""
    own = [axis for axis in found.step.axes if axis not in ("units", "1")]
    return {axis: draw(st.sampled_from((1, 2, 3, 8, 9, 17, 33))) for axis in own}


def check_random(data: Any, found: Cell, on: str) -> None:
    how, sizes = data.draw(batches()), data.draw(axis_sizes(found))
    made = made_of(found, how, sizes)
    engine = Engine(found.step, made.units, "float64", target(on), made.recipe.sizes)
    made.check(engine=engine, threads=how["threads"], backward_threads=how["backward_threads"])


plain = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)
# shrinking compiles hundreds of cells; what it found is printed without
quick = settings(plain, max_examples=10, phases=[p for p in Phase if p is not Phase.shrink])


@pytest.fixture(autouse=True)
def threads_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let any batch be worth as many tasks as there are threads."""
    monkeypatch.setattr("stepfold._runtime._engine._SMALL", -1)


@quick
@given(st.data(), axes_cells())
def test_a_random_cell_of_several_axes_is_its_reference(data: Any, found: Cell) -> None:
    check_random(data, found, "host")


@pytest.mark.slow
@settings(plain, max_examples=150)
@given(st.data(), axes_cells(), st.sampled_from(TARGETS))
def test_many_random_cells_of_several_axes_on_every_target(data: Any, found: Cell, on: str) -> None:
    check_random(data, found, on)
