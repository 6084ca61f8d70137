"""The table of programs: recorded once for a shape, a bounded number of them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from stepfold import cells, scan
from stepfold._native import Program, Recorder, own_threads
from stepfold._runtime import (
    Engine,
    Recipe,
    Shape,
    Threads,
    Wanted,
    backward_program,
    backward_results,
    forward_program,
    programs,
)
from stepfold._runtime._programs import MOST_BYTES, MOST_PROGRAMS, Programs
from stepfold._runtime._run import addresses, forward_operands
from tests.runtime.scan_helpers import Problem, problem, ready


def program() -> Program:
    recorder = Recorder()
    recorder.phase()
    return recorder.finish()


def test_the_least_recently_used_program_goes() -> None:
    table, made = Programs(most=3), {key: program() for key in "abcd"}
    for key in "abc":
        assert table.get(key, lambda key=key: made[key]) is made[key]
    assert table.get("a", program) is made["a"]
    table.get("d", lambda: made["d"])
    assert len(table) == 3
    assert table.get("a", program) is made["a"]
    assert table.get("b", program) is not made["b"]
    assert len(table) == 3
    assert table.nbytes == 3 * made["a"].nbytes


def test_programs_take_no_more_bytes_than_they_may() -> None:
    one = program().nbytes
    table = Programs(most_bytes=3 * one)
    for key in range(9):
        table.get(key, program)
        assert table.nbytes == one * len(table) <= 3 * one
    last = program()
    tight = Programs(most_bytes=0)
    for key in range(3):  # one is always kept
        assert tight.get(key, lambda: last) is last
        assert len(tight) == 1
    assert tight.get(2, program) is last


def test_a_failure_to_record_leaves_nothing() -> None:
    table = Programs()
    with pytest.raises(ZeroDivisionError):
        table.get("a", lambda: 1 // 0)  # type: ignore[arg-type, return-value]
    assert (len(table), table.nbytes) == (0, 0)


def test_many_threads_get_one_program() -> None:
    table = Programs(most=5)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda k: table.get(k % 7, program), range(700)))
    assert len(table) <= 5
    assert table.nbytes == len(table) * program().nbytes


def some(batch: int = 3) -> Problem:
    return problem(cells.simple_rnn, batch, 4, 2, 3)


def test_a_shape_is_recorded_once() -> None:
    made = some()
    engine = ready(made.step, 3)
    options = {"outputs": True, "training": False, "threads": 1}
    first = forward_program(engine, made.recipe, made.shape, **options)
    assert forward_program(engine, made.recipe, made.shape, **options) is first
    others = [
        forward_program(engine, some(4).recipe, some(4).shape, **options),
        forward_program(engine, made.recipe, made.shape, **options | {"threads": 2}),
        forward_program(engine, made.recipe, made.shape, **options | {"training": True}),
        forward_program(engine, made.recipe, made.shape, **options | {"outputs": False}),
        forward_program(engine, made.but(reverse=True).recipe, made.shape, **options),
        forward_program(ready(made.step, 3, "float32"), made.recipe, made.shape, **options),
    ]
    assert len({id(program) for program in (first, *others)}) == 1 + len(others)


def test_300_shapes_stay_within_the_bounds() -> None:
    """Scans of ever other shapes; two kinds of programs would be 600."""
    params = cells.simple_rnn.init(2, 3, seed=0)
    for time in range(1, 301):
        inputs = np.full((2, time, 2), 0.1, np.float32)
        for sequences in (False, True):
            scan(cells.simple_rnn, inputs, params, return_sequences=sequences)
    assert len(programs) <= MOST_PROGRAMS
    assert programs.nbytes <= MOST_BYTES


def test_a_program_that_has_gone_still_runs() -> None:
    made = some()
    engine, table = ready(made.step, 3), Programs(most=1)
    options = {"outputs": True, "training": False, "threads": 1}
    mine = table.get("mine", lambda: forward_program(engine, made.recipe, made.shape, **options))
    table.get("other", program)
    assert table.get("mine", program) is not mine
    operands = forward_operands(engine, made.recipe, made.shape, True, False)
    given = made.operands()
    arrays = [given.get(o.name, np.empty(o.shape)) for o in operands]
    assert mine.run(addresses(operands, arrays, engine.dtype), own_threads(), 1) is None
    found = dict(zip([o.name for o in operands], arrays, strict=True))
    np.testing.assert_allclose(found["outputs"], made.reference()["outputs"], atol=1e-12)


# ---- operands ----------------------------------------------------------------------------------------------


def test_operands_that_do_not_fit_are_told() -> None:
    made = some()
    engine = ready(made.step, 3)
    _, residuals = made.forward(engine, Threads(own_threads(), 1), training=True)
    assert residuals is not None
    operands = forward_operands(engine, made.recipe, made.shape, True, False)
    given = made.operands()
    arrays = {o.name: given.get(o.name, np.empty(o.shape)) for o in operands}

    def found(**changes: np.ndarray) -> list[int]:
        changed = {name.replace("_", " "): array for name, array in changes.items()}
        return addresses(operands, [*(arrays | changed).values()], engine.dtype)

    assert len(found()) == len(operands)
    with pytest.raises(ValueError, match=r"^outputs has shape \(3, 4, 4\), expected \(3, 4, 3\)$"):
        found(outputs=np.empty((3, 4, 4)))
    with pytest.raises(TypeError, match=r"^inputs is float32, expected float$"):
        found(inputs=np.empty((3, 4, 2), np.float32))
    with pytest.raises(ValueError, match=r"^weight 0 must be C-contiguous$"):
        found(weight_0=np.empty((2, 3)).T)
    with pytest.raises(
        ValueError, match=r"^8 arrays were given, expected 7: inputs, initial state h, weight 0"
    ):
        addresses(operands, [*arrays.values(), residuals], engine.dtype)
    backward = made.backward(engine, Threads(own_threads(), 1), residuals)
    assert "gradient of initial h" in backward


def test_a_result_has_one_name() -> None:
    made = some()
    wanted = Wanted(True, (True,), True, (True, False, True))
    assert [operand.name for operand in backward_results(made.recipe, made.shape, wanted)] == [
        "the gradient of inputs",
        "the gradient of initial state h",
        "the gradient of weight 0",
        "the gradient of weight 2",
    ]


def test_an_empty_batch_is_not_recorded_with_residuals() -> None:
    """There would be no memory for their header."""
    step = cells.simple_rnn.step
    engine, recipe = Engine(step, 3, "float32"), Recipe.of(step, 3)
    shape = Shape(0, 4, 2, ((3, 2), (3, 3), (3,)))
    with pytest.raises(ValueError, match="an empty batch has no residuals"):
        forward_program(engine, recipe, shape, outputs=True, training=True, threads=1)
    with pytest.raises(ValueError, match="an empty batch has no residuals"):
        backward_program(engine, recipe, shape, Wanted(True, (True,), True, (True,) * 3), threads=1)
