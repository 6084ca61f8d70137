"""Hostile arrays for `scan`, `record` and `Stream`: right numbers or a Python exception, never a crash."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safety_batches import Given, assert_same, backward, batch, by_loop
from safety_helpers import alone

from stepfold import Stream, cells, record, scan

Change = Callable[[np.ndarray], Any]
REFUSED = (ValueError, TypeError, IndexError, MemoryError)


def _strided(array: np.ndarray) -> np.ndarray:
    memory = np.zeros([2 * n for n in array.shape], array.dtype)
    view = memory[tuple(slice(None, None, 2) for _ in array.shape)]
    view[...] = array
    return view


def _backwards(array: np.ndarray) -> np.ndarray:
    turned = tuple(slice(None, None, -1) for _ in array.shape)
    return array[turned].copy()[turned]


def _repeated(array: np.ndarray) -> np.ndarray:
    """The first element everywhere, by strides of zero."""
    return np.broadcast_to(array.reshape(-1)[:1], array.shape) if array.size else array


def _read_only(array: np.ndarray) -> np.ndarray:
    found = array.copy()
    found.flags.writeable = False
    return found


def _unaligned(array: np.ndarray) -> np.ndarray:
    memory = np.zeros(array.nbytes + 1, np.uint8)
    found = memory[1:].view(array.dtype).reshape(array.shape)
    found[...] = array
    return found


class _Subclass(np.ndarray):
    """An array of a class that NumPy does not know."""


SAME: dict[str, Change] = {
    "as it is": lambda a: a,
    "strided": _strided,
    "backwards": _backwards,
    "repeated": _repeated,
    "read only": _read_only,
    "unaligned": _unaligned,
    "Fortran": np.asfortranarray,
    "a view of the transpose": lambda a: np.ascontiguousarray(a.T).T,
    "a subclass": lambda a: a.view(_Subclass),
    "a masked array": lambda a: np.ma.masked_array(a),
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "a list": lambda a: a.tolist(),
    "a memoryview": lambda a: memoryview(np.ascontiguousarray(a)),
}
"""Changes after which the array says the same, if it is taken at all."""

OTHER: dict[str, Change] = {
    "objects": lambda a: a.astype(object),
    "float16": lambda a: a.astype(np.float16),
    "float32": lambda a: a.astype(np.float32),
    "longdouble": lambda a: a.astype(np.longdouble),
    "complex": lambda a: a.astype(np.complex128),
    "int8": lambda a: a.astype(np.int8),
    "uint64": lambda a: a.astype(np.uint64),
    "strings": lambda a: a.astype(str),
    "dates": lambda a: a.astype(np.int64).view("datetime64[s]"),
    "one axis more": lambda a: a[None],
    "one axis less": lambda a: a[0] if len(a) else a.reshape(-1),
    "flat": lambda a: a.reshape(-1),
    "transposed": lambda a: a.T,
    "one row more": lambda a: np.concatenate([a, a[:1]]),
    "one column less": lambda a: a[..., :-1],
    "no rows": lambda a: a[:0],
    "no columns": lambda a: a[..., :0],
    "huge by strides of zero": lambda a: np.broadcast_to(a.reshape(-1)[:1], (2**20, *a.shape)),
    "a scalar": lambda a: a.reshape(-1)[:1].sum(),
    "none": lambda a: None,
    "a dict": lambda a: {"array": a},
    "ragged": lambda a: [[1.0], [1.0, 2.0]],
}
"""Changes after which it is another array: refused, or with other numbers."""

ROLES = ("inputs", "table", "mask", "lengths", "initial_state", "params")


@st.composite
def calls(draw: st.DrawFn) -> tuple[Given, bool, str]:
    """The arguments of `record`, some changed; whether they say the same as before; and what was done."""
    rows, time = draw(st.sampled_from([(3, 4), (1, 1), (0, 3), (3, 0), (0, 0), (2, 9), (9, 2)]))
    vocabulary_size = draw(st.sampled_from([None, 7]))
    made = batch(cells.gru, rows, time, 2, 3, vocabulary_size=vocabulary_size, seed=draw(st.integers(0, 3)))
    random = np.random.default_rng(draw(st.integers(0, 3)))
    masked = draw(st.sampled_from([None, "mask", "lengths"]))
    if masked == "mask":
        made["mask"] = random.random((rows, time)) < 0.6
    if masked == "lengths":
        made["lengths"] = random.integers(0, time + 1, rows)
    made["reverse"] = draw(st.booleans())
    same, done = True, []
    for role in draw(st.lists(st.sampled_from([r for r in ROLES if r in made]), max_size=3, unique=True)):
        kind = draw(st.sampled_from([SAME, SAME, OTHER]))
        name = draw(st.sampled_from(sorted(kind)))
        same &= kind is SAME
        done.append(f"{role}: {name}")
        change = kind[name]
        if role == "params":
            chosen = draw(st.sampled_from(sorted(made["params"])))
            made["params"] = made["params"] | {chosen: change(made["params"][chosen])}
        elif role == "initial_state":
            made["initial_state"] = [change(made["initial_state"][0]), *made["initial_state"][1:]]
        else:
            made[role] = change(made[role])
    return made, same, ", ".join(done)


def hostile(examples: int) -> None:
    """What the tests below run."""
    taken = 0

    @settings(max_examples=examples, deadline=None, database=None, derandomize=True,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(calls())
    def check(call: tuple[Given, bool, str]) -> None:
        nonlocal taken
        made, same, done = call
        try:
            found = scan(cells.gru, **made, return_sequences=True, return_state=True)
            gradients = backward(record(cells.gru, **made, return_sequences=True))
        except REFUSED:
            return
        if not same:
            return  # other numbers, and no crash
        taken += 1
        plain = {k: v if isinstance(v, bool) else _plain(v) for k, v in made.items()}
        assert_same(
            {f"scan {k}": np.asarray(a) for k, a in enumerate(found)}, by_loop(cells.gru, plain), done
        )
        expected = backward(record(cells.gru, **plain, return_sequences=True))
        assert_same({k: np.asarray(a) for k, a in gradients.items()}, expected, done)

    check()
    assert taken > examples / 4, f"only {taken} calls were taken"


def _plain(value: Any) -> Any:
    """Arrays of one's own, in the machine's byte order."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list) and value and not np.isscalar(value[0]) and np.ndim(value[0]) == 2:
        return [_plain(one) for one in value]
    array = np.array(value)
    return np.ascontiguousarray(array, array.dtype.newbyteorder("="))


