"""Inputs with a name: elementwise, behind matrices, several at a time; their gradients."""

# ruff: noqa: F821, UP037
from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import stepfold
from stepfold import Cell, Scalar, Stream, cell, exp, maximum, sigmoid, tanh
from stepfold._runtime import Recipe
from tests.runtime.scan_helpers import problem, ragged


@cell
def decayed(x: "features", m: "features", gap: Scalar, /, h, last: "features", *, W, U, V, w: "features", b):
    """Several inputs, none of which only stands behind kernels."""
    fade = exp(-maximum(w * gap, 0.0))
    filled = m * x + (1.0 - m) * fade * last
    return tanh(W @ filled + U @ h + V @ m + b * gap), m * x + (1.0 - m) * last


@cell
def gated(x, z: "units", gap: Scalar, /, h, *, W, U, b):
    """An input behind kernels besides."""
    return sigmoid(z) * h + tanh(W @ x + U @ h + b) * gap


@cell
def plain(z: "units", /, h, *, u):
    """One input, elementwise; it does not matter to all results."""
    return tanh(z + u * h)


@cell
def partly(x, z: "units", seen: "features", /, h, *, W):
    """An input without a gradient: only its sign matters."""
    return tanh(W @ x) * 0.5 + stepfold.where(z > 0.0, h, 0.5 * h) * stepfold.mean(seen)


CELLS = {found.name: found for found in (decayed, gated, plain, partly)}


@pytest.mark.parametrize("layout", ["batch", "time", "packed"])
@pytest.mark.parametrize("name", CELLS)
def test_named_inputs_as_the_reference_has_them(name: str, layout: str) -> None:
    found, features = CELLS[name], 5
    sizes = {"features": features} if "features" in found.step.axes else {}
    for units, dtype, padding in ((17, "float64", "repeat"), (4, "float32", "zero"), (16, "float64", "none")):
        lengths = [6, 4, 3, 3] if layout == "packed" else [3, 6, 0, 5]
        made = problem(
            found, 4, 6, features, units, dtype, sizes=sizes, mask=ragged(lengths, 6), layout=layout
        )
        made = made.but(padding=padding, reverse=layout == "time")
        if layout == "packed":
            made = made.but(output_gradient=made.output_gradient * made.mask[:, :, None])
        made.check()


def test_tokens_beside_a_named_input_share_no_prefix() -> None:
    made = problem(gated, 5, 6, 3, 9)
    random = np.random.default_rng(0)
    made = made.but(inputs=random.standard_normal((4, 3)), tokens=np.ones((5, 6), np.int64))
    assert not made.recipe.shares
    made.but(initial=[None]).check()
    wide = made.params | {"W": random.standard_normal((9, 5))}
    made.but(initial=[None], side=random.standard_normal((5, 6, 2)), params=wide).check()


# ---- the surface ------------------------------------------------------------------------------------------


def arrays_of(found: Cell, dtype: str = "float32") -> tuple[tuple[Any, ...], dict[str, np.ndarray]]:
    random = np.random.default_rng(0)
    params = found.init(3, 5, seed=0, dtype=dtype)
    params = {n: p + random.standard_normal(p.shape).astype(dtype) * 0.3 for n, p in params.items()}
    axes = {"features": 3, "units": 5, "1": 1}
    given = [random.standard_normal((4, 6, 3)).astype(dtype)] * found.step.takes_features
    for (axis,) in found.step.inputs.values():
        given.append(random.standard_normal((4, 6, axes[axis])).astype(dtype))
    return tuple(given), params


