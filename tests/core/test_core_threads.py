"""Nodes are shared by all threads and by every way of making them."""

from __future__ import annotations

import copy
import os
import pickle
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import stepfold
from stepfold import Cell, _graph, cell
from stepfold._gradient import backward
from stepfold._graph import FEATURES, constant, leaf
from stepfold._ops import apply
from stepfold._step import Step

THREADS, ROUNDS = 6, 200


@pytest.fixture(autouse=True)
def _frequent_switches() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def at_once(make: Callable[[int], Any], rounds: int = ROUNDS) -> list[list[Any]]:
    """What `make(round)` returns in each thread, round by round; all threads begin a round together."""
    barrier = threading.Barrier(THREADS)

    def work(_: int) -> list[Any]:
        found = []
        for k in range(rounds):
            barrier.wait()
            found.append(make(k))
        return found

    with ThreadPoolExecutor(THREADS) as pool:
        return [list(same) for same in zip(*pool.map(work, range(THREADS)), strict=True)]


def test_threads_share_one_node() -> None:
    def make(k: int) -> list[Any]:
        state = leaf("state", f"shared{k}")
        return [state, constant(k + 0.125), apply("tanh", state), leaf("input", dims=FEATURES)]

    for same in at_once(make):
        for others in same[1:]:
            assert all(a is b for a, b in zip(same[0], others, strict=True))


def test_cells_traced_at_once_keep_the_gradients_of_their_states() -> None:
    def make(k: int) -> Any:
        space: dict[str, Any] = {"tanh": stepfold.tanh}
        exec(
            f"def step(x, a{k}, b{k}, *, W, U):\n    return tanh(W @ x + U @ a{k} + b{k}), a{k} + b{k}", space
        )
        traced = cell(space["step"]).step
        back = backward(traced)
        return traced, None not in back.states, len(back.matrices["U"])

    for same in at_once(make, 150):
        assert all(complete and pairs == 1 for _, complete, pairs in same)
        assert all(step.outputs == same[0][0].outputs for step, _, _ in same)


def test_cells_loaded_at_once_share_their_nodes() -> None:
    def text(k: int) -> str:
        return stepfold.cells.lstm.to_json().replace('"h"', f'"h{k}"')

    texts = [text(k) for k in range(60)]
    for same in at_once(lambda k: Step.from_json(texts[k]), len(texts)):
        assert all(step.outputs == same[0].outputs for step in same)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")  # JAX, if it is loaded, warns
def test_a_process_forked_while_a_thread_traces_can_trace() -> None:
    with _graph._lock.lock:
        forked = ThreadPoolExecutor(1).submit(_trace_in_a_fork).result()
    assert forked == 0


def _trace_in_a_fork() -> int:
    """The exit status of a forked process that makes a node; SIGALRM ends one that waits for ever."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a fork of a process that has threads
        process = os.fork()
    if process == 0:
        signal.alarm(10)
        leaf("state", "forked")
        os._exit(0)
    return os.waitpid(process, 0)[1]


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda step: pickle.loads(pickle.dumps(step))])
def test_a_copied_step_is_made_of_the_shared_nodes(again: Callable[[Step], Step]) -> None:
    step = stepfold.cells.lstm.step
    copied = again(step)
    assert copied == step
    assert all(a is b for a, b in zip(copied.outputs, step.outputs, strict=True))
    assert backward(copied).states == backward(step).states
    assert (copied.name, copied.parameters, copied.vectors) == (step.name, step.parameters, step.vectors)


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda node: pickle.loads(pickle.dumps(node))])
def test_a_copied_node_is_the_shared_one(again: Callable[[Any], Any]) -> None:
    for output in stepfold.cells.lstm.step.outputs:
        assert again(output) is output


def test_a_pickled_cell_is_its_graph() -> None:
    lstm = stepfold.cells.lstm
    loaded = pickle.loads(pickle.dumps(lstm))
    assert isinstance(loaded, Cell)
    assert loaded == lstm
    assert loaded.step.outputs == lstm.step.outputs
    assert loaded.__doc__ is None
    assert copy.deepcopy(lstm) is lstm


def test_a_deep_step_is_pickled() -> None:
    @cell
    def deep(x, h, *, W):
        for _ in range(1000):
            h = stepfold.tanh(h)
        return W @ x + h

    assert pickle.loads(pickle.dumps(deep.step)).outputs == deep.step.outputs
    assert copy.deepcopy(deep.step).outputs == deep.step.outputs
