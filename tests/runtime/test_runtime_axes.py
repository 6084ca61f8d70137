"""Values of axes of their own: the kernels' answer is the reference's."""

# ruff: noqa: F722, F821, UP037
from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import stepfold
from axes_strategies import axes_cells
from stepfold import (
    Cell,
    Scalar,
    Stream,
    cell,
    cells,
    concatenate,
    cumsum,
    repeat,
    reverse,
    roll,
    shift,
    sigmoid,
    split,
    tanh,
)
from stepfold._llvm import target
from stepfold._runtime import Engine, Recipe
from tests.runtime.scan_batches import batches, made_of
from tests.runtime.scan_helpers import problem, ragged, ready
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


@cell
def moved(x, h, c, *, W, U, V: "units 2*units", g):
    """Elements that change their places: of states, parameters, products, operands and results."""
    a = tanh(W @ x + U @ roll(h, 3) + g)
    b = V @ (concatenate([cumsum(a * h), shift(c, 2)]) + repeat(h * g, 2))
    first, second = split(concatenate([b, h * c]), 2)
    c = reverse(cumsum(second * 0.1, reverse=True)) + shift(a, -3) + roll(first, 1)[0]
    return roll(tanh(first) * reverse(g), -1), c


CELLS = {cell.name: cell for cell in (projected, low_rank, read_out, moved)}


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sizes", [(33, 17, 3, 100), (1, 1, 1, 1), (16, 64, 32, 8)], ids=str)
def test_any_sizes(name: str, dtype: str, sizes: tuple[int, ...]) -> None:
    found, (units, projection, rank, wide) = CELLS[name], sizes
    others = {"projection": projection, "rank": rank, "wide": wide}
    own = {axis: others[axis] for axis in found.step.own_axes if axis != "units"}
    mask = ragged([5, 3, 0, 5], 5)
    problem(found, 4, 5, 6, units, dtype, sizes=own, mask=mask).check()


@st.composite
def axis_sizes(draw: Any, found: Cell) -> dict[str, int]:
    """Sizes of a cell's axes besides the units."""
    own = [axis for axis in found.step.own_axes if axis != "units"]
    return {axis: draw(st.sampled_from((1, 2, 3, 8, 9, 17, 33))) for axis in own}


def check_random(data: Any, found: Cell, on: str) -> None:
    how, sizes = data.draw(batches()), data.draw(axis_sizes(found))
    if not found.step.takes_features:
        how["tokens"] = "none"
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


# ---- the surface ------------------------------------------------------------------------------------------


