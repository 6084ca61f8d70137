# ruff: noqa: F722, F821, UP037
"""Parts of vectors: what they are called, what they compute, what is refused with which cure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import stepfold
from stepfold import (
    Cell,
    CellError,
    cell,
    concatenate,
    cumsum,
    repeat,
    reverse,
    roll,
    scan,
    shift,
    split,
    tanh,
)
from stepfold._axes import difference, divided, learn, parsed, summed, text_of
from stepfold._dims import size_of


def test_axes_are_sums_in_one_form() -> None:
    assert summed("units", "features", "1", "2") == "features+units+3"
    assert difference("4*units", "units") == "3*units"
    assert difference("units", "units+3") == "-3"
    assert difference("units-keep", "units") == "-keep"
    assert divided("6*units", 4) == "3*units/2"
    assert summed("units/2", "units/2") == "units"
    assert summed("0") == difference("a", "a") == "0"
    for text in ("units-1", "4*units", "units/2", "features+units", "3*units/2-keep+7", "12"):
        assert text_of(parsed(text)) == text
    for text in ("", "units+", "2units", "units**2", "(units)", "Units", "a" * 200, "9999999*units"):
        with pytest.raises(ValueError, match=r"is no axis|has a number above"):
            parsed(text)
    sizes = {"units": 7, "keep": 3}
    assert size_of("3*units-keep+2", sizes) == 20
    with pytest.raises(ValueError, match=r"units/2 is 7/2 with units 7; it must be an integer"):
        size_of("units/2", sizes)
    with pytest.raises(
        ValueError, match=r"the axis 9000\*units has 63,000,000 elements with units 7000, more"
    ):
        size_of("9000*units", {"units": 7000})
    with pytest.raises(ValueError, match=r"the axis units-9 has -2 elements with units 7; it needs at least"):
        size_of("units-9", sizes)
    found: dict[str, int] = {"features": 4}
    learn([(("4*units", "features+units"), (24, 10))], found)
    assert found == {"features": 4, "units": 6}


@pytest.mark.parametrize("size", [1, 2, 5])
def test_numbers_of_every_function(size: int) -> None:
    v = np.arange(1.0, size + 1)
    np.testing.assert_array_equal(roll(v, 2), np.roll(v, 2))
    np.testing.assert_array_equal(roll(v, -7), np.roll(v, -7))
    for by in (-9, -1, 0, 1, 3):
        expected = [v[i - by] if 0 <= i - by < size else 0.0 for i in range(size)]
        np.testing.assert_array_equal(shift(v, by), expected)
    np.testing.assert_array_equal(reverse(v), v[::-1])
    np.testing.assert_array_equal(repeat(v, 3), np.repeat(v, 3))
    np.testing.assert_array_equal(cumsum(v), np.cumsum(v))
    np.testing.assert_array_equal(cumsum(v, reverse=True), np.cumsum(v[::-1])[::-1])
    np.testing.assert_array_equal(concatenate([v, 3.0, v]), [*v, 3.0, *v])
    assert cumsum(v.astype(np.float32)).dtype == np.float32


ORDER = np.array([2, 2])


@cell
def sliced(x: "features", h, *, W: "units features", b):
    """Slices by integers, from both ends."""
    v = tanh(W @ x + h)
    ends = v[-2:] * v[:2]
    turned = concatenate([v[[3, 0, 1, -1]], v[ORDER]], "units")
    return v + b * (ends[0] + v[3]) + concatenate([v[2:], v[1:3]], "units") + v[1:-1][::-1][-2] * turned


@cell
def named(x, h, *, W, b: "write"):
    """Parts by the names of their axes, of which one parameter has one."""
    keep, write = split(W @ x + h, "keep write")
    return concatenate([write * b, keep], "units")


def test_a_part_has_the_elements_of_a_slice() -> None:
    random = np.random.default_rng(0)
    params = {"W": random.standard_normal((6, 3)), "b": random.standard_normal(6)}
    x, h = random.standard_normal((2, 3)), random.standard_normal((2, 6))
    v = np.tanh(x @ params["W"].T + h)
    expected = v + (v[:, -2] * v[:, 0] + v[:, 3])[:, None] * params["b"]
    turned = v[:, [3, 0, 1, -1, 2, 2]]
    expected = expected + np.concatenate([v[:, 2:], v[:, 1:3]], -1) + v[:, 2:3] * turned
    np.testing.assert_allclose(sliced(x, h, **params), expected, rtol=1e-12)
    np.testing.assert_allclose(sliced(x[1], h[1], **params), expected[1], rtol=1e-12)
    assert "v[1:-1]" not in sliced.show()
    assert "part(h', 0:2)" in sliced.show() or "part(v1, 0:2)" in sliced.show()


def test_parts_have_sizes_of_their_own() -> None:
    assert named.step.own_axes == ("units", "keep", "write")
    params = named.init(3, 5, keep=2, write=3, seed=0)
    h = np.arange(5, dtype=np.float32)
    params["b"] += 2
    np.testing.assert_array_equal(named(np.zeros(3), h, **params), [4, 6, 8, 0, 1])  # the function itself
    np.testing.assert_array_equal(named(np.zeros((1, 3)), h[None], **params), [[4, 6, 8, 0, 1]])
    x = np.zeros((1, 2, 3), np.float32)
    # keep follows from write and units
    found = scan(named, x, params, initial_state=[h[None]], return_sequences=True)
    np.testing.assert_array_equal(found, [[[4, 6, 8, 0, 1], [16, 0, 2, 4, 6]]])
    with pytest.raises(
        ValueError, match=r"named: keep\+write is 6 with keep 3, write 3, but units is 5; they must be equal"
    ):
        named.init(3, 5, keep=3, write=3)
    with pytest.raises(ValueError, match="named needs the size of keep; give keep=…"):
        named.init(3, 5, write=3)
    with pytest.raises(
        ValueError, match=r"sliced: the axis units-2 has 0 elements with units 2; it needs at"
    ):
        sliced.init(3, 2)
    with pytest.raises(
        ValueError, match=r"sliced: 1 elements from element 3 on do not lie in units, which is 3"
    ):
        sliced.init(3, 3)
    with pytest.raises(ValueError, match=r"halves: units/2 is 5/2 with units 5; it must be an integer"):
        halves.init(3, 5)
    with pytest.raises(
        ValueError, match="the size of the axis keep could be known; declare one that has the axis keep"
    ):
        scan(free, x, {"W": np.ones((5, 3), np.float32)})


@cell
def halves(x, h, *, W):
    """Two equal parts."""
    first, second = split(W @ x + h, 2)
    return concatenate([second, first])


@cell
def free(x, h, *, W):
    """Parts whose sizes no parameter has."""
    keep, write = split(W @ x + h, "keep write")
    return concatenate([keep, write], "units")


def _error(body: Callable[[Any, Any, Any], Any]) -> str:
    """The error of a step of a vector h, a matrix S and an input."""

    def step(x, h, S: "units 4", *, W):
        return h + W @ x + 0.0 * body(x, h, S), S

    with pytest.raises(CellError) as error:
        cell(step)
    told = str(error.value)
    assert told.startswith(f"{__file__}:")
    return told


REFUSED: list[tuple[Callable[[Any, Any, Any], Any], str]] = [
    (
        lambda x, h, S: h[::2],
        "a part of a vector has no step but v[::-1]; take v[a:b], or elements by number, v[[0, 2]]",
    ),
    (lambda x, h, S: h[h > 0], "integers that are fixed when the step is traced, such as hyper-parameters"),
    (lambda x, h, S: h[:True], "parts with sizes of their own are split(v, 'keep write')"),
    (lambda x, h, S: h[3:1], "a part of a vector has at least one element, and this one is empty"),
    (lambda x, h, S: (S.T @ h)[:9], "a part ends at element 9, but the vector has 4"),
    (lambda x, h, S: (S.T @ h)[4], "a part ends at element 5, but the vector has 4"),
    (lambda x, h, S: split(S.T @ h, 3)[0], "4 elements cannot be split into 3 equal parts"),
    (lambda x, h, S: h[[0, 1.5]], "with integers that are fixed when the step is traced"),
    (lambda x, h, S: (S.T @ h)[[0, 4]], "a part ends at element 5, but the vector has 4"),
    (lambda x, h, S: h[[]], "a vector is indexed by 1 to 1,024 integers, not by 0"),
    (lambda x, h, S: split(h, 0)[0], "split takes a number of parts of at least 1, not 0"),
    (lambda x, h, S: split(h, "a B")[0], "or the axes of the parts, split(v, 'keep write'), not 'a B'"),
    (lambda x, h, S: roll(S, 1), "roll is for a vector of the step, not for (units, 4)"),
    (lambda x, h, S: S[::-1], "[::-1] is for a vector of the step, not for (units, 4)"),
    (lambda x, h, S: stepfold.sum(h)[0], "[…] is for a vector of the step, not for a scalar"),
    (lambda x, h, S: concatenate([S, h]), "the same second axis, not (units, 4) and (units,)"),
    (lambda x, h, S: roll(h, 1.5), "roll takes an integer that is fixed when the step is traced, not 1.5"),
    (lambda x, h, S: cumsum(x), "the input has features, not units; project it first with a kernel, W @ x"),
    (lambda x, h, S: reverse(h > 0), "a comparison is boolean"),
    (lambda x, h, S: repeat(h, 0), "repeat takes a number from 1 to 1,024, not 0"),
    (lambda x, h, S: repeat(S, 2), "repeat is for a vector of the step, not for (units, 4)"),
    (lambda x, h, S: repeat(h, 2) + h, "(2*units,) and (units,) do not fit together elementwise"),
    (lambda x, h, S: concatenate(h), "concatenate takes a list of vectors, concatenate([a, b])"),
    (lambda x, h, S: concatenate([h], 3), "gives the result an axis by its name, axis='units', not 3"),
    (lambda x, h, S: h[1:] + h, "(units,) and (units-1,) do not fit together elementwise"),
]


def test_one_gate_for_a_block_of_units() -> None:
    @cell
    def blocks(x, h, *, W, V: "units/4 features"):
        gate = repeat(stepfold.sigmoid(V @ x), 4)
        return gate * h + (1 - gate) * tanh(W @ x)

    assert "repeat(sigmoid(V @ x), 4)" in blocks.show()
    assert "d_V += outer(" in blocks.show("gradient")
    assert Cell.from_json(blocks.to_json()) == blocks
    params = blocks.init(3, 8, seed=0)
    x = np.random.default_rng(0).standard_normal((2, 3, 3)).astype(np.float32)
    gate = np.repeat(1 / (1 + np.exp(-x @ params["V"].T)), 4, axis=-1)
    h = np.zeros((2, 8), np.float32)
    for t in range(3):
        h = gate[:, t] * h + (1 - gate[:, t]) * np.tanh(x[:, t] @ params["W"].T)
    np.testing.assert_allclose(scan(blocks, x, params), h, rtol=1e-5)
    with pytest.raises(ValueError, match=r"units/4 is 9/4 with units 9; it must be an integer"):
        blocks.init(3, 9)
    for wrong in (3, 0, 1_000_000):
        text = blocks.to_json().replace('["offset", ["4"], ["units"]]', f'["offset", ["{wrong}"], ["units"]]')
        with pytest.raises(ValueError, match=f"and units/4 is 2 with units 8; one must be {wrong} times the"):
            scan(Cell.from_json(text), x, params)


@pytest.mark.parametrize(("body", "told"), REFUSED)
def test_what_is_refused(body: Callable[[Any, Any, Any], Any], told: str) -> None:
    assert told in _error(body)


def test_declared_sums() -> None:
    def made(axes: str) -> Cell:
        def step(x, h, *, W, b):
            return h + W @ x + stepfold.mean(b)

        step.__annotations__["b"] = axes
        return cell(step)

    assert made("units-1").parameter_shapes(features=2, units=4)["b"] == (3,)
    for axes, told in (
        ("2+units", "write '2+units' as 'units+2'"),
        ("batch-1", "an axis cannot be called 'batch'"),
        ("9999999*units", "'9999999*units' has a number above 1,048,576"),
    ):
        with pytest.raises((CellError, ValueError)) as error:
            made(axes)
        assert told in str(error.value)

    def entering(x: "units-1", h, *, W):
        return h + W @ x

    with pytest.raises(CellError, match="an input's size is that of its array: give its axis a name of its"):
        cell(entering)


def test_hostile_offsets() -> None:
    good = roll_one.to_json()
    assert Cell.from_json(good) == roll_one
    for before, after, told in (
        ('["offset", ["1"], []]', '["offset", ["units"], []]', "an offset cannot be 'units'"),
        ('["offset", ["1"], []]', '["offset", ["1;"], []]', "'1;' is no axis"),
        ('["offset", ["1"], []]', '["offset", ["1"], ["units"]]', "this takes a vector"),
        ('["offset", ["1"], []]', '["constant", [1.0], []]', "input 1 of roll is not an offset"),
        ('["roll", ', '["add", ', "input 1 of add is an offset"),
        ('["roll", ', '["part", ', r"a part of \(units,\) cannot have the axes a scalar"),
    ):
        assert before in good
        with pytest.raises(ValueError, match=told):
            Cell.from_json(good.replace(before, after))


@cell
def roll_one(x, h, *, W):
    """One shift."""
    return W @ x + roll(h, 1)
