"""The plan: what leaves the loop, the residuals and that fewer would not do, what waits for what."""

# ruff: noqa: F722
from __future__ import annotations

import functools
from itertools import combinations

import pytest

import stepfold
from stepfold import Cell, cell, cells, sigmoid, softmax, tanh
from stepfold._gradient import backward
from stepfold._graph import SCALAR, Node
from stepfold._ops import TABLE
from stepfold._plan import Plan, matrix_terms, plan
from stepfold._step import Step
from tests.kinds import KINDS, UNIFORM


def of(name: str) -> Plan:
    return plan(cells.by_name(name).step)


RESIDUALS = {
    "simple_rnn": [],
    "simple_rnn_relu": [],
    "irnn": [],
    "lstm": ["sigmoid", "sigmoid", "sigmoid", "tanh", "tanh"],  # i, f, o, the candidate and tanh(c)
    "gru": ["matmul", "sigmoid", "sigmoid", "tanh"],
    "gru_reset_before": ["sigmoid", "sigmoid", "tanh"],
    "carry_lstm": ["sigmoid", "sigmoid", "tanh"],
    "peephole_lstm": ["sigmoid", "sigmoid", "sigmoid", "tanh", "tanh"],
    "coupled_lstm": ["sigmoid", "sigmoid", "tanh", "tanh"],
    "ugrnn": ["sigmoid", "tanh"],
    "indrnn": [],
    "min_gru": ["matmul", "sigmoid"],
}


@pytest.mark.parametrize("name", RESIDUALS)
def test_residuals(name: str) -> None:
    made = of(name)
    assert sorted(n.op for n in made.residuals) == RESIDUALS[name]
    slots = made.training.slots
    assert (len(slots["residual"]), len(slots["residual_scalar"])) == (len(RESIDUALS[name]), 0)


def test_the_residuals_of_the_lstm_are_its_gates_its_candidate_and_tanh_of_c() -> None:
    step = cells.lstm.step
    h, c = step.outputs
    o, tanh_c = h.inputs
    (kept_part, added) = c.inputs
    f = kept_part.inputs[0]
    i, candidate = added.inputs
    assert {id(n) for n in of("lstm").residuals} == {id(n) for n in (i, f, candidate, o, tanh_c)}


def test_per_row_scalars_of_layer_norm_are_scalar_residuals() -> None:
    made = of("layer_norm_lstm")
    scalars = len(made.training.slots["residual_scalar"])
    assert scalars == sum(n.dims == SCALAR for n in made.residuals) > 0
    # a centred row, its deviation and the gate for each of four gates, and tanh of the normalised carry
    assert len(made.training.slots["residual"]) == 9


# ---- enough, and not too much ------------------------------------------------------------------------


@functools.cache
def own(step: Step) -> set[int]:
    return {id(n) for n in step.nodes}


@functools.cache
def wanted(step: Step) -> list[Node]:
    """What the backward pass must compute."""
    derived = backward(step)
    pairs = [n for terms in derived.matrices.values() for pair in terms for n in pair]
    return [n for n in (*derived.states, *derived.vectors.values(), *pairs) if n is not None]


@functools.cache
def made_of_parameters(step: Step) -> set[int]:
    """What is computed once, forward and backward, and never saved."""
    found: set[int] = set()
    for n in step.nodes:
        if all(id(i) in found for i in n.inputs) if n.inputs else n.op in ("parameter", "constant", "size"):
            found.add(id(n))
    return found


def enough(step: Step, saved: list[Node]) -> bool:
    """Whether the backward pass follows from the leaves, the new states and these by operations that may be
    recomputed."""
    forward = own(step)
    stored = {id(n) for n in (*saved, *step.outputs)} | made_of_parameters(step)
    known: dict[int, bool] = {}

    def can(n: Node) -> bool:
        if id(n) not in known:
            dear = id(n) in forward and bool(n.inputs) and TABLE[n.op].save
            known[id(n)] = id(n) in stored or (not dear and all(can(i) for i in n.inputs))
        return known[id(n)]

    return all(can(n) for n in wanted(step))


@cell
def sharp(x, h, *, W, U, b):
    """Many operations that may be recomputed between those that may not."""
    a = W @ x + U @ h
    e = stepfold.exp(tanh(a) * 0.5 + b) + a * a
    return softmax(e - h) * sigmoid(e * a) / (1.5 + stepfold.abs(a))


@cell
def only_reads(x, h, c, *, W, V):
    return tanh(W @ x), h * c + V @ (c * c)


CELLS = [cells.by_name(name) for name in UNIFORM] + [sharp, only_reads]


@pytest.mark.parametrize("cell_", CELLS, ids=lambda c: c.name)
def test_the_residuals_are_enough_and_none_is_needless(cell_: Cell) -> None:
    saved = list(plan(cell_.step).residuals)
    assert enough(cell_.step, saved)
    for k in range(len(saved)):
        assert not enough(cell_.step, saved[:k] + saved[k + 1 :]), f"{saved[k]} is saved for nothing"


# every subset is tried: the cell must be small
SMALL = [c for c in CELLS if c.name in {*KINDS, "sharp", "only_reads"} - {"slstm"} and "norm" not in c.name]


