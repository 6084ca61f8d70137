"""Lengths, masks, directions, layouts, states: which steps are active, and sequences cut in two."""

from __future__ import annotations

import numpy as np
import pytest

from stepfold import cell, cells, tanh
from tests.runtime.scan_arrays import LIMITS, Array, close
from tests.runtime.scan_helpers import Problem, problem, ragged

BATCH, TIME = 13, 29


def some_mask(kind: str) -> Array | None:
    random = np.random.default_rng(7)
    lengths = random.permutation([0, 1, TIME, TIME, *random.integers(0, TIME + 1, BATCH - 4)])
    holes = random.random((BATCH, TIME)) > 0.5
    holes[3] = False
    holes[5] = True
    return {
        "whole": None,
        "all true": np.ones((BATCH, TIME), bool),
        "all false": np.zeros((BATCH, TIME), bool),
        "one length": ragged([TIME - 4] * BATCH, TIME),
        "right": ragged(lengths.tolist(), TIME),
        "left": ragged(lengths.tolist(), TIME, left=True),
        "holes": holes,
        "first and last": np.isin(np.arange(TIME), (0, TIME - 1)) & np.ones((BATCH, 1), bool),
    }[kind]


KINDS = ["whole", "all true", "all false", "one length", "right", "left", "holes", "first and last"]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("layout", ["batch", "time"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_masked_keeps_the_state(kind: str, layout: str, reverse: bool) -> None:
    made = problem(cells.lstm, BATCH, TIME, 3, 5, mask=some_mask(kind), reverse=reverse, layout=layout)
    made.check()


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("layout", ["batch", "time"])
@pytest.mark.parametrize("kind", ["all true", "all false", "one length", "right"])
def test_lengths_say_the_same_as_their_mask(kind: str, layout: str, reverse: bool) -> None:
    made = problem(cells.lstm, BATCH, TIME, 3, 5, mask=some_mask(kind), reverse=reverse, layout=layout)
    made.but(lengths=True).check()
    made.but(lengths=True, initial=[None, None]).check()


@pytest.mark.parametrize("padding", ["zero", "none"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("layout", ["batch", "time"])
@pytest.mark.parametrize("kind", KINDS)
def test_outputs_that_are_not_active_are_zero_or_not_written(
    kind: str, layout: str, reverse: bool, padding: str
) -> None:
    made = problem(cells.gru, BATCH, TIME, 3, 5, mask=some_mask(kind), reverse=reverse, layout=layout)
    made.but(padding=padding).check()
    if kind in ("one length", "right"):
        made.but(padding=padding, lengths=True).check()


@pytest.mark.parametrize("padding", ["repeat", "zero"])
@pytest.mark.parametrize("kind", ["holes", "left"])
def test_any_byte_but_zero_is_true(kind: str, padding: str) -> None:
    """A mask may come from memory where true is 2 or 255 (NumPy's view, another library's)."""
    mask = some_mask(kind)
    assert mask is not None
    odd = (mask * np.random.default_rng(0).integers(2, 256, mask.shape)).astype(np.uint8).view(bool)
    made = problem(cells.lstm, BATCH, TIME, 3, 5, mask=mask, padding=padding)
    expected = made.run()
    found = made.but(mask=odd).run()
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value, err_msg=key)


@pytest.mark.parametrize("kind", ["right", "holes"])
@pytest.mark.parametrize("name", ["simple_rnn", "gru_reset_before", "layer_norm_lstm", "min_gru"])
def test_masks_of_other_cells(name: str, kind: str) -> None:
    problem(cells.by_name(name), BATCH, TIME, 3, 5, mask=some_mask(kind), layout="time").check()


@pytest.mark.parametrize("batch", [65, 130])
def test_masks_over_several_groups(batch: int) -> None:
    mask = np.random.default_rng(batch).random((batch, 6)) > 0.4
    for threads in (1, 2, 3):
        problem(cells.lstm, batch, 6, 3, 5, mask=mask, reverse=True).check(threads=threads)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", [[4, 4, 2, 1, 1], [1], [9], [7, 7, 7], sorted([*range(1, 40)] * 2)[::-1]])
def test_packed_batches(lengths: list[int], reverse: bool) -> None:
    time = max(lengths)
    mask = ragged(lengths, time)
    made = problem(cells.lstm, len(lengths), time, 3, 5, reverse=reverse, mask=mask, layout="packed")
    assert made.output_gradient is not None
    # a packed batch has no place for steps that are not active, so nothing can arrive there
    made = made.but(output_gradient=made.output_gradient * mask[:, :, None])
    made.check()
    made.but(initial=[None, None]).check(threads=3, backward_threads=1)


@pytest.mark.parametrize("mask", ["whole", "right", "holes"])
def test_states_start_from_zero_if_none_are_given(mask: str) -> None:
    made = problem(cells.lstm, BATCH, TIME, 3, 5, mask=some_mask(mask))
    made.but(initial=[None, None]).check()
    made.but(initial=[None, None], padding="zero").check()


@pytest.mark.parametrize("mask", ["whole", "right", "holes"])
def test_gradients_that_are_left_out_are_zero(mask: str) -> None:
    made = problem(cells.lstm, BATCH, TIME, 3, 5, mask=some_mask(mask))
    made.but(output_gradient=None).check()
    made.but(last_gradient=[None, made.last_gradient[1]]).check()
    zero = np.zeros((BATCH, 5))
    found = made.but(last_gradient=[zero, zero], output_gradient=None).check()
    assert all(not array.any() for key, array in found.items() if key.startswith("gradient"))


@pytest.mark.parametrize("time", [0, 1, 2])
def test_few_timesteps_under_a_mask(time: int) -> None:
    for mask in (np.zeros((4, time), bool), np.ones((4, time), bool), ragged([0, time, time, 0], time)):
        problem(cells.lstm, 4, time, 3, 5, mask=mask).check()


def halves(whole: Problem, cut: int) -> tuple[Problem, Problem]:
    """The timesteps that come first, and those after, still without the states in between."""
    first, second = slice(None, cut), slice(cut, None)
    if whole.reverse:
        first, second = second, first

    def part(which: slice) -> Problem:
        og = whole.output_gradient
        return whole.but(
            inputs=whole.inputs[:, which],
            output_gradient=None if og is None else og[:, which],
            mask=None if whole.mask is None else whole.mask[:, which],
        )

    return part(first), part(second)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("mask", ["whole", "right", "holes"])
def test_a_sequence_cut_in_two_equals_the_whole(mask: str, reverse: bool, dtype: str) -> None:
    whole = problem(cells.lstm, BATCH, TIME, 3, 5, dtype, mask=some_mask(mask), reverse=reverse)
    before, after = halves(whole, 11)
    between = before.run()
    after = after.but(initial=[between["state h"], between["state c"]])
    late = after.run()
    before = before.but(last_gradient=[late["gradient of initial h"], late["gradient of initial c"]])
    early, all_of_it = before.run(), whole.run()
    turn = -1 if reverse else 1
    for key in ("outputs", "gradient of inputs"):
        joined = np.concatenate([early[key], late[key]][::turn], axis=1)
        close(joined, all_of_it[key], LIMITS[dtype], key)
    for name in whole.step.parameters:
        close(
            early[f"gradient of {name}"] + late[f"gradient of {name}"],
            all_of_it[f"gradient of {name}"],
            LIMITS[dtype],
            name,
        )
    for name in whole.step.states:
        close(late[f"state {name}"], all_of_it[f"state {name}"], LIMITS[dtype], name)
        close(
            early[f"gradient of initial {name}"],
            all_of_it[f"gradient of initial {name}"],
            LIMITS[dtype],
            name,
        )


@cell
def swap(x, h, c, *, W):
    return c, tanh(W @ x) + 0.0 * h


@cell
def still(x, h, c, *, b):
    return h, c * b


@cell
def blind(x, h, *, U, b):
    return tanh(U @ h + b)


@cell
def same_twice(x, h, c, *, W):
    new = tanh(W @ x) * h + c
    return new, new


@pytest.mark.parametrize("odd", [swap, still, blind, same_twice], ids=lambda c: c.name)
def test_cells_whose_states_are_only_passed_on(odd) -> None:
    for mask in (None, some_mask("holes")):
        problem(odd, BATCH, TIME, 3, 5, mask=mask).check()
    problem(odd, 2, 3, 4, 17, "float32").check()
