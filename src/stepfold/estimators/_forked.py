"""Refuses to run a network where it would wait for ever: in a process that was forked after JAX had run."""

from __future__ import annotations

import os

import keras

_ran = False
_forked = False


def check_process() -> None:
    """Remember that a network runs in this process.

    Raises:
        RuntimeError: the process was forked from one in which JAX had run; its threads are not here.
    """
    global _ran
    if _forked:
        raise RuntimeError(
            "this process was forked from one in which JAX had run, and JAX cannot run here: begin processes "
            "with multiprocessing's 'spawn' or with joblib, predict with the estimator's to_model(), or take "
            "another backend (KERAS_BACKEND=torch)"
        )
    _ran = True


def _after_fork() -> None:
    global _forked
    _forked = _forked or (_ran and keras.backend.backend() == "jax")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