@pytest.mark.parametrize("cell_", SMALL, ids=lambda c: c.name)
def test_no_smaller_set_would_do(cell_: Cell) -> None:
    saved = [n for n in plan(cell_.step).residuals if n.dims != SCALAR]
    values = [n for n in cell_.step.nodes if n.inputs and not n.boolean and n not in cell_.step.outputs]
    scalars = [n for n in values if n.dims == SCALAR]
    rows = [n for n in values if n.dims != SCALAR]
    for smaller in combinations(rows, len(saved) - 1) if saved else ():
        assert not enough(cell_.step, [*smaller, *scalars]), f"{smaller} would do"


# ---- what leaves the loop ----------------------------------------------------------------------------


def products(made: Plan) -> list[str]:
    stages = [*made.inference.stages, *made.training.stages]
    return [name for s in stages for n in s.products for name, _, _ in matrix_terms(n)]


@pytest.mark.parametrize("name", UNIFORM)
def test_kernels_leave_the_loop_and_recurrent_kernels_stay(name: str) -> None:
    made = of(name)
    dims = made.step.parameters
    projected = [kernel for p in made.projections for kernel in p.kernels]
    assert sorted(projected) == sorted(n for n, d in dims.items() if d == ("units", "features"))
    assert set(products(made)) == {n for n, d in dims.items() if d == ("units", "units")}
    assert made.input_deltas == len(made.projections)
    assert sorted(d for d in made.projection_deltas if d is not None) == list(range(made.input_deltas))


def test_what_is_added_to_a_projection_leaves_with_it() -> None:
    made = of("lstm")
    assert {(p.kernels, p.vectors) for p in made.projections} == {((f"W_{g}",), (f"b_{g}",)) for g in "ifco"}
    assert made.vectors == ()
    # but not past a product with a gate
    gru = of("gru")
    assert {(p.kernels, p.vectors) for p in gru.projections} == {((f"W_{g}",), (f"b_{g}",)) for g in "zrh"}
    assert gru.vectors == ("c_h",)


@cell
def two_kernels(x, h, *, W, V, U, b, c):
    return tanh(W @ x + b + U @ h + V @ x + c)


@cell
def used_twice(x, h, *, W, U, b):
    seen = W @ x
    return tanh(seen + b) * sigmoid(seen + U @ h)


def test_kernels_that_are_added_are_one_projection() -> None:
    (projection,) = plan(two_kernels.step).projections
    assert (sorted(projection.kernels), sorted(projection.vectors)) == (["V", "W"], ["b", "c"])


def test_a_projection_that_serves_two_is_computed_once() -> None:
    made = plan(used_twice.step)
    assert [(p.kernels, p.vectors) for p in made.projections] == [(("W",), ())]
    assert made.vectors == ("b",)


# ---- stages ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "forward", "back"),
    [
        ("simple_rnn", 1, 2),
        ("lstm", 1, 2),
        ("gru", 1, 2),  # the reset comes after the product: nothing waits
        ("gru_reset_before", 2, 3),  # U_h @ (r * h) waits for r
        ("indrnn", 1, 1),  # no product at all
        ("min_gru", 1, 1),
    ],
)
def test_stages(name: str, forward: int, back: int) -> None:
    made = of(name)
    assert len(made.inference.stages) == len(made.training.stages) == forward
    assert len(made.backward.stages) == back


def test_all_gates_of_one_operand_are_one_walk() -> None:
    (stage,) = of("lstm").inference.stages
    assert len(stage.products) == 4
    assert of("lstm").inference.slots["scratch"] == ()


def test_deltas_of_the_input_come_first_and_vectors_are_sums_of_deltas() -> None:
    made = of("gru")
    assert (made.deltas, made.input_deltas) == (4, 3)
    assert {o.delta for o in made.outers if o.operand.kind == "input"} == {0, 1, 2}
    assert {name for name, _ in made.column_sums} == {"b_z", "b_r", "b_h", "c_h"}
    assert made.vector_gradients == ()
    assert set(of("peephole_lstm").vector_gradients) == {"p_i", "p_f", "p_o"}


def test_only_operands_that_lie_nowhere_are_recomputed() -> None:
    assert of("lstm").operands == 0
    assert of("gru_reset_before").operands == 1  # r * h


def test_the_plan_of_equal_steps_is_made_once() -> None:
    assert plan(cells.lstm.step) is plan(Cell.from_json(cells.lstm.to_json()).step)


# ---- values of several axes --------------------------------------------------------------------------


@cell
def associative(x, C: "value key", *, W_q: "key features", W_k: "key features", W_v: "value features"):
    k = tanh(W_k @ x)
    C = sigmoid(stepfold.sum(k)) * C + stepfold.outer(W_v @ x, k)
    return C @ (W_q @ x), C


def test_a_pass_walks_once_over_matrices_and_stores_none_besides_states() -> None:
    made = plan(associative.step)
    assert all(len(n.dims) < 2 for n in made.residuals)
    for arrangement, walks in ((made.inference, 1), (made.training, 1), (made.backward, 1)):
        assert sum(len(stage.dims) == 2 for stage in arrangement.stages) == walks
        assert all(len(dims) < 2 for dims in arrangement.slots["scratch"])


def test_each_stage_has_values_of_its_own_axes() -> None:
    for arrangement in (plan(associative.step).backward, plan(cells.by_name("projected_lstm").step).backward):
        for stage in arrangement.stages:
            assert all(n.dims in (stage.dims, SCALAR) for n in (*stage.body, *stage.products))
            assert all(n.inputs[0].dims == stage.dims for n in (*stage.reductions, *stage.contractions))
