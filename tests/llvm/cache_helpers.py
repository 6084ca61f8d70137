"""A small scan that needs one kernel, and the entries that the cache then has."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stepfold import cells
from stepfold._reference import Reference
from stepfold._scan import Recurrence, Schedule

STEP, UNITS, FEATURES = cells.simple_rnn.step, 3, 2


def outputs() -> tuple[np.ndarray, bool]:
    """Scan with a fresh recurrence. Return its outputs, compared with the reference, and whether the kernel
    came from the cache."""
    random = np.random.default_rng(0)
    params = cells.simple_rnn.init(FEATURES, UNITS, seed=0, dtype="float64")
    inputs = random.standard_normal((2, 4, FEATURES))
    found = np.full((2, 4, UNITS), np.nan)
    made = Recurrence(STEP, UNITS, "float64")
    made.forward(Schedule.of(2, 4), inputs, params, outputs=found)
    np.testing.assert_allclose(
        found, Reference(STEP, inputs, params, [np.zeros((2, UNITS))]).outputs, rtol=1e-12
    )
    return found, made.from_cache["infer"]


def entries(cache: Path) -> list[Path]:
    return sorted(cache.rglob("*.kernel"))