def arrays_of(
    found: Cell, seed: int = 0, dtype: str = "float32", **sizes: int
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    random = np.random.default_rng(seed)
    params = found.init(3, 5, seed=seed, dtype=dtype, **sizes)
    params = {n: p + random.standard_normal(p.shape).astype(dtype) * 0.1 for n, p in params.items()}
    return random.standard_normal((4, 6, 3)).astype(dtype), params


def test_scan_and_record_with_an_output_that_is_no_state() -> None:
    inputs, params = arrays_of(read_out, wide=7)
    h = np.random.default_rng(1).standard_normal((4, 5)).astype("float32")
    lengths = [6, 2, 0, 3]
    output, last = stepfold.scan(
        read_out, inputs, params, initial_state=[h], lengths=lengths, return_sequences=True, return_state=True
    )
    assert (output.shape, last.shape) == ((4, 6, 7), (4, 5))
    assert not output[2].any()
    np.testing.assert_array_equal(last[2], h[2])
    run = stepfold.record(read_out, inputs, params, initial_state=[h], lengths=lengths, return_sequences=True)
    np.testing.assert_allclose(run.output, output, rtol=1e-6, atol=1e-6)
    assert [s.shape for s in run.states] == [(4, 5)]
    gradients = run.backward(np.ones_like(output), [np.ones_like(last)])
    kept = stepfold.record(
        read_out, inputs, params, initial_state=[h], lengths=lengths, return_sequences=True, checkpoint=True
    ).backward(np.ones_like(output), [np.ones_like(last)])
    assert [g.shape for g in gradients.initial_state] == [(4, 5)] == [g.shape for g in kept.initial_state]
    for name, value in gradients.params.items():
        np.testing.assert_allclose(kept.params[name], value, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match=r"state_gradients has 2 arrays, read_out has 1 state\(s\): h"):
        run.backward(None, [None, None])


def test_states_and_parameters_of_other_shapes_are_refused() -> None:
    inputs, params = arrays_of(projected, projection=7)
    h, c = np.zeros((4, 7), "float32"), np.zeros((4, 5), "float32")
    output = stepfold.scan(projected, inputs, params, initial_state=[h, c])
    np.testing.assert_array_equal(output, stepfold.scan(projected, inputs, params))
    with pytest.raises(ValueError, match=r"^initial state 'h' has shape \(4, 5\), expected \(4, 7\)$"):
        stepfold.scan(projected, inputs, params, initial_state=[c, c])
    wrong = params | {"V": np.zeros((7, 4), "float32")}
    with pytest.raises(ValueError, match=r"V has shape \(7, 4\), expected \(projection, units\) = \(7, 5\)"):
        stepfold.scan(projected, inputs, wrong)


def test_the_code_of_sizes_is_shown() -> None:
    assert "define void @backward" in projected.show("llvm", units=5, projection=7, kernel="backward")
    with pytest.raises(
        TypeError, match="has no option rank; it takes units, dtype, target, kernel, projection"
    ):
        projected.show("llvm", units=5, projection=7, rank=3)
    with pytest.raises(ValueError, match="projected needs the size of projection; give projection=…"):
        projected.show("asm", units=5)


def test_a_recipe_travels_with_its_sizes() -> None:
    recipe = Recipe.of(projected.step, 5, {"projection": 7}, reverse=True)
    again = Recipe.from_text(recipe.text)
    assert again == recipe
    assert (again.sizes, again.state_shapes) == ((("projection", 7),), ((7,), (5,)))
    assert (
        Recipe.of(projected.step, 5, {"projection": 8}).key
        != Recipe.of(projected.step, 5, {"projection": 7}).key
    )
    assert '"sizes"' not in Recipe.of(cells.lstm.step, 5).text
    with pytest.raises(ValueError, match="projected needs the size of projection; give projection=…"):
        Recipe.of(projected.step, 5)
    with pytest.raises(ValueError, match="projected has no axis rank; it has projection"):
        Recipe.of(projected.step, 5, {"projection": 7, "rank": 1})


@pytest.mark.parametrize("units", [300, 515])
def test_cooperative_threads_share_every_axis(units: int) -> None:
    """A batch of one: the ranks have a part of each axis."""

    @cell
    def wide(x, h: "projection", c, *, W, U, V: "projection units"):
        c = tanh(W @ x + U @ h) + 0.5 * c
        return V @ c, c

    made = problem(wide, 1, 4, 3, units, "float32", sizes={"projection": 70})
    engine = ready(wide.step, units, "float32", sizes=(("projection", 70),))
    assert engine.ranks(1, 2) == 2
    made.check(threads=2)


def test_a_stream_of_states_of_their_own_sizes() -> None:
    for found, sizes in ((projected, {"projection": 7}), (read_out, {"wide": 7})):
        inputs, params = arrays_of(found, **sizes)
        outputs, *last = stepfold.scan(found, inputs, params, return_sequences=True, return_state=True)
        one, many = Stream(found, params), Stream(found, params, 4)
        for t in range(6):
            if t == 3:
                stored, one = many.save_state(), Stream(found, params)
                one.load_state(stored)
            x = inputs[:, t] if t >= 3 else inputs[:1, t]
            np.testing.assert_allclose(one.step(x), outputs[: len(x), t], rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(many.step(inputs[:, t]), outputs[:, t], rtol=1e-5, atol=1e-5)
        for stream in (one, many):
            for found_state, expected in zip(stream.state, last, strict=True):
                np.testing.assert_allclose(found_state, expected, rtol=1e-5, atol=1e-5)
        many.reset()
        assert not any(state.any() for state in many.state)
        with pytest.raises(ValueError, match=r"initial state '\w' has shape \(4, 9\), expected"):
            many.state = [np.zeros((4, 9))] * len(found.states)
