"""Trains the runs of a comparison, in this process or side by side in several."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import signal
import tempfile
import threading
import time
import warnings
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import keras
from joblib.externals.loky import ProcessPoolExecutor
from joblib.externals.loky.backend.reduction import dump
from joblib.externals.loky.process_executor import BrokenProcessPool

from .._one_thread import ONE_THREAD, keep_memory
from .._parent import has_parent, terminate_self
from .._run import RunError
from .._training import TrainingError

_PATIENCE = 10.0
"""Seconds that processes have to end between two batches when the comparison is interrupted."""


class Data(NamedTuple):
    """What every run of a comparison is given."""

    inputs: Any
    targets: Any
    validation: tuple[Any, Any] | None


@dataclass(frozen=True)
class Order:
    """One run to train.

    Attributes:
        estimator: its class.
        parameters: all of them.
        folder: where the run goes.
        resume: whether to go on with what is there.
    """

    estimator: type[Any]
    parameters: dict[str, Any]
    folder: Path
    resume: bool


@dataclass(frozen=True)
class Outcome:
    """What became of a run.

    Attributes:
        results: as an estimator's ``results_``.
        history: as an estimator's ``history_``.
        failure: why there is no result; "" if there is one.
        notes: the warnings of the training.
    """

    results: dict[str, Any] = field(default_factory=dict)
    history: dict[str, list[float]] = field(default_factory=dict)
    failure: str = ""
    notes: tuple[str, ...] = ()


def train_run(order: Order, data: Data) -> Outcome:
    """Train one run.

    Raises:
        ValueError, RunError, KeyboardInterrupt: as an estimator's ``fit``.
    """
    estimator = order.estimator(**order.parameters)
    results: dict[str, Any] = {}
    history: dict[str, list[float]] = {}
    failure = ""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        fit = partial(
            estimator.fit, data.inputs, data.targets, validation_data=data.validation, folder=order.folder
        )
        try:
            try:
                fit(resume=order.resume)
            except RunError:
                if not order.resume:
                    raise
                fit()  # its state is damaged
            results, history = estimator.results_, estimator.history_
        except TrainingError as error:
            failure = str(error)
    return Outcome(results, history, failure, tuple(dict.fromkeys(str(each.message) for each in caught)))


def train_side_by_side(
    orders: Sequence[Order], data: Data, jobs: int, threads: int
) -> Generator[tuple[int, Outcome | None]]:
    """Train runs in so many processes; yield the index of each that begins, with None, and that ends.

    Raises:
        RunError: a process ended before its run did.
    """
    with tempfile.TemporaryDirectory(prefix="stepfold-") as name:
        shared = Path(name)
        with (shared / "data.pickle").open("wb") as file:
            dump(data, file)
        stop = shared / "stop"
        executor = ProcessPoolExecutor(
            jobs,
            timeout=None,
            initializer=_begin_process,
            initargs=(os.getpid(), stop),
            env=_environment(shared, threads),
        )
        waiting, running = list(range(len(orders))), dict[Future[Outcome | None], int]()
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    k = waiting.pop(0)
                    with _interrupts_kept_from_children():
                        future = executor.submit(_work, orders[k], shared / "data.pickle")
                    running[future] = k
                    yield k, None
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    k = running.pop(future)
                    outcome = future.result()
                    if outcome is None:
                        raise KeyboardInterrupt
                    yield k, outcome
        except BrokenProcessPool:
            raise RunError(
                "a process that trains ended before its run did (killed, or out of memory); the runs that "
                "are done are kept: compare again, with jobs=1 (--jobs 1) to train in one process"
            ) from None
        finally:
            try:
                if running:
                    stop.touch()
                    wait(running, timeout=_PATIENCE)
            finally:
                executor.shutdown(wait=True, kill_workers=any(not future.done() for future in running))


def _environment(shared: Path, threads: int) -> dict[str, str]:
    """Return the environment of a process: the backend of this one, so many threads, shared compilations."""
    limits = {**dict.fromkeys(ONE_THREAD, str(threads)), "KERAS_BACKEND": keras.backend.backend()}
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return limits
    return {
        **limits,
        # Networks of one kind are compiled once.
        "JAX_COMPILATION_CACHE_DIR": str(shared / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }


@contextlib.contextmanager
def _interrupts_kept_from_children() -> Iterator[None]:
    """Begin processes that do not get a terminal's Ctrl-C: this process says when they end."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin_process(parent: int, stop: Path) -> None:
    """End this process when it is told to, or when its parent is gone; ``fit`` ends between batches."""
    keep_memory()

    def watch() -> None:
        while has_parent(parent) and stop.parent.exists() and not stop.exists():
            time.sleep(0.2)
        terminate_self()
        time.sleep(_PATIENCE)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _work(order: Order, data: Path) -> Outcome | None:
    """Train one run in a process of its own; None if it was told to stop."""
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # the parent shows the progress of all runs
            return train_run(order, _load(data))
    except KeyboardInterrupt:
        return None


@lru_cache(maxsize=1)
def _load(data: Path) -> Data:
    with data.open("rb") as file:
        loaded: Data = pickle.load(file)
    return loaded
