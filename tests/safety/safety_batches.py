"""Batches for `scan` and `record`, what comes of them, and a loop in NumPy that says what is right."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from stepfold import Cell, Run, record, scan

Array = np.ndarray
Given = dict[str, Any]
"""The arguments of `record` after the cell."""


def batch(
    cell: Cell,
    rows: int,
    time: int,
    features: int,
    units: int,
    *,
    vocabulary_size: int | None = None,
    dtype: str = "float64",
    seed: int = 0,
    **options: Any,
) -> Given:
    """A random batch: vectors, or with a vocabulary tokens and their table; with initial states."""
    random = np.random.default_rng(seed)

    def some(*shape: int) -> Array:
        return random.standard_normal(shape).astype(dtype)

    given: Given = {
        "inputs": some(rows, time, features),
        "params": cell.init(features, units, seed=seed, dtype=dtype),
        "initial_state": [some(rows, units) for _ in cell.states],
        **options,
    }
    if vocabulary_size is not None:
        given["table"] = some(vocabulary_size, features)
        given["inputs"] = random.integers(0, vocabulary_size, (rows, time)).astype(np.int32)
    return given


def arrays_of(given: Given) -> list[Array]:
    """Every array of a batch."""
    found: list[Array] = []
    for value in given.values():
        values = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
        found += [v for v in values if isinstance(v, np.ndarray)]
    return found


def backward(run: Run, seed: int = 5) -> dict[str, Array]:
    """The gradients of a run under random gradients of its output and states, by name."""
    random = np.random.default_rng(seed)
    by_output = random.standard_normal(run.output.shape).astype(run.output.dtype)
    by_states = [random.standard_normal(s.shape).astype(s.dtype) for s in run.states]
    gradients = run.backward(by_output, by_states)
    found = {"to inputs": gradients.inputs}
    found |= {f"to {name}": gradient for name, gradient in gradients.params.items()}
    return found | {f"to initial {k}": g for k, g in enumerate(gradients.initial_state)}


def answer(cell: Cell, given: Given, **options: Any) -> dict[str, Array]:
    """Everything that `scan`, `record` and `backward` give for a batch, by name."""
    shared = {k: v for k, v in options.items() if k != "checkpoint"}
    scanned = scan(cell, **given, **shared, return_sequences=True, return_state=True)
    run = record(cell, **given, **options, return_sequences=True)
    found = {f"scan {k}": array for k, array in enumerate(scanned)}
    found |= {"output": run.output} | {f"state {k}": s for k, s in enumerate(run.states)}
    return found | backward(run)


def assert_same(found: dict[str, Array], expected: dict[str, Array], what: str = "") -> None:
    """Assert that two answers are equal up to the order of their sums."""
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        limit = 1e-10 if array.dtype == np.float64 else 1e-5
        size = max(1.0, float(np.abs(array).max(initial=0.0)))
        assert np.isfinite(array).all(), f"{what} {name}: nothing is close to what is expected"
        np.testing.assert_allclose(found[name], array, rtol=0, atol=limit * size, err_msg=f"{what} {name}")


def by_loop(cell: Cell, given: Given) -> dict[str, Array]:
    """What `scan` should give, by the cell itself, a row and a timestep at a time, in float64."""
    params = {name: np.array(p, np.float64) for name, p in given["params"].items()}
    inputs = np.array(given["inputs"] if "table" not in given else given["table"][given["inputs"]], float)
    rows, time = inputs.shape[:2]
    units = next(p.shape[0] for p in params.values())
    initial = given.get("initial_state") or [np.zeros((rows, units)) for _ in cell.states]
    active = np.ones((rows, time), bool)
    if given.get("mask") is not None:
        active = np.array(given["mask"])
    if given.get("lengths") is not None:
        active = np.arange(time) < np.array(given["lengths"])[:, None]
    outputs = np.empty((rows, time, units))
    last = [np.empty((rows, units)) for _ in cell.states]
    for row in range(rows):
        states = [np.array(s[row], np.float64) for s in initial]
        for t in reversed(range(time)) if given.get("reverse") else range(time):
            if active[row, t]:
                new = cell(inputs[row, t], *states, **params)
                states = list(new) if isinstance(new, tuple) else [new]
            outputs[row, t] = states[0]
        for whole, state in zip(last, states, strict=True):
            whole[row] = state
    return {"scan 0": outputs} | {f"scan {k + 1}": s for k, s in enumerate(last)}


def copied(given: Given) -> Given:
    """The same batch in arrays of its own."""
    return copy.deepcopy(given)
