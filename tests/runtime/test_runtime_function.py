"""`scan` and `record` as users call them: results, and what may be given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from stepfold import Cell, cells, record, scan
from stepfold._reference import Reference
from tests.kinds import KINDS
from tests.runtime.scan_arrays import Array, close
from tests.runtime.scan_helpers import problem, ragged

BATCH, TIME, FEATURES, UNITS = 4, 6, 3, 5
random = np.random.default_rng(0)
INPUTS = random.standard_normal((BATCH, TIME, FEATURES))
PARAMS = cells.lstm.init(FEATURES, UNITS, seed=1, dtype="float64")
STATES = [random.standard_normal((BATCH, UNITS)) for _ in "hc"]
ZEROS = [np.zeros((BATCH, UNITS)) for _ in "hc"]


def truth(states: list[Array] = ZEROS, **options: Any) -> Reference:
    return Reference(cells.lstm.step, INPUTS, PARAMS, states, **options)


# ---- results ----------------------------------------------------------------------------------


def test_what_is_returned() -> None:
    expected = truth(STATES)
    h, c = expected.states
    close(scan(cells.lstm, INPUTS, PARAMS, initial_state=STATES), h, 1e-10, "last output")
    out = scan(cells.lstm, INPUTS, PARAMS, initial_state=STATES, return_sequences=True)
    close(out, expected.outputs, 1e-10, "all outputs")
    output, *last = scan(cells.lstm, INPUTS, PARAMS, initial_state=STATES, return_state=True)
    for found, wanted in zip((output, *last), (h, h, c), strict=True):
        close(found, wanted, 1e-10, "output and states")
    out, *last = scan(
        cells.lstm, INPUTS, PARAMS, initial_state=STATES, return_sequences=True, return_state=True
    )
    close(out, expected.outputs, 1e-10, "all outputs, with states")
    close(last[1], c, 1e-10, "the carry")
    assert out.dtype == np.float64


@pytest.mark.parametrize("lengths", [[6, 0, 3, 1], (6, 6, 6, 6), np.array([0, 0, 0, 0], np.uint8)])
@pytest.mark.parametrize("reverse", [False, True])
def test_lengths(lengths: Any, reverse: bool) -> None:
    expected = truth(mask=ragged(np.asarray(lengths).tolist(), TIME), reverse=reverse)
    out = scan(cells.lstm, INPUTS, PARAMS, lengths=lengths, reverse=reverse, return_sequences=True)
    close(out, expected.outputs, 1e-10, "outputs")
    close(
        scan(cells.lstm, INPUTS, PARAMS, lengths=lengths, reverse=reverse), expected.states[0], 1e-10, "last"
    )


def test_a_mask_of_lists() -> None:
    mask = random.random((BATCH, TIME)) > 0.5
    close(scan(cells.lstm, INPUTS, PARAMS, mask=mask.tolist()), truth(mask=mask).states[0], 1e-10, "last")


def test_one_sequence_without_a_batch() -> None:
    mask = np.arange(TIME) % 2 == 0
    for options, all_options in (
        ({}, {}),
        ({"lengths": [4]}, {"lengths": [4] * BATCH}),
        ({"lengths": 4}, {"lengths": [4] * BATCH}),
        ({"mask": mask}, {"mask": np.tile(mask, (BATCH, 1))}),
        ({"initial_state": [s[1] for s in STATES]}, {"initial_state": STATES}),
    ):
        one = record(cells.lstm, INPUTS[1], PARAMS, return_sequences=True, **options)
        every = record(cells.lstm, INPUTS, PARAMS, return_sequences=True, **all_options)
        assert one.output.shape == (TIME, UNITS)
        close(one.output, every.output[1], 1e-10, "outputs")
        for found, wanted in zip(one.states, every.states, strict=True):
            close(found, wanted[1], 1e-10, "states")
        weights = np.zeros_like(every.output)
        weights[1] = random.standard_normal((TIME, UNITS))
        mine, theirs = one.backward(weights[1]), every.backward(weights)
        close(mine.inputs, theirs.inputs[1], 1e-10, "the inputs' gradient")
        close(mine.params["U_f"], theirs.params["U_f"], 1e-10, "a parameter's gradient")
        assert [g.shape for g in mine.initial_state] == [(UNITS,)] * len(theirs.initial_state)
        for found, wanted in zip(mine.initial_state, theirs.initial_state, strict=True):
            close(found, wanted[1], 1e-10, "the initial state's gradient")


@pytest.mark.parametrize("checkpoint", [False, True])
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_gradients(masked: bool, sequences: bool, checkpoint: bool) -> None:
    mask = random.random((BATCH, TIME)) > 0.4 if masked else None
    expected = truth(STATES, mask=mask)
    run = record(
        cells.lstm,
        INPUTS,
        PARAMS,
        initial_state=STATES,
        mask=mask,
        return_sequences=sequences,
        checkpoint=checkpoint,
    )
    close(run.output, expected.outputs if sequences else expected.states[0], 1e-10, "output")
    by_output, by_c = random.standard_normal(run.output.shape), random.standard_normal((BATCH, UNITS))
    given = [None, by_c] if sequences else [by_output, by_c]
    of_inputs, of_params, of_initial = expected.backward(
        by_output if sequences else None, [np.zeros_like(by_c) if g is None else g for g in given]
    )
    found = run.backward(by_output, [None, by_c])
    close(found.inputs, of_inputs, 1e-10, "inputs")
    assert found.params.keys() == of_params.keys()
    for name, wanted in of_params.items():
        close(found.params[name], wanted, 1e-10, name)
    for mine, wanted in zip(found.initial_state, of_initial, strict=True):
        close(mine, wanted, 1e-10, "initial state")
    again = run.backward(by_output, [None, by_c])
    assert np.array_equal(again.inputs, found.inputs)
    # the last output is the first state: a gradient by one is a gradient by the other, and both add up
    if not sequences:
        half = run.backward(by_output / 2, [by_output / 2, by_c])
        close(half.inputs, of_inputs, 1e-10, "half by output, half by state")


@pytest.mark.parametrize("time", [0, 1, 2, 30])
@pytest.mark.parametrize("kind", ["whole", "masked", "reversed", "tokens", "tokens and mask"])
def test_checkpoints_change_nothing(kind: str, time: int) -> None:
    inputs: Array = random.standard_normal((9, time, FEATURES))
    options: dict[str, Any] = {"return_sequences": True}
    if "mask" in kind:
        options["mask"] = random.random((9, time)) > 0.4
    if kind == "reversed":
        options["reverse"] = True
    if "tokens" in kind:
        options["table"] = random.standard_normal((7, FEATURES))
        inputs = random.integers(0, 7, (9, time))
        inputs[:, : time // 2] = 0
    for initial in (None, [random.standard_normal((9, UNITS)) for _ in "hc"]):
        plain, checked = (
            record(cells.lstm, inputs, PARAMS, initial_state=initial, checkpoint=c, **options)
            for c in (False, True)
        )
        close(checked.output, plain.output, 1e-10, "outputs")
        weights = random.standard_normal(plain.output.shape)
        one, other = plain.backward(weights), checked.backward(weights)
        close(other.inputs, one.inputs, 1e-10, "inputs")
        for name in PARAMS:
            close(other.params[name], one.params[name], 1e-10, name)
        assert len(other.initial_state) == len(one.initial_state)
        for a, b in zip(other.initial_state, one.initial_state, strict=True):
            close(a, b, 1e-10, "initial state")


def test_gradients_left_out_are_zero_and_only_given_states_have_one() -> None:
    run = record(cells.lstm, INPUTS, PARAMS)
    found = run.backward()
    assert not found.inputs.any()
    assert not any(g.any() for g in found.params.values())
    assert found.initial_state == ()


def test_no_timesteps_give_the_initial_state_and_pass_its_gradient_on() -> None:
    for options in ({}, {"lengths": [0] * BATCH}, {"mask": np.ones((BATCH, 0), bool)}):
        run = record(
            cells.lstm, INPUTS[:, :0], PARAMS, initial_state=STATES, return_sequences=True, **options
        )
        assert run.output.shape == (BATCH, 0, UNITS)
        assert all(np.array_equal(a, b) for a, b in zip(run.states, STATES, strict=True))
        found = run.backward(run.output, STATES)
        assert found.inputs.shape == (BATCH, 0, FEATURES)
        assert all(np.array_equal(a, b) for a, b in zip(found.initial_state, STATES, strict=True))
        assert not any(g.any() for g in found.params.values())
        assert np.array_equal(scan(cells.lstm, INPUTS[:, :0], PARAMS), np.zeros((BATCH, UNITS)))


def test_an_empty_batch() -> None:
    for options in ({}, {"lengths": []}, {"mask": np.ones((0, TIME), bool)}, {"reverse": True}):
        run = record(cells.lstm, INPUTS[:0], PARAMS, return_sequences=True, **options)
        assert run.output.shape == (0, TIME, UNITS)
        found = run.backward(run.output)
        assert found.inputs.shape == (0, TIME, FEATURES)
        assert all(g.shape == PARAMS[name].shape and not g.any() for name, g in found.params.items())
    assert scan(cells.lstm, np.zeros((0, 3), int), PARAMS, table=np.zeros((2, FEATURES))).shape == (0, UNITS)


@pytest.mark.parametrize(
    "turn",
    [
        np.asfortranarray,
        lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
        lambda a: np.flip(np.flip(a, -1).copy(), -1),
        lambda a: np.broadcast_to(a[:1], a.shape),
        lambda a: a.tolist(),
    ],
    ids=["Fortran", "strided", "backward", "broadcast", "list"],
)
def test_arrays_of_any_layout(turn: Callable[[Array], Any]) -> None:
    inputs, states = turn(INPUTS), [turn(s) for s in STATES]
    params = {name: turn(p) for name, p in PARAMS.items()}
    weights = turn(random.standard_normal((BATCH, TIME, UNITS)))
    run = record(cells.lstm, inputs, params, initial_state=states, return_sequences=True)
    found = run.backward(weights)
    plain = {name: np.array(p) for name, p in params.items()}
    expected = Reference(cells.lstm.step, np.array(inputs), plain, [np.array(s) for s in states])
    of_inputs, of_params, of_initial = expected.backward(np.array(weights))
    close(run.output, expected.outputs, 1e-10, "outputs")
    close(found.inputs, of_inputs, 1e-10, "inputs")
    close(found.params["U_c"], of_params["U_c"], 1e-10, "U_c")
    close(found.initial_state[1], of_initial[1], 1e-10, "c")


def test_readonly_arrays() -> None:
    arrays = [a.copy() for a in (INPUTS, *STATES, *PARAMS.values())]
    for array in arrays:
        array.flags.writeable = False
    inputs, h, c, *params = arrays
    run = record(cells.lstm, inputs, dict(zip(PARAMS, params, strict=True)), initial_state=[h, c])
    run.backward(np.broadcast_to(1.0, run.output.shape))
    close(run.output, truth(STATES).states[0], 1e-10, "last")


def test_a_cell_loaded_from_json() -> None:
    loaded = Cell.from_json(cells.lstm.to_json())
    assert np.array_equal(scan(loaded, INPUTS, PARAMS), scan(cells.lstm, INPUTS, PARAMS))


def test_scan_is_the_loop_of_its_docstring() -> None:
    states: Any = tuple(s[2] for s in STATES)
    for t in range(TIME):
        states = cells.lstm(INPUTS[2, t], *states, **PARAMS)
    close(scan(cells.lstm, INPUTS, PARAMS, initial_state=STATES)[2], states[0], 1e-10, "last")


# ---- NaN and infinity: they go where the maths takes them, and nowhere else --------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", KINDS)
def test_bad_values_stay_in_their_row(name: str, bad: float, dtype: str) -> None:
    step = cells.by_name(name)
    made = problem(step, 13, 7, 5, 17, dtype)
    inputs = made.inputs
    with np.errstate(over="ignore"):
        inputs[4, 3, 2] = bad
    run = record(step, inputs, made.params, return_sequences=True)
    clean = inputs.copy()
    clean[4] = 0.0
    others = np.arange(13) != 4
    expected = record(step, clean, made.params, return_sequences=True)
    close(run.output[others], expected.output[others], 1e-5, "the other rows")
    before = scan(step, inputs[:, :3], made.params, return_sequences=True)
    close(run.output[4, :3], before[4], 1e-5, "the row until then")
    if np.isnan(bad):
        assert np.isnan(run.output[4, 3:]).all()
    weights = np.ones_like(run.output)
    found = run.backward(weights).inputs
    close(found[others], expected.backward(weights).inputs[others], 1e-5, "the other rows' gradient")
    if np.isnan(bad):
        states = [np.zeros((13, 17), dtype)] * len(step.states)
        wanted = Reference(step.step, inputs, made.params, states).backward(weights)[0]
        assert np.array_equal(np.isnan(found), np.isnan(wanted))


def test_bad_values_under_a_mask_are_never_seen() -> None:
    inputs = INPUTS.copy()
    mask = ragged([6, 2, 0, 5], TIME, left=True)
    inputs[~mask] = np.nan
    run = record(cells.lstm, inputs, PARAMS, mask=mask, return_sequences=True)
    close(run.output, truth(mask=mask).outputs, 1e-10, "outputs")
    found = run.backward(np.ones_like(run.output))
    assert np.isfinite(found.inputs).all()
    assert all(np.isfinite(g).all() for g in found.params.values())