@pytest.mark.parametrize("checkpoint", [False, True])
def test_record_gives_gradients_as_inputs_are_given(checkpoint: bool) -> None:
    (x, m, gap), params = arrays_of(decayed)
    lengths = [6, 2, 0, 3]
    run = stepfold.record(
        decayed, (x, m, gap), params, lengths=lengths, return_sequences=True, checkpoint=checkpoint
    )
    found = run.backward(np.ones_like(run.output))
    flat = stepfold.record(
        decayed, [x, m, gap[..., 0]], params, lengths=lengths, return_sequences=True
    ).backward(np.ones_like(run.output))
    assert [g.shape for g in found.inputs] == [(4, 6, 3), (4, 6, 3), (4, 6, 1)]
    assert [g.shape for g in flat.inputs] == [(4, 6, 3), (4, 6, 3), (4, 6)]
    for mine, theirs in zip(found.inputs, flat.inputs, strict=True):
        np.testing.assert_allclose(mine.reshape(theirs.shape), theirs, rtol=1e-4, atol=1e-5)
        assert not mine[2].any()
        assert not mine[1, 2:].any()
        assert mine[0].any()


def test_one_sequence_and_one_input() -> None:
    (z,), params = arrays_of(plain)
    many = stepfold.scan(plain, z, params, return_sequences=True)
    one = stepfold.record(plain, z[1], params, return_sequences=True)
    np.testing.assert_allclose(one.output, many[1], rtol=1e-6)
    assert one.backward(np.ones_like(one.output)).inputs.shape == (6, 5)


def test_inputs_that_do_not_fit() -> None:
    (x, m, gap), params = arrays_of(decayed)

    def refused(given: Any, error: type[Exception], words: str, **more: Any) -> None:
        with pytest.raises(error, match=words):
            stepfold.scan(decayed, given, params, **more)

    refused(x, TypeError, r"^decayed has 3 inputs, x, m, gap; give a tuple of as many arrays$")
    refused((x, m), TypeError, "decayed has 3 inputs")
    refused((x, m[:, :, :2], gap), ValueError, r"^input m has shape \(4, 6, 2\), expected \(4, 6, 3\)$")
    refused((x, m, gap[:, :5]), ValueError, r"^input gap has shape \(4, 5, 1\), expected \(4, 6, 1\)$")
    refused((x, m, gap.astype("float64")), TypeError, "input gap is float64, not float32")
    refused((x[0, 0], m, gap), ValueError, r"input x has shape \(3,\), expected \(batch, time, features\)")
    refused((x, m, gap), ValueError, "decayed has no input without a name", table=np.ones((2, 3), "float32"))
    refused(
        (x[..., :2], m[..., :2], gap),
        ValueError,
        r"W has shape \(5, 3\), expected \(units, features\) = \(5, 2\)",
    )
    with pytest.raises(ValueError, match="no input without a name"):
        Recipe.of(decayed.step, 5, {"features": 3}, tokens=True)


@pytest.mark.parametrize("name", CELLS)
def test_a_stream_takes_the_same_inputs(name: str) -> None:
    found = CELLS[name]
    inputs, params = arrays_of(found)
    outputs = stepfold.scan(found, inputs if len(inputs) > 1 else inputs[0], params, return_sequences=True)
    one, many = Stream(found, params), Stream(found, params, 4)
    for t in range(6):
        first, all_rows = (tuple(a[rows, t] for a in inputs) for rows in (slice(1), slice(None)))
        if len(inputs) == 1:
            first, all_rows = first[0], all_rows[0]
        np.testing.assert_allclose(one.step(first), outputs[:1, t], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(many.step(all_rows), outputs[:, t], rtol=1e-5, atol=1e-5)
    if len(inputs) > 1:
        with pytest.raises(TypeError, match=f"{name} has {len(inputs)} inputs, .*; give a tuple of as many"):
            one.step(inputs[0][:1, 0])
        with pytest.raises(ValueError, match=r"(gap|seen) has shape \(3,\), expected \(batch, \w+\) = "):
            many.step((*(a[:, 0] for a in inputs[:-1]), np.zeros(3)))


def test_a_stream_of_many_rows_on_threads() -> None:
    inputs, params = arrays_of(gated)
    rows = 300
    wide = tuple(np.repeat(a, 75, axis=0) for a in inputs)
    outputs = stepfold.scan(gated, wide, params, return_sequences=True)
    stream = Stream(gated, params, rows, threads=2)
    for t in range(6):
        found = stream.step(tuple(a[:, t] for a in wide))
        np.testing.assert_allclose(found, outputs[:, t], rtol=1e-5, atol=1e-5)
