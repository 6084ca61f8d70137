"""The scan in PyTorch, for Keras's torch backend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from .._native import openmp_of, thread_cap
from .._runtime import Call, Recipe, Threads, engine_for
from ..torch import openmp_library


def scan(
    recipe: Recipe,
    sequences: bool,
    inputs: Any,
    tokens: Any,
    mask: Any,
    initial: tuple[Any, ...],
    extra: tuple[Any, ...],
    weights: tuple[Any, ...],
) -> tuple[Any, tuple[Any, ...]]:
    """Run a recipe over a batch; returns (outputs or None, last states). What is not there is None."""
    raise NotImplementedError
