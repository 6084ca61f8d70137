"""A small scan that needs one kernel, and the entries that the cache then has."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stepfold import cells
from stepfold._reference import Reference
from stepfold._runtime import Call, Engine, Recipe

STEP, UNITS, FEATURES = cells.simple_rnn.step, 3, 2


def outputs() -> tuple[np.ndarray, bool]:
    """Scan with a fresh engine. Return its outputs, compared with the reference, and whether the kernel
    came from the cache."""
    random = np.random.default_rng(0)
    params = cells.simple_rnn.init(FEATURES, UNITS, seed=0, dtype="float64")
    inputs = random.standard_normal((2, 4, FEATURES))
    made = Engine(STEP, UNITS, "float64")
    call = Call(made, Recipe.of(STEP, UNITS), inputs, list(params.values()))
    found = call.forward(outputs=True, training=False).outputs
    assert found is not None
    np.testing.assert_allclose(
        found, Reference(STEP, inputs, params, [np.zeros((2, UNITS))]).outputs, rtol=1e-12
    )
    return found, made.from_cache["infer"]


def entries(cache: Path) -> list[Path]:
    return sorted(cache.rglob("*.kernel"))
