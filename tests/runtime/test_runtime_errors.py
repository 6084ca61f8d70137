"""Errors about what does not fit: which array, its shape, what was expected, the cure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from stepfold import Stream, cell, cells, record, scan, tanh
from stepfold._runtime import Call, Recipe, engine_for

INPUTS = np.random.default_rng(0).standard_normal((4, 6, 3))
PARAMS = cells.lstm.init(3, 5, seed=1, dtype="float64")
STATES = [np.zeros((4, 5)), np.zeros((4, 5))]


@cell
def no_parameters(x, h):
    return tanh(h)


def changed(**params: Any) -> dict[str, Any]:
    return PARAMS | params


F32 = INPUTS.astype("float32")
TABLE = np.zeros((7, 3))
NO_CELL = (
    "the first argument must be a cell, that is a function under @stepfold.cell or one of stepfold.cells"
)
NAMES = "W_i, U_i, b_i, W_f, U_f, b_f, W_c, U_c, b_c, W_o, U_o, b_o"
TOKENS = (
    "token ids must lie in 0…{}, for the embedding has {} rows; found {}; make it larger or replace rarer "
    "tokens by the id for unknown ones"
)
WRONG: dict[str, tuple[type[Exception], str, Callable[[], Any]]] = {
    "no cell": (
        TypeError,
        f"{NO_CELL}, not function",
        lambda: scan(lambda x, h: h, INPUTS, PARAMS),  # type: ignore[arg-type]
    ),
    "the name of a cell": (
        TypeError,
        f"{NO_CELL}, not str",
        lambda: Stream("lstm", PARAMS),  # type: ignore[arg-type]
    ),
    "integers": (
        TypeError,
        "dtype must be float32 or float64, not int64; convert the arrays with .astype('float32')",
        lambda: scan(cells.lstm, INPUTS.astype(np.int64), PARAMS),
    ),
    "half precision": (
        TypeError,
        "dtype must be float32 or float64, not float16; convert the arrays with .astype('float32')",
        lambda: scan(cells.lstm, INPUTS.astype(np.float16), PARAMS),
    ),
    "foreign byte order": (
        TypeError,
        "dtype must be float32 or float64, not >f8; convert the arrays with .astype('float32')",
        lambda: scan(cells.lstm, INPUTS.astype(">f8"), PARAMS),
    ),
    "one axis": (
        ValueError,
        "inputs has shape (3,), expected (batch, time, features) or (time, features)",
        lambda: scan(cells.lstm, INPUTS[0, 0], PARAMS),
    ),
    "four axes": (
        ValueError,
        "inputs has shape (1, 4, 6, 3), expected (batch, time, features) or (time, features)",
        lambda: scan(cells.lstm, INPUTS[None], PARAMS),
    ),
    "other features": (
        ValueError,
        "W_i has shape (5, 3), expected (units, features) = (5, 2)",
        lambda: scan(cells.lstm, INPUTS[..., :2], PARAMS),
    ),
    "no features": (
        ValueError,
        "lstm cannot work with 0 features; inputs and params need at least one",
        lambda: scan(cells.lstm, INPUTS[..., :0], PARAMS),
    ),
    "no units": (
        ValueError,
        "simple_rnn cannot work with 0 units; inputs and params need at least one",
        lambda: scan(
            cells.simple_rnn, INPUTS, {"W": np.zeros((0, 3)), "U": np.zeros((0, 0)), "b": np.zeros(0)}
        ),
    ),
    "other units": (
        ValueError,
        "U_f has shape (5, 4), expected (units, units) = (5, 5)",
        lambda: scan(cells.lstm, INPUTS, changed(U_f=PARAMS["U_f"][:, :4])),
    ),
    "a scalar for a vector": (
        ValueError,
        "b_f has shape (), expected (units) = (5,)",
        lambda: scan(cells.lstm, INPUTS, changed(b_f=1.0)),
    ),
    "a missing parameter": (
        ValueError,
        f"params lacks b_c, U_o; lstm needs {NAMES} (see cell.init)",
        lambda: scan(cells.lstm, INPUTS, {k: v for k, v in PARAMS.items() if k not in ("b_c", "U_o")}),
    ),
    "an unknown parameter": (
        ValueError,
        f"lstm has no parameter V, p; it has {NAMES}",
        lambda: scan(cells.lstm, INPUTS, changed(p=1, V=2)),
    ),
    "no mapping": (
        TypeError,
        "params must map names to arrays, as cell.init does, not list",
        lambda: scan(cells.lstm, INPUTS, list(PARAMS.values())),  # type: ignore[arg-type]
    ),
    "a parameter of another dtype": (
        TypeError,
        "W_i is float64, not float32; convert it with .astype",
        lambda: scan(cells.lstm, F32, PARAMS),
    ),
    "a parameter of integers": (
        TypeError,
        "b_i is int64, not float64; convert it with .astype",
        lambda: scan(cells.lstm, INPUTS, changed(b_i=np.zeros(5, np.int64))),
    ),
    "nothing tells the units": (
        ValueError,
        "no_parameters has no parameter from which the number of units could be known; declare one that has "
        "the axis units",
        lambda: scan(no_parameters, INPUTS, {}),
    ),
    "one state too few": (
        ValueError,
        "initial_state has 1 array(s), lstm has 2 state(s): h, c",
        lambda: scan(cells.lstm, INPUTS, PARAMS, initial_state=STATES[:1]),
    ),
    "a state that is no list": (
        TypeError,
        "initial_state must be one array a state, not float",
        lambda: scan(cells.lstm, INPUTS, PARAMS, initial_state=0.0),  # type: ignore[arg-type]
    ),
    "a state's shape": (
        ValueError,
        "initial state 'c' has shape (4, 4), expected (4, 5)",
        lambda: scan(cells.lstm, INPUTS, PARAMS, initial_state=[STATES[0], STATES[1][:, :4]]),
    ),
    "a single state's shape": (
        ValueError,
        "initial state 'h' has shape (4, 5), expected (5,)",
        lambda: scan(cells.lstm, INPUTS[0], PARAMS, initial_state=STATES),
    ),
    "a state's dtype": (
        TypeError,
        "initial state 'h' is float32, not float64; convert it with .astype",
        lambda: scan(cells.lstm, INPUTS, PARAMS, initial_state=[s.astype("float32") for s in STATES]),
    ),
    "lengths and mask": (
        ValueError,
        "give lengths or mask, not both",
        lambda: scan(cells.lstm, INPUTS, PARAMS, lengths=[1] * 4, mask=np.ones((4, 6), bool)),
    ),
    "lengths too many": (
        ValueError,
        "lengths has shape (5,), expected one integer a row, (4,)",
        lambda: scan(cells.lstm, INPUTS, PARAMS, lengths=[1] * 5),
    ),
    "lengths for one sequence": (
        ValueError,
        "lengths has shape (2,), expected one integer a row, (1,)",
        lambda: scan(cells.lstm, INPUTS[0], PARAMS, lengths=[1, 2]),
    ),
    "lengths too long": (
        ValueError,
        "lengths must lie in 0…6, the timesteps of the input; that of row 1 is 7",
        lambda: scan(cells.lstm, INPUTS, PARAMS, lengths=[1, 7, 2, 3]),
    ),
    "lengths below zero": (
        ValueError,
        "lengths must lie in 0…6, the timesteps of the input; that of row 1 is -1",
        lambda: scan(cells.lstm, INPUTS, PARAMS, lengths=[6, -1, 2, 3]),
    ),
    "lengths of floats": (
        TypeError,
        "lengths must be integers, not float64",
        lambda: scan(cells.lstm, INPUTS, PARAMS, lengths=[1.0] * 4),
    ),
    "lengths of booleans": (
        TypeError,
        "lengths must be integers, not bool",
        lambda: scan(cells.lstm, INPUTS, PARAMS, lengths=[True] * 4),
    ),
    "a mask's shape": (
        ValueError,
        "mask has shape (6, 4), expected (batch, time) = (4, 6)",
        lambda: scan(cells.lstm, INPUTS, PARAMS, mask=np.ones((6, 4), bool)),
    ),
    "a mask of numbers": (
        TypeError,
        "mask must be of booleans, not int64; write mask != 0",
        lambda: scan(cells.lstm, INPUTS, PARAMS, mask=np.ones((4, 6), np.int64)),
    ),
    "tokens that are no integers": (
        TypeError,
        "with a table, inputs are integers that choose its rows, not float64",
        lambda: scan(cells.lstm, INPUTS, PARAMS, table=TABLE),
    ),
    "tokens that are booleans": (
        TypeError,
        "with a table, inputs are integers that choose its rows, not bool",
        lambda: scan(cells.lstm, INPUTS[..., 0] > 0, PARAMS, table=TABLE),
    ),
    "tokens with features": (
        ValueError,
        "inputs has shape (4, 6, 3) and table (7, 3), expected (batch, time) and (vocabulary_size, features)",
        lambda: scan(cells.lstm, INPUTS.astype(np.int64), PARAMS, table=TABLE),
    ),
    "a table of one axis": (
        ValueError,
        "inputs has shape (4, 6) and table (3,), expected (batch, time) and (vocabulary_size, features)",
        lambda: scan(cells.lstm, np.zeros((4, 6), np.int64), PARAMS, table=TABLE[0]),
    ),
    "tokens beyond the table": (
        IndexError,
        TOKENS.format(6, 7, 7),
        lambda: scan(cells.lstm, np.arange(8).reshape(2, 4), PARAMS, table=TABLE),
    ),
    "tokens below zero": (
        IndexError,
        TOKENS.format(6, 7, -1),
        lambda: scan(cells.lstm, np.arange(-1, 3).reshape(2, 2), PARAMS, table=TABLE),
    ),
    "tokens of 32 bits below zero": (
        IndexError,
        TOKENS.format(6, 7, -1),
        lambda: scan(cells.lstm, np.full((2, 2), -1, np.int32), PARAMS, table=TABLE),
    ),
    "tokens of 64 bits without a sign": (
        IndexError,
        TOKENS.format(6, 7, 2**63 + 1),
        lambda: scan(cells.lstm, np.full((2, 2), 2**63 + 1, np.uint64), PARAMS, table=TABLE),
    ),
    "tokens beyond the table in training": (
        IndexError,
        TOKENS.format(6, 7, 9),
        lambda: record(cells.lstm, np.full((2, 4), 9), PARAMS, table=TABLE),
    ),
    "tokens beyond the table, with checkpoints": (
        IndexError,
        TOKENS.format(6, 7, 9),
        lambda: record(cells.lstm, np.full((2, 4), 9), PARAMS, table=TABLE, checkpoint=True),
    ),
    "an empty table": (
        IndexError,
        "the embedding has no rows, so no token can choose one",
        lambda: scan(cells.lstm, np.zeros((2, 4), int), PARAMS, table=TABLE[:0]),
    ),
    "lengths below zero, with checkpoints": (
        ValueError,
        "lengths must lie in 0…6, the timesteps of the input; that of row 3 is -1",
        lambda: record(cells.lstm, INPUTS, PARAMS, lengths=[-1] * 4, checkpoint=True),
    ),
    "lengths too long, with checkpoints": (
        ValueError,
        "lengths must lie in 0…6, the timesteps of the input; that of row 0 is 7000",
        lambda: record(cells.lstm, INPUTS, PARAMS, lengths=[7000, 1, 1, 1], checkpoint=True),
    ),
    "a table of integers": (
        TypeError,
        "dtype must be float32 or float64, not int64; convert the arrays with .astype('float32')",
        lambda: scan(cells.lstm, np.zeros((2, 2), np.int64), PARAMS, table=TABLE.astype(np.int64)),
    ),
    "no threads": (
        ValueError,
        "threads must be at least 1, not 0",
        lambda: scan(cells.lstm, INPUTS, PARAMS, threads=0),
    ),
    "half a thread": (
        TypeError,
        "threads must be an integer, not 0.5",
        lambda: scan(cells.lstm, INPUTS, PARAMS, threads=0.5),  # type: ignore[arg-type]
    ),
    "an output's gradient": (
        ValueError,
        "output_gradient has shape (4, 6, 5), expected (4, 5), like what it is the gradient of",
        lambda: record(cells.lstm, INPUTS, PARAMS).backward(np.ones((4, 6, 5))),
    ),
    "a state's gradient": (
        ValueError,
        "state_gradients[1] has shape (5,), expected (4, 5), like what it is the gradient of",
        lambda: record(cells.lstm, INPUTS, PARAMS).backward(None, [None, np.ones(5)]),
    ),
    "gradients of too many states": (
        ValueError,
        "state_gradients has 3 arrays, lstm has 2 state(s): h, c",
        lambda: record(cells.lstm, INPUTS, PARAMS).backward(None, [None] * 3),
    ),
}


def packed(sizes: list[int], places: int = 6) -> Any:
    """Run a packed batch of so many places."""
    recipe = Recipe.of(cells.lstm.step, 5).but(active="packed")
    call = Call(
        engine_for(cells.lstm.step, 5, np.dtype(np.float64)), recipe, np.zeros((places, 3)),
        [*PARAMS.values()], active=np.array(sizes, np.int64),
    )  # fmt: skip
    return call.forward(outputs=True, training=True)


SIZES = "batch_sizes must be positive, never rise, and add up to the places of the packed data; "
WRONG |= {
    "batch sizes that rise": (
        ValueError,
        SIZES + "at timestep 2 there are 2, at most 1 can be",
        lambda: packed([3, 1, 2]),
    ),
    "batch sizes of zero": (
        ValueError,
        SIZES + "at timestep 1 there are 0, at most 3 can be",
        lambda: packed([3, 0]),
    ),
    "batch sizes below zero": (
        ValueError,
        SIZES + "at timestep 0 there are -3, at most 1 can be",
        lambda: packed([-3]),
    ),
    "batch sizes without places": (
        ValueError,
        SIZES + "at timestep 0 there are 2, at most 0 can be",
        lambda: packed([2], 0),
    ),
    "more rows than places": (
        ValueError,
        SIZES + "at timestep 0 there are 1000000000000, at most 6 can be",
        lambda: packed([10**12]),
    ),
    "batch sizes that need more places": (
        ValueError,
        SIZES + "at timestep 2 there are 3, at most 0 can be",
        lambda: packed([3, 3, 3]),
    ),
    "batch sizes that leave places over": (
        ValueError,
        "batch_sizes add up to 5, but the packed data has 6 places",
        lambda: packed([3, 2]),
    ),
}


@pytest.mark.parametrize(("error", "text", "call"), WRONG.values(), ids=WRONG.keys())
def test_what_does_not_fit_is_told(error: type[Exception], text: str, call: Callable[[], Any]) -> None:
    with pytest.raises(error) as found:
        call()
    assert str(found.value) == text
