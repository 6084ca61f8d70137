"""Seeds the generators that first weights and dropout come from, without leaving a trace in the caller's."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed ``random``, from which Keras's layers draw their seeds, and ``numpy.random`` while the block runs.

    Afterwards both go on as if nothing had been drawn from them.
    """
    before, before_numpy = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)
        np.random.set_state(before_numpy)