def test_hostile_arrays() -> None:
    alone(hostile, 150)


def hostile_values() -> None:
    """What the test below runs: numbers at the ends of their range where a size or an index is expected."""
    made = batch(cells.gru, 3, 4, 2, 3, vocabulary_size=7)
    inputs, table = made["inputs"], made["table"]
    wrong: list[dict[str, Any]] = []
    for value in (-1, 7, 2**31 - 1, -(2**31), 2**31, 2**32, 2**63 - 1, -(2**63)):
        tokens = inputs.astype(np.int64)
        tokens[1, 2] = value
        wrong.append({"inputs": tokens})
        if value != 7 and not 0 <= value <= 4:
            wrong.append({"lengths": np.array([1, 2, value])})
    wrong.append({"inputs": np.full((3, 4), 2**64 - 1, np.uint64)})
    wrong.append({"inputs": np.zeros((3, 4), np.int8) - 1})
    wrong.append({"table": table[:0]})
    wrong += [{"lengths": np.array([1.0, 2.0, 3.0])}, {"lengths": np.array([1, 2, 2**63], np.uint64)}]
    wrong += [{"lengths": np.array([1, 2, 3]), "mask": np.ones((3, 4), bool)}]
    wrong += [{"threads": value} for value in (0, -1, -(2**63))]
    for changes in wrong:
        for way in (scan, record):
            try:
                way(cells.gru, **(made | changes))
            except REFUSED:
                continue
            raise AssertionError(f"{way.__name__} took {changes}")
    for small in (np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.uint64):
        found = scan(cells.gru, **(made | {"inputs": inputs.astype(small)}))
        np.testing.assert_array_equal(found, scan(cells.gru, **made))


def test_hostile_values() -> None:
    alone(hostile_values)


def hostile_gradients() -> None:
    """What the test below runs: gradients of any form given to `backward`."""
    made = batch(cells.lstm, 3, 4, 2, 3)
    run = record(cells.lstm, **made, return_sequences=True)
    random = np.random.default_rng(0)
    output, state = random.standard_normal((3, 4, 3)), random.standard_normal((3, 3))
    expected = run.backward(output, [state, state])
    repeated = run.backward(np.full((3, 4, 3), output.flat[0]), [np.full((3, 3), state.flat[0])] * 2)
    for name, change in (SAME | OTHER).items():
        for where in (0, 1, 2):
            try:
                changed = [change(array) if k == where else array for k, array in
                           enumerate((output, state, state))]  # fmt: skip
                found = run.backward(changed[0], changed[1:])
            except REFUSED:
                continue
            if name in SAME and name != "repeated":
                for parameter, gradient in expected.params.items():
                    np.testing.assert_allclose(found.params[parameter], gradient, rtol=1e-9, atol=1e-9,
                                               err_msg=f"{name} {where}")  # fmt: skip
    found = run.backward(_repeated(output), [_repeated(state)] * 2)
    np.testing.assert_allclose(found.inputs, repeated.inputs, rtol=1e-9, atol=1e-9)


def test_hostile_gradients() -> None:
    alone(hostile_gradients)


def hostile_streams() -> None:
    """What the test below runs: a stream's parameters, states and inputs in every form."""
    made = batch(cells.gru, 2, 5, 3, 4)
    for rows in (1, 2):
        initial = [made["initial_state"][0][:rows]]
        inputs = made["inputs"][:rows].transpose(1, 0, 2)
        plain = Stream(cells.gru, made["params"], rows, initial_state=initial)
        expected = np.stack([plain.step(x).copy() for x in inputs])
        for name, change in (SAME | OTHER).items():
            for where in ("params", "initial_state", "x"):
                try:
                    params = {k: change(p) if where == "params" else p for k, p in made["params"].items()}
                    first = [change(initial[0])] if where == "initial_state" else initial
                    stream = Stream(cells.gru, params, rows, initial_state=first)
                    found = np.stack([stream.step(change(x) if where == "x" else x).copy() for x in inputs])
                except REFUSED:
                    continue
                if name in SAME and name != "repeated":
                    np.testing.assert_allclose(found, expected, atol=1e-6, err_msg=f"{name} {where}")


def test_hostile_streams() -> None:
    alone(hostile_streams)
