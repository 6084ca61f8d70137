"""Trains the runs of a comparison on a Dask cluster: one at a time on each worker, which needs no file of
this machine and leaves none of its own."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from .._dask import failed, scheduler, wait_for_worker
from .._on_worker import Files, work
from .._run import RunError, RunFolder
from ._run import Data, Order, Outcome

_LOOK = 0.5
"""Seconds between two looks at the workers."""
_TRIES = 3
"""How many workers may vanish with a run before it counts as what ends them."""


class _Running(NamedTuple):
    number: int
    future: Any
    worker: str


def train_on_cluster(
    orders: Sequence[Order], data: Data, address: str
) -> Generator[tuple[int, Outcome | None]]:
    """Train runs on the workers of a Dask scheduler; yield the index of each that begins, with None, and
    that ends.

    The examples are sent there, each worker trains one run after the other in a folder of its own, and the
    run's files come back. Workers may join and leave.

    Raises:
        ImportError: Dask is not installed.
        RunError: no scheduler at the address, no worker, workers without stepfold, or a run that ends them.
    """
    if not orders:
        return
    with scheduler(address) as client:
        yield from _train(client, orders, _sent(data), address)


def _sent(data: Data) -> Data:
    """Return the examples as they are sent: texts that are read from a file become a list."""

    def held(inputs: Any) -> Any:
        return inputs if hasattr(inputs, "shape") else list(inputs)

    validation = data.validation
    if validation is not None:
        validation = held(validation[0]), validation[1]
    return Data(held(data.inputs), data.targets, validation)


def _train(
    client: Any, orders: Sequence[Order], data: Data, address: str
) -> Generator[tuple[int, Outcome | None]]:
    import keras

    wait_for_worker(client, address)
    shared = client.scatter([tuple(data)], hash=False)[0]  # of a tuple each part would be scattered
    waiting, tries = list(range(len(orders))), [0] * len(orders)
    running: list[_Running] = []
    while waiting or running:
        workers = set(client.nthreads())
        free = sorted(workers - {each.worker for each in running})
        while waiting and free:
            k, worker = waiting.pop(0), free.pop(0)
            order = orders[k]
            future = client.submit(
                work, order.estimator.__name__, order.parameters, shared, keras.backend.backend(),
                workers=[worker], pure=False, retries=0,
            )  # fmt: skip
            running.append(_Running(k, future, worker))
            if not tries[k]:
                yield k, None
        for each in list(running):
            if each.future.done():
                running.remove(each)
                yield each.number, _result(each, orders[each.number], address)
            elif each.worker not in workers:
                running.remove(each)
                each.future.cancel()
                tries[each.number] += 1
                if tries[each.number] == _TRIES:
                    raise RunError(
                        f"{_TRIES} workers of {address} ended while they trained "
                        f"{orders[each.number].folder.name} (killed, or out of memory); the runs that are "
                        "done are kept: compare again"
                    )
                waiting.insert(0, each.number)
        time.sleep(_LOOK if running else 0)
        if not running and waiting:
            wait_for_worker(client, address)


def _result(run: _Running, order: Order, address: str) -> Outcome:
    """Return what became of a run, whose files are then in its folder."""
    error = run.future.exception()
    if isinstance(error, (ValueError, TypeError, RunError)):
        raise error
    if error is not None:
        raise failed(error, f"the worker {run.worker} of {address}")
    files, outcome = run.future.result()
    _keep(files, RunFolder(order.folder))
    return Outcome(**outcome)


def _keep(files: Files, run: RunFolder) -> None:
    """Write a run's files, the configuration last: with it the run counts as done."""
    run.clear()
    for name in sorted(files, key=lambda name: name == run.config.name):
        target = run.path / name
        target.parent.mkdir(exist_ok=True)
        run.write(target, partial(_write, content=files[name]))


def _write(part: Path, content: bytes) -> None:
    part.write_bytes(content)
