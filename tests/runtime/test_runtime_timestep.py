"""One timestep on parameters that are read where they lie, beside the reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from stepfold import Cell, cell, sigmoid, tanh
from stepfold import cells as built_in
from stepfold._llvm import target
from stepfold._native import Program, address, own_threads
from stepfold._reference import Reference
from stepfold._runtime import Engine, OneTimestep, Recipe
from strategies import cells, parameters
from tests.runtime.scan_arrays import LIMITS, Array, assert_unharmed, close, guarded, walled
from tests.targets import TARGETS


@cell
def mixed(x, h, c, *, U, V, a, b, s):  # type: ignore[no-untyped-def]
    """Products with a matrix and with transposes, in one sum and apart; a number; vectors used twice, and in
    what is made of parameters alone."""
    g = sigmoid(U @ h + U.T @ c - V.T @ h + a)
    return tanh(g * h + s * (V @ (g * c)) + b), c * sigmoid(a * s) + b * a


class Problem:
    """Random rows for a cell, and what the reference makes of them."""

    def __init__(
        self, cell: Cell, batch: int, features: int, units: int, dtype: str = "float64", seed: int = 0
    ) -> None:
        random = np.random.default_rng(seed)
        self.cell, self.dtype, self.batch = cell, dtype, batch
        self.recipe = Recipe.of(cell.step, units)
        self.params = parameters(cell, features, units, seed)
        self.x = random.standard_normal((batch, features))
        self.states = [random.standard_normal((batch, units)) for _ in cell.states]
        self.arriving = [random.standard_normal((batch, units)) for _ in cell.states]
        self.features = features

    def check(
        self,
        on: str = "host",
        *,
        initial: bool = True,
        threads: int = 1,
        missing: Sequence[int] = (),
        engine: Engine | None = None,
    ) -> None:
        """Compare forward and backward passes; `missing`: the states after without a gradient."""
        engine = engine or Engine(self.cell.step, self.recipe.units, self.dtype, target(on))
        of = OneTimestep(engine, self.recipe, self.features)
        states = self.states if initial else [np.zeros_like(s) for s in self.states]
        reference = Reference(self.cell.step, self.x[:, None], self.params, states)
        arriving = [np.zeros_like(a) if k in missing else a for k, a in enumerate(self.arriving)]
        to_x, to_params, to_states = reference.backward(None, arriving)
        own = walled(self.x.astype(self.dtype))
        before = [walled(s.astype(self.dtype)) for s in states] if initial else []
        weights = [walled(self.params[name].astype(self.dtype)) for name in self.cell.step.parameters]

        def same(found: Array, expected: Array, what: str) -> None:
            close(found, expected, LIMITS[self.dtype], what, slack=LIMITS[self.dtype])

        for training in (False, True):
            after = [guarded(s.shape, self.dtype) for s in states]
            saved, memory = guarded((of.saved(self.batch),), self.dtype)
            operands = [own, *before, *weights, *(inner for inner, _ in after)]
            program = of.forward(self.batch, initial=initial, training=training, threads=threads)
            _run(program, [*operands, *([saved] if training else [])], threads)
            assert_unharmed(memory, "saved")
            for name, (inner, outer), expected in zip(self.cell.states, after, reference.states, strict=True):
                same(inner, expected, f"state {name}")
                assert_unharmed(outer, name)
        tasks = of.tasks(self.batch, threads)
        shapes = [
            self.x.shape,
            *(s.shape for s in before),
            (self.batch, of.terms_row),
            (tasks, of.vector_row),
        ]
        results = [guarded(shape, self.dtype) for shape in shapes]
        given = [None if k in missing else walled(a.astype(self.dtype)) for k, a in enumerate(self.arriving)]
        program = of.backward(self.batch, initial=initial, inputs=True, threads=threads)
        for _ in range(2):  # what was saved stays as it is
            _run(program, [own, *weights, saved, *given, *(inner for inner, _ in results)], threads)
        for k, (_, outer) in enumerate(results):
            assert_unharmed(outer, f"result {k}")
        found_x, *found_states, terms, vectors = (inner for inner, _ in results)
        same(found_x, to_x[:, 0], "gradient of the input")
        for name, found, expected in zip(self.cell.states, found_states, to_states, strict=False):
            same(found, expected, f"gradient of {name}")
        for name, found in _gradients(of, terms, vectors, weights).items():
            same(found, to_params[name], f"gradient of {name}")


def _run(program: Program, arrays: Sequence[Array | None], threads: int) -> None:
    addresses = [0 if array is None else address(array) for array in arrays]
    assert program.run(addresses, own_threads(), threads) is None


def _gradients(of: OneTimestep, terms: Array, vectors: Array, weights: list[Array]) -> dict[str, Array]:
    """The gradients that the rows of `terms` and the vector gradients say."""
    found = [np.zeros_like(weight) for weight in weights]
    for m in of.matrix_gradients:
        deltas = terms[:, m.delta : m.delta + m.rows]
        found[m.weight] += deltas.T @ terms[:, m.operand : m.operand + m.columns]
    for rows, of_vectors in ((terms, of.column_sums), (vectors, of.vector_gradients)):
        for vector in of_vectors:
            total = rows[:, vector.begin : vector.begin + vector.size].sum(0)
            found[vector.weight] += total.sum() if vector.total else total
    return dict(zip(of.engine.step.parameters, found, strict=True))


@pytest.mark.parametrize("on", TARGETS)
@pytest.mark.parametrize(
    ("batch", "features", "units", "dtype"),
    [(1, 3, 17, "float64"), (3, 16, 32, "float32"), (2, 1, 1, "float64"), (5, 33, 9, "float32")],
)
def test_sizes_that_are_no_whole_vectors(batch: int, features: int, units: int, dtype: str, on: str) -> None:
    Problem(built_in.lstm, batch, features, units, dtype).check(on)


@pytest.mark.parametrize(("features", "units"), [(8, 16), (5, 7)])
def test_matrices_and_their_transposes(features: int, units: int) -> None:
    Problem(mixed, 3, features, units).check()


@pytest.mark.parametrize("name", ["gru", "layer_norm_lstm", "gru_reset_before", "indrnn"])
def test_states_and_gradients_that_are_not_there(name: str) -> None:
    known = built_in.by_name(name)
    Problem(known, 2, 3, 5).check(initial=False, missing=[len(known.states) - 1])


def test_rows_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepfold._runtime._engine._SMALL", -1)
    Problem(built_in.layer_norm_gru, 7, 3, 9).check(threads=3)


@pytest.mark.parametrize("threads", [2, 3, 7])
def test_ranks_share_a_row(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepfold._runtime._timestep._RANK", 7_000)
    made = Engine(built_in.gru.step, 133, "float64")
    Problem(built_in.gru, 1, 5, 133).check(threads=threads, engine=made)
    assert any(kind.startswith("timestep_cooperative 5 ") for kind in made.from_cache)


def test_what_it_serves() -> None:
    serves = {
        name: OneTimestep.serves(Recipe.of(built_in.by_name(name).step, 4, sizes))
        for name, sizes in (("lstm", {}), ("gru_d", {}), ("fast_weights", {}), ("mogrifier_lstm", {}))
        if _sized(name, sizes)
    }
    assert serves["lstm"]
    assert not any(serves.get(name, False) for name in ("gru_d", "fast_weights"))


def _sized(name: str, sizes: dict[str, Any]) -> bool:
    return set(built_in.by_name(name).step.axes) <= {"units", "1", *sizes}


@settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    max_examples=8,
    phases=[p for p in Phase if p is not Phase.shrink],
)
@given(cells(), st.integers(1, 4), st.sampled_from([1, 3, 8]), st.sampled_from([1, 4, 9]))
def test_a_random_cell_is_its_reference(cell: Cell, batch: int, features: int, units: int) -> None:
    Problem(cell, batch, features, units).check()


@pytest.mark.slow
@settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    max_examples=150,
    phases=[p for p in Phase if p is not Phase.shrink],
)
@given(
    cells(),
    st.integers(1, 4),
    st.sampled_from([1, 3, 8]),
    st.sampled_from([1, 4, 9]),
    st.sampled_from(TARGETS),
)
def test_many_random_cells_on_every_target(
    cell: Cell, batch: int, features: int, units: int, on: str
) -> None:
    Problem(cell, batch, features, units).check(on)
