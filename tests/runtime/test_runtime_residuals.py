"""Residuals: they describe themselves, may be moved, and are refused when they are not what is expected."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from stepfold import cells
from stepfold._llvm import CHECKED, GROUP, GROUP_WORDS, HEADER
from stepfold._native import Argument, own_threads
from stepfold._runtime import Engine, Threads
from stepfold._runtime._residuals import headers_of
from tests.runtime.scan_arrays import Array, guarded_bytes
from tests.runtime.scan_groups import groups_of
from tests.runtime.scan_helpers import Answer, Problem, problem, ragged, ready, size_of_residuals
from tests.targets import PLAINEST

BATCH, TIME, FEATURES, UNITS = 6, 8, 3, 5
OWN = Threads(own_threads(), 2)
REFUSED = "^the residuals are not those of this recipe and batch: "


def some(name: str = "lstm", **more: object) -> Problem:
    return problem(cells.by_name(name), BATCH, TIME, FEATURES, UNITS, **more)


def token_problem() -> Problem:
    random = np.random.default_rng(0)
    tokens = np.full((BATCH, TIME), 4)
    tokens[:, 5:] = random.integers(0, 7, (BATCH, 3))
    return some(initial=[None, None]).but(inputs=random.standard_normal((7, FEATURES)), tokens=tokens)


PROBLEMS: dict[str, Callable[[], Problem]] = {
    "all": some,
    "masked": lambda: some(mask=np.random.default_rng(0).random((BATCH, TIME)) > 0.4),
    "lengths": lambda: some(mask=ragged([8, 0, 3, 3, 1, 8], TIME), lengths=True),
    "tokens": token_problem,
}


def trained(made: Problem) -> tuple[Engine, Array, Answer]:
    engine = ready(made.step, made.units, made.dtype)
    _, residuals = made.forward(engine, OWN, training=True)
    assert residuals is not None
    return engine, residuals, made.backward(engine, OWN, residuals)


def assert_equal(found: Answer, expected: Answer) -> None:
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value, err_msg=key)


@pytest.mark.parametrize("shift", [0, 8, 16, 40])
@pytest.mark.parametrize("kind", PROBLEMS)
def test_they_may_be_moved(kind: str, shift: int) -> None:
    made = PROBLEMS[kind]()
    engine, residuals, expected = trained(made)
    moved, _ = guarded_bytes(residuals.size, shift)
    moved[:] = residuals
    residuals[:] = 0
    assert moved.ctypes.data % 64 == shift
    assert_equal(made.backward(engine, OWN, moved), expected)


@pytest.mark.parametrize("shift", [8, 24])
@pytest.mark.parametrize("kind", PROBLEMS)
def test_they_may_be_written_anywhere(kind: str, shift: int) -> None:
    made = PROBLEMS[kind]()
    engine, _, expected = trained(made)
    _, residuals = made.forward(engine, OWN, training=True, shift=shift)
    assert residuals is not None
    assert_equal(made.backward(engine, OWN, residuals), expected)


@pytest.mark.parametrize("kind", PROBLEMS)
def test_others_are_refused(kind: str) -> None:
    made = PROBLEMS[kind]()
    engine, residuals, expected = trained(made)
    size, random = residuals.size, np.random.default_rng(0)
    for other in (
        residuals[:-1],
        residuals[:64],
        residuals[:0],
        np.concatenate([residuals, residuals[:8]]),
    ):
        with pytest.raises(
            ValueError, match=rf"^residuals has shape \({len(other)},\), expected \({size},\)$"
        ):
            made.backward(engine, OWN, other.copy())
    with pytest.raises(TypeError, match=r"^residuals is int8, expected bytes$"):
        made.backward(engine, OWN, residuals.view(np.int8))
    for other in (
        np.zeros(size, np.uint8),
        np.full(size, 255, np.uint8),
        random.integers(0, 256, size).astype(np.uint8),
        np.roll(residuals, 8),
        np.roll(residuals, -8),
        residuals[::-1].copy(),
    ):
        with pytest.raises(ValueError, match=REFUSED):
            made.backward(engine, OWN, other)
    assert_equal(made.backward(engine, OWN, residuals), expected)


def of_size(residuals: Array, size: int) -> Array:
    """The same bytes, cut or followed by zeros."""
    found = np.zeros(size, np.uint8)
    found[: min(size, residuals.size)] = residuals[:size]
    return found


def test_those_of_another_call_are_refused() -> None:
    made = some()
    engine, residuals, _ = trained(made)
    mask = np.ones((BATCH, TIME), bool)
    others = [
        problem(cells.lstm, TIME, BATCH, FEATURES, UNITS),
        problem(cells.lstm, BATCH + 1, TIME, FEATURES, UNITS),
        problem(cells.lstm, BATCH, TIME - 1, FEATURES, UNITS),
        problem(cells.lstm, BATCH, TIME, FEATURES, UNITS + 1),
        problem(cells.lstm, BATCH, TIME, FEATURES, UNITS, "float32"),
        some("gru"),
        some("layer_norm_lstm"),
        some(reverse=True),
        some(layout="time"),
        some(mask=mask),
        some(mask=mask, lengths=True),
        some(mask=mask, padding="zero"),
        token_problem(),
        some(mask=mask, layout="packed"),
    ]
    for other in others:
        wanted = ready(other.step, other.units, other.dtype)
        with pytest.raises(ValueError, match=REFUSED):
            other.backward(wanted, OWN, of_size(residuals, size_of_residuals(other, wanted)))
        its = trained(other)[1]
        with pytest.raises(ValueError, match=REFUSED):
            made.backward(engine, OWN, of_size(its, residuals.size))


def test_those_of_other_vectors_are_refused() -> None:
    made = some()
    narrow, wide = ready(made.step, UNITS, on=PLAINEST), ready(made.step, UNITS)
    if narrow.layout.sizes.lanes == wide.layout.sizes.lanes:
        pytest.skip("this machine has no wider vectors")
    _, residuals = made.forward(narrow, OWN, training=True)
    assert residuals is not None
    with pytest.raises(ValueError, match=r"a machine with vectors of another width"):
        made.backward(wide, OWN, of_size(residuals, size_of_residuals(made, wide)))


WORDS = [0, 1, 2, 3, -1, 5000, 1 << 20, 1 << 40, -(1 << 63), (1 << 63) - 1]


@pytest.mark.parametrize("kind", PROBLEMS)
def test_a_changed_word_of_a_header_is_noticed(kind: str) -> None:
    made = PROBLEMS[kind]()
    engine, residuals, expected = trained(made)
    begin = headers_of(made.recipe, made.shape, Argument()).offset // 8
    groups = len(groups_of(made, OWN.most))
    places = [*range(len(HEADER))]
    places += [begin + g * GROUP_WORDS + k for g in range(groups) for k in range(len(GROUP))]
    words = residuals[: residuals.size // 8 * 8].view(np.int64)
    for place in places:
        true = words[place]
        for value in {*WORDS, int(true) + 1, int(true) - 1, int(true) ^ 64} - {int(true)}:
            words[place] = value
            with pytest.raises(ValueError, match=REFUSED):
                made.backward(engine, OWN, residuals)
        words[place] = true
    assert_equal(made.backward(engine, OWN, residuals), expected)


def test_the_error_names_the_word() -> None:
    made = some()
    engine, residuals, _ = trained(made)
    words = residuals[: residuals.size // 8 * 8].view(np.int64)
    for name in HEADER[1:CHECKED]:
        number = HEADER.index(name)
        words[number] += 1
        found, wanted = words[number], words[number] - 1
        with pytest.raises(ValueError, match=rf"\(header word {number} is {found}, expected {wanted}\)$"):
            made.backward(engine, OWN, residuals)
        words[number] -= 1
