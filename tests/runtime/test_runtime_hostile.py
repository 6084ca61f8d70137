"""Hostile input: lengths, tokens and batch sizes out of range are errors, and no memory is touched that is
nobody's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stepfold import cells
from stepfold._native import own_threads
from stepfold._runtime import Threads, forward_operands, forward_program
from stepfold._runtime._run import run
from tests.runtime.scan_arrays import Array, Results, walled
from tests.runtime.scan_helpers import Problem, problem, ready

BATCH, TIME, FEATURES, UNITS, VOCABULARY = 7, 6, 2, 3, 5
ANY = st.one_of(
    st.integers(-2, 8), st.sampled_from([-(2**63), 2**63 - 1, 2**32, -(2**32), 2**31, 10**6, -(10**6)])
)


@pytest.fixture(autouse=True)
def threads_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let any batch be worth as many tasks as there are threads."""
    monkeypatch.setattr("stepfold._runtime._engine._SMALL", -1)


def attempt(made: Problem, changes: dict[str, Array], *, training: bool, threads: int) -> Exception | None:
    """Run a forward pass with other operands; returns its error. What it writes stays within its arrays."""
    engine = ready(made.step, UNITS)
    operands = forward_operands(engine, made.recipe, made.shape, True, training)
    results = Results("float64")
    arrays = results.arrays(operands, made.operands() | {n: walled(a) for n, a in changes.items()})
    options: dict[str, Any] = {"outputs": True, "training": training, "threads": threads}
    program = forward_program(engine, made.recipe, made.shape, **options)
    try:
        run(program, operands, arrays, engine.dtype, Threads(own_threads(), threads))
    except (ValueError, IndexError) as error:
        return error
    finally:
        results.check()
    return None


def some(**more: Any) -> Problem:
    return problem(cells.simple_rnn, BATCH, TIME, FEATURES, UNITS, **more)


def with_tokens(made: Problem, bits: type = np.int64) -> Problem:
    random = np.random.default_rng(0)
    tokens = random.integers(0, VOCABULARY, (BATCH, TIME)).astype(bits)
    return made.but(inputs=random.standard_normal((VOCABULARY, FEATURES)), tokens=tokens)


@given(
    st.lists(ANY, min_size=BATCH, max_size=BATCH),
    st.booleans(),
    st.integers(1, 3),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["repeat", "zero", "none"]),
)
def test_lengths(
    lengths: list[int], training: bool, threads: int, tokens: bool, reverse: bool, padding: str
) -> None:
    made = some(mask=np.ones((BATCH, TIME), bool), lengths=True, reverse=reverse, padding=padding)
    made = with_tokens(made) if tokens else made
    error = attempt(made, {"lengths": np.array(lengths)}, training=training, threads=threads)
    if all(0 <= length <= TIME for length in lengths):
        assert error is None
    else:
        assert isinstance(error, ValueError)
        assert str(error).startswith(
            f"lengths must lie in 0…{TIME}, the timesteps of the input; that of row "
        )


@given(
    st.data(),
    st.booleans(),
    st.integers(1, 3),
    st.sampled_from([np.int32, np.int64]),
    st.booleans(),
    st.sampled_from(["all", "mask", "packed"]),
    st.booleans(),
)
def test_tokens(
    data: st.DataObject, training: bool, threads: int, bits: type, reverse: bool, kind: str, initial: bool
) -> None:
    some_tokens = ANY.filter(lambda t: bits is np.int64 or abs(t) < 2**31)
    flat = data.draw(st.lists(some_tokens, min_size=BATCH * TIME, max_size=BATCH * TIME))
    tokens = np.array(flat, bits).reshape(BATCH, TIME)
    more: dict[str, Any] = {} if initial else {"initial": [None]}
    mask = np.arange(TIME) < np.array([6, 5, 3, 3, 1, 1, 1])[:, None]
    if kind != "all":
        more["mask"] = mask
    if kind == "packed":
        more["layout"] = "packed"
    made = with_tokens(some(reverse=reverse, **more), bits)
    laid = np.ascontiguousarray(made.laid(tokens))
    error = attempt(made, {"tokens": laid}, training=training, threads=threads)
    read = tokens if kind == "all" else tokens[mask]
    wrong = read[(read < 0) | (read >= VOCABULARY)]
    if not wrong.size:
        assert error is None
    else:
        assert isinstance(error, IndexError)
        assert str(error).startswith(f"token ids must lie in 0…{VOCABULARY - 1}, for the embedding has")
        assert any(f"found {token};" in str(error) for token in wrong.tolist())


@example([1] * TIME, False, 1, False, False)
@given(
    st.lists(ANY, min_size=TIME, max_size=TIME),
    st.booleans(),
    st.integers(1, 3),
    st.booleans(),
    st.booleans(),
)
def test_batch_sizes(sizes: list[int], training: bool, threads: int, tokens: bool, reverse: bool) -> None:
    mask = np.arange(TIME) < np.array([6, 5, 3, 3, 1, 1, 1])[:, None]
    made = some(mask=mask, layout="packed", reverse=reverse)
    made = with_tokens(made) if tokens else made
    error = attempt(made, {"batch_sizes": np.array(sizes)}, training=training, threads=threads)
    fine = sizes == sorted(sizes, reverse=True) and min(sizes) >= 1 and sizes[0] <= BATCH
    if fine and sum(sizes) == mask.sum():
        assert error is None
    else:
        assert isinstance(error, ValueError)
        too_few = f"batch_sizes add up to {sum(sizes)}, but the packed data has {mask.sum()} places"
        expected = "batch_sizes must be positive, never rise, and add up to the places of "
        assert str(error).startswith(expected) or (fine and str(error) == too_few)


@given(st.data(), st.booleans(), st.integers(1, 3), st.booleans())
def test_masks_of_any_bytes(data: st.DataObject, training: bool, threads: int, reverse: bool) -> None:
    flat = data.draw(st.lists(st.sampled_from([0, 1, 2, 128, 255]), min_size=42, max_size=42))
    mask = np.array(flat, np.uint8).reshape(BATCH, TIME)
    made = some(mask=mask != 0, reverse=reverse)
    changes = {"mask": mask.view(bool)}
    assert attempt(made, changes, training=training, threads=threads) is None


@pytest.mark.parametrize("training", [False, True])
def test_the_next_call_is_right(training: bool) -> None:
    """What was found wrong is forgotten with the call."""
    made = with_tokens(some(initial=[None]))
    wrong = np.full((BATCH, TIME), 10**9)
    assert isinstance(attempt(made, {"tokens": wrong}, training=training, threads=2), IndexError)
    assert attempt(made, {}, training=training, threads=2) is None
    made.check()
