"""Plans of steps whose states are matrices: what lies where it lay before, how many walks there are, and what
leaves the products of matrices with vectors."""

# ruff: noqa: F722, F821, UP037
from __future__ import annotations

import time

import numpy as np
import pytest

import stepfold
from stepfold import cell, cells, outer, tanh
from stepfold._graph import SCALAR, leaf, topological_order
from stepfold._llvm._matrices import matrices_read
from stepfold._ops import apply
from stepfold._plan import Place, plan
from stepfold._plan._contractions import contracted
from stepfold._reference import evaluate


@cell
def read_late(x, S: "value key", *, W_v: "value features", W_k: "key features"):
    """The state before is read behind a product with the state after."""
    k = tanh(W_k @ x)
    new = 0.5 * S + outer(W_v @ x, k)
    return S @ (new.T @ (new @ k)), new


@cell
def read_across(x, S: "value key", n: "key", *, W_v: "value features", W_k: "key features"):
    """A vector of the states before is an operand of the walk behind the one that writes it."""
    k = tanh(W_k @ x)
    new = 0.5 * n + k / (1 + stepfold.sum(k * k))
    return (0.5 * S + outer(W_v @ x, new)) @ n, 0.5 * S + outer(W_v @ x, new), new


def test_built_in_matrices_lie_where_they_lay_before() -> None:
    made = {name: plan(cells.by_name(name).step) for name in cells.names()}
    matrices = {name: found for name, found in made.items() if found.has_matrices}
    assert {"linear_attention", "gated_linear_attention", "delta_net", "mlstm", "mamba"} <= set(matrices)
    assert all(found.infers_in_place for found in matrices.values())
    assert [name for name, found in matrices.items() if not found.passes_in_place] == ["mamba"]
    vectors = [found for name, found in made.items() if name not in matrices]
    assert not any(found.infers_in_place or found.passes_in_place for found in vectors)


@pytest.mark.parametrize("found", [read_late, read_across], ids=lambda found: found.name)
def test_what_is_read_behind_its_store_stays_apart(found: stepfold.Cell) -> None:
    assert not plan(found.step).infers_in_place


@pytest.mark.parametrize(
    ("name", "forward", "back"),
    [
        ("linear_attention", 1, 1),
        ("gated_linear_attention", 1, 1),
        ("mlstm", 1, 1),
        ("delta_net", 2, 2),
        ("gated_delta_net", 2, 2),
    ],
)
def test_walks_over_matrices(name: str, forward: int, back: int) -> None:
    made = plan(cells.by_name(name).step)
    for arrangement, walks in ((made.training, forward), (made.backward, back)):
        assert sum(len(stage.dims) == 2 for stage in arrangement.stages) == walks


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("linear_attention", [{"new", "cotangent"}]),
        ("gated_linear_attention", [{"state", "cotangent"}]),
        ("delta_net", [{"cotangent"}, {"state", "cotangent"}]),
        ("gated_delta_net", [{"cotangent"}, {"state", "cotangent"}]),
    ],
)
def test_a_backward_pass_reads_one_state_a_timestep(name: str, kinds: list[set[str]]) -> None:
    """A product with a sum of outer products and a matrix that is read anyway is a sum of products."""
    stages = plan(cells.by_name(name).step).backward.stages
    assert [{p.kind for p in matrices_read(s)} for s in stages if len(s.dims) == 2] == kinds


def test_scalars_and_outer_products_leave_contractions() -> None:
    sizes = {"a": 3, "b": 5, "1": 1}
    M, s = leaf("state", "M", dims=("a", "b")), leaf("state", "s", dims=SCALAR)
    u, v = leaf("state", "u", dims=("a",)), leaf("state", "v", dims=("b",))
    x, y = leaf("state", "x", dims=("b",)), leaf("state", "y", dims=("a",))
    both = apply("multiply", apply("multiply", s, M), apply("outer", u, v))
    targets = [
        apply("matvec", both, x),
        apply("matvec_transposed", both, y),
        apply("multiply", apply("outer", u, v), s),
        apply("matvec", apply("multiply", M, M), x),
    ]
    simpler = [n for n, _ in contracted([(n, Place("new", k)) for k, n in enumerate(targets)])]
    assert [n.op for n in simpler] == ["multiply", "multiply", "outer", "matvec"]
    matrices = [n for n in topological_order(simpler[:3]) if len(n.dims) == 2 and n.inputs]
    assert [n.op for n in matrices] == ["outer"]
    random = np.random.default_rng(0)
    values = {n: random.standard_normal((2, *(sizes[a] for a in n.dims or "1"))) for n in (M, s, u, v, x, y)}
    leaves = {(n.op, str(n.attributes[0])): value for n, value in values.items()}
    found = evaluate(topological_order([*targets, *simpler]), leaves, sizes, "float64")
    for before, after in zip(targets, simpler, strict=True):
        np.testing.assert_allclose(found[id(after)], found[id(before)], rtol=1e-12)


def test_many_updates_of_a_matrix_in_a_step_are_planned_in_time() -> None:
    @cell
    def deep(x, S: "value key", k: "key", *, W: "value features", K: "key features"):
        for _ in range(200):
            S = 0.9 * S + outer(W @ x - S @ k, k)
            k = tanh(k + K @ x)
        return S @ k, S, k

    began = time.process_time()
    assert len(plan(deep.step).inference.stages) > 200
    assert time.process_time() - began < 4  # half a second; ten where it grows with the cube
