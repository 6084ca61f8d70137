"""The table of operations: every column of every row, and the derivatives where a subgradient is chosen."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from core_helpers import close, slope

import stepfold
from stepfold._dims import size_of
from stepfold._gradient import vjp
from stepfold._graph import KERNEL, RECURRENT_KERNEL, SCALAR, UNITS, Node, constant, leaf, topological_order
from stepfold._llvm._vectors import Vectors
from stepfold._moves import MOVES, SUMS, WINDOWS, offset, takes_offset
from stepfold._ops import (
    MATRIX_PRODUCTS,
    PRODUCTS,
    REDUCTIONS,
    TABLE,
    Operation,
    add,
    apply,
    multiply,
    negate,
    subtract,
)
from stepfold._reference import evaluate
from stepfold._step import Step

A, B, H, C = (leaf("state", name) for name in "abhc")
POINTS = {
    "log": [0.3, 1.7, 2.5, 0.9],
    "sqrt": [0.3, 1.7, 2.5, 0.9],
    "divide": [0.6, -1.5, 2.0, 0.7],
}
ANY = [-1.3, 0.4, 2.2, -0.2]


class Recorder:
    """Stands for a vector builder: calls of methods that exist there are recorded, others fail."""

    def __init__(self) -> None:
        self.called: list[str] = []

    def __getattr__(self, name: str) -> object:
        assert callable(getattr(Vectors, name, None)), f"Vectors has no method {name}"

        def record(*inputs: object) -> str:
            self.called.append(name)
            return name

        return record


@pytest.mark.parametrize("op", TABLE)
def test_no_column_is_empty(op: str) -> None:
    row = TABLE[op]
    assert callable(row.dims)
    assert callable(row.numpy)
    assert callable(row.derivative)
    assert callable(row.onnx)
    assert row.text.count("{}") == row.arity
    assert row.arity >= 1
    operands = [f"v{k}" for k in range(row.arity)]
    assert all(operand in row.latex.format(*operands) for operand in operands)
    if op in (*PRODUCTS, *MATRIX_PRODUCTS, *REDUCTIONS, *MOVES):
        assert row.llvm is None
        # outer is computed again from two vectors in the walk that wants it, places are changed by copies
        assert row.save == ((op != "outer" and op not in MOVES) or op in SUMS)
    else:
        recorder = Recorder()
        assert row.llvm is not None
        assert row.llvm(recorder, *operands) is not None
        assert recorder.called


def node_of(op: str) -> tuple[Node, list[str]]:
    names = ["a", "b", "c"][: TABLE[op].arity]
    inputs: list[Node] = [leaf("state", name) for name in names]
    if op == "where":
        return apply("where", apply("greater", inputs[0], constant(0.0)), *inputs[1:]), names
    if op in PRODUCTS:
        return apply(op, leaf("parameter", "M", dims=RECURRENT_KERNEL), inputs[1]), names[1:]
    if op in ("matvec", "matvec_transposed"):
        inputs[0] = leaf("state", "a", dims=RECURRENT_KERNEL)
    if takes_offset(op, 1):
        sizes = {"part": ("1", "2"), "pad": ("3", "units+5"), "rename": ("0", "4")}
        sizes |= {"repeat": ("3", "3*units"), "block_sums": ("2", "units/2")}
        begin, axis = sizes.get(op, ("-3", "units"))
        return apply(op, inputs[0], offset(begin, (axis,) if op in WINDOWS else ())), names[:1]
    return apply(op, *inputs), names


@pytest.mark.parametrize("op", [op for op, row in TABLE.items() if not row.boolean])
def test_every_derivative_is_the_slope(op: str) -> None:
    node, names = node_of(op)
    output = node if node.dims else multiply(node, constant(1.0, UNITS))
    random = np.random.default_rng(3)
    units = 4
    sizes = {"units": units}
    point = {name: np.array(POINTS.get(op, ANY)) * (1 + 0.3 * k) + 0.05 * k for k, name in enumerate(names)}
    dims = {}
    if op == "max":
        point["a"] = np.array(ANY)
    if op in ("matvec", "matvec_transposed"):
        dims["a"] = RECURRENT_KERNEL
        point["a"] = random.standard_normal((units, units))
    values = {("state", name): value for name, value in point.items()} | {
        ("parameter", "M"): random.standard_normal((units, units)),
        ("cotangent", "y"): random.standard_normal([size_of(axis, sizes) for axis in output.dims]),
    }
    matrices = {"M": RECURRENT_KERNEL} if op in PRODUCTS else {}
    step = Step("one", tuple(names), matrices, (output,), state_dims=dims)
    back = vjp([output], [leaf("cotangent", "y", dims=output.dims)], step)
    given = values["cotangent", "y"]

    def loss(leaves: dict[tuple[str, str], np.ndarray]) -> float:
        return float(
            (evaluate(topological_order([output]), leaves, sizes, np.float64)[id(output)] * given).sum()
        )

    def moved(leaf_name: tuple[str, str], d: np.ndarray) -> Callable[[float], float]:
        return lambda e: loss({**values, leaf_name: values[leaf_name] + e * d})

    computed = evaluate(back.nodes, values, sizes, np.float64)
    for name, gradient in zip(names, back.states, strict=True):
        if gradient is None:
            assert (op, name) in (("where", "a"), ("floor", "a"))
            continue
        found = np.broadcast_to(computed[id(gradient)], point[name].shape)
        for u in np.ndindex(found.shape):
            d = np.zeros(found.shape)
            d[u] = 1.0
            close(found[u], slope(moved(("state", name), d)), 1e-8)
    for left, right in back.matrices.get("M", ()):
        outer = np.outer(*(np.broadcast_to(computed[id(n)], (units,)) for n in (left, right)))
        d = random.standard_normal((units, units))
        close((outer * d).sum(), slope(moved(("parameter", "M"), d)), 1e-8)


@pytest.mark.parametrize("op", [op for op, row in TABLE.items() if not row.boolean])
def test_every_derivative_can_be_derived_again(op: str) -> None:
    node, _ = node_of(op)
    d = leaf("cotangent", "y", dims=node.dims)
    for first in TABLE[op].derivative(node, d):
        for n in topological_order([] if first is None else [first]):
            if n.inputs:
                assert len(TABLE[n.op].derivative(n, leaf("cotangent", "z", dims=n.dims))) == len(n.inputs)


def derivative(op: str, *points: float) -> list[float]:
    """The derivatives of an operation of one unit at a point."""
    inputs = [leaf("state", name) for name in "ab"[: len(points)]]
    y = apply(op, *inputs)
    found = TABLE[op].derivative(y, constant(1.0, UNITS))
    leaves = {("state", name): np.array([p]) for name, p in zip("ab", points, strict=False)}
    return [
        float(evaluate(topological_order([n]), leaves, {"units": 1}, np.float64)[id(n)].item())
        for n in found
        if n is not None
    ]


def test_chosen_subgradients() -> None:
    assert derivative("relu", 0.0) == [0.0]
    assert derivative("abs", 0.0) == [0.0]
    assert derivative("abs", -0.0) == [0.0]
    assert derivative("maximum", 1.5, 1.5) == [0.5, 0.5]
    assert derivative("minimum", 1.5, 1.5) == [0.5, 0.5]
    assert derivative("maximum", 1.0, 2.0) == [0.0, 1.0]
    assert derivative("minimum", 1.0, 2.0) == [1.0, 0.0]


def test_units_equal_to_the_maximum_share_its_gradient() -> None:
    y = apply("max", H)
    (d,) = TABLE["max"].derivative(y, constant(1.0))
    assert d is not None
    found = evaluate(
        topological_order([d]), {("state", "h"): np.array([2.0, -1.0, 2.0, 0.0])}, {"units": 4}, np.float64
    )[id(d)]
    np.testing.assert_array_equal(found, [0.5, 0.0, 0.5, 0.0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("op", "function"),
    [
        ("sigmoid", lambda x: 1 / (1 + math.exp(-x))),
        ("softplus", lambda x: math.log1p(math.exp(x))),
        ("erf", math.erf),
        ("relu", lambda x: max(x, 0.0)),
        ("tanh", math.tanh),
    ],
)
def test_numpy_implementations(op: str, function: object, dtype: type) -> None:
    x = np.linspace(-20, 20, 81, dtype=dtype)
    found = TABLE[op].numpy(x)
    assert found.dtype == dtype
    expected = np.array([function(float(v)) for v in x])  # type: ignore[operator]
    np.testing.assert_allclose(
        found, expected, rtol=4 * np.finfo(dtype).eps, atol=0 if op != "erf" else 1e-30
    )


@pytest.mark.parametrize("op", ["sigmoid", "softplus", "relu", "tanh", "erf"])
def test_numpy_implementations_at_infinity(op: str) -> None:
    limits = {"sigmoid": [0.0, 1.0], "softplus": [0.0, np.inf], "relu": [0.0, np.inf]}
    with np.errstate(all="raise", under="ignore"):
        found = TABLE[op].numpy(np.array([-np.inf, np.inf, -1e4, 1e4], np.float32))
    low, high = limits.get(op, [-1.0, 1.0])
    np.testing.assert_array_equal(found[:2], [low, high])
    assert np.isfinite(found[2:]).all()
    assert np.isnan(TABLE[op].numpy(np.array([np.nan]))).all()


def test_functions_on_arrays_are_the_numpy_implementations() -> None:
    random = np.random.default_rng(0)
    a, b = random.standard_normal((2, 5)), random.standard_normal((2, 5))
    for name in ("tanh", "sigmoid", "relu", "exp", "abs", "erf", "softplus", "sin", "cos"):
        np.testing.assert_array_equal(getattr(stepfold, name)(a), TABLE[name].numpy(a))
    np.testing.assert_array_equal(stepfold.log(np.abs(a)), np.log(np.abs(a)))
    np.testing.assert_array_equal(stepfold.sqrt(np.abs(a)), np.sqrt(np.abs(a)))
    np.testing.assert_array_equal(stepfold.maximum(a, b), np.maximum(a, b))
    np.testing.assert_array_equal(stepfold.minimum(a, 0.0), np.minimum(a, 0.0))
    np.testing.assert_array_equal(stepfold.where(a > b, a, b), np.maximum(a, b))
    np.testing.assert_array_equal(stepfold.logical_and(a > b, a > 0), (a > b) & (a > 0))
    np.testing.assert_array_equal(stepfold.logical_or(a > b, a > 0), (a > b) | (a > 0))
    np.testing.assert_array_equal(stepfold.logical_not(a > b), a <= b)
    np.testing.assert_array_equal(stepfold.square(a), a * a)
    np.testing.assert_allclose(stepfold.logsumexp(a + 800.0), np.log(np.exp(a).sum(1, keepdims=True)) + 800)
    np.testing.assert_array_equal(stepfold.clip(a, -0.5, 0.5), np.clip(a, -0.5, 0.5))
    np.testing.assert_allclose(stepfold.sum(a), a.sum(1, keepdims=True))
    np.testing.assert_allclose(stepfold.mean(a[0]), a[0].mean())
    np.testing.assert_array_equal(stepfold.max(a), a.max(1, keepdims=True))
    np.testing.assert_allclose(stepfold.softmax(a).sum(1), 1.0)
    np.testing.assert_allclose(stepfold.softmax(a[0]), stepfold.softmax(a)[0])
    normal = stepfold.layer_norm(a, 2.0, 1.0, epsilon=0.0)
    np.testing.assert_allclose(normal.mean(1), 1.0)
    np.testing.assert_allclose(normal.std(1), 2.0)


@pytest.mark.parametrize(
    ("name", "points"),
    [
        ("hard_sigmoid", {-4.0: 0.0, 0.0: 0.5, 1.5: 0.75, 4.0: 1.0}),
        ("silu", {0.0: 0.0, 2.0: 2 / (1 + math.exp(-2))}),
        ("gelu", {0.0: 0.0, 1.0: 0.5 * (1 + math.erf(math.sqrt(0.5)))}),
        ("softsign", {1.0: 0.5, -3.0: -0.75}),
        ("elu", {2.0: 2.0, -1.0: math.exp(-1) - 1}),
        ("linear", {2.0: 2.0}),
    ],
)
def test_composed_functions(name: str, points: dict[float, float]) -> None:
    found = getattr(stepfold, name)(np.array(list(points)))
    np.testing.assert_allclose(found, list(points.values()), rtol=1e-15)


def test_simpler_forms() -> None:
    assert add(A, constant(0.0)) is A
    assert multiply(constant(1.0), A) is A
    assert multiply(A, -1.0) is negate(A)
    assert add(A, negate(B)) is subtract(A, B)
    assert subtract(A, negate(B)) is add(A, B)
    assert negate(negate(A)) is A
    assert add(constant(2.0), constant(3.0, UNITS)) is constant(5.0, UNITS)
    number = apply("sum", A)
    assert multiply(number, constant(1.0, UNITS)).dims == UNITS
    # 0 * x is not 0 where x is NaN or infinite
    assert multiply(A, 0.0).op == "multiply"
    # a constant is never NaN
    assert subtract(constant(math.inf), constant(math.inf)).op == "subtract"
    with pytest.raises(ValueError, match=r"^a constant cannot be NaN$"):
        constant(math.nan)


def test_axes_that_do_not_fit() -> None:
    kernel = leaf("parameter", "W", dims=KERNEL)
    x = leaf("input", dims=("features",))
    with pytest.raises(ValueError, match=r"^\(features,\) and \(units,\) do not fit together elementwise$"):
        apply("add", x, A)
    with pytest.raises(ValueError, match=r"^\(units, features\) @ \(units,\) do not fit$"):
        apply("matmul", kernel, A)
    with pytest.raises(ValueError, match=r"^outer takes two vectors, not \(units,\) and a scalar$"):
        apply("outer", A, apply("sum", A))
    with pytest.raises(ValueError, match=r"^sum, mean and max reduce the units of a row, not a scalar$"):
        apply("sum", apply("sum", A))


def test_a_new_operation_is_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    row = TABLE["tanh"]
    sine = Operation(
        row.dims,
        np.sinh,
        lambda y, d: (d,),
        lambda w, a: a,
        lambda b, a: b.operator("Sinh", a),
        "sinh({})",
        r"\sinh({})",
    )
    monkeypatch.setitem(TABLE, "sinh", sine)
    y = apply("sinh", A)
    assert y.dims == UNITS
    assert evaluate([A, y], {("state", "a"): np.array([0.5])}, 1, np.float64)[id(y)] == np.sinh(0.5)


def test_scalars_are_broadcast_over_units() -> None:
    y = multiply(apply("sum", A), constant(1.0, UNITS))
    assert y.dims == UNITS
    assert apply("sum", A).dims == SCALAR


def test_conditions_are_written_with_the_parentheses_that_python_needs() -> None:
    @stepfold.cell
    def step(x, h, c, *, W):
        small = (W @ x > h) & ((h > c) | ~(c <= 0.0))
        return stepfold.where(small, stepfold.sin(h), stepfold.cos(c) ** 2), c

    text = step.show()
    assert "where((W @ x > h) & ((h > c) | ~(c <= 0)), sin(h), cos(c)**2)" in text
    assert r"h_{t-1}) \land ((h_{t-1} > c_{t-1}) \lor \lnot (c_{t-1} \le 0))" in step.show("latex")
    assert stepfold.Cell.from_json(step.to_json()) == step
