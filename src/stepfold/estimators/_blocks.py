"""Outputs of a model for more inputs than memory holds, block by block, here or on a Dask cluster."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from typing import Any

import numpy as np

from ..model import Model
from ._dask import failed, scheduler, wait_for_worker
from ._run import RunError

_AHEAD = 2
"""How many blocks each thread of a cluster holds: the one that it works on, and the next."""
Block = Sequence[Any]


def outputs_of_blocks(
    model: Model, blocks: Iterable[Block], *, dask: str | None = None
) -> Generator[np.ndarray]:
    """Yield a model's outputs for each block of inputs, in the blocks' order.

    Blocks are read as they are needed: no more of them are held than are worked on.

    Args:
        model: an estimator's ``to_model()``, or what ``stepfold.load`` returns.
        blocks: texts, or (time, features) arrays, so many at a time as should be computed at once.
        dask: the address of a Dask scheduler, such as "tcp://10.0.0.1:8786", whose workers compute; they need
            stepfold and no file of this machine. None: this process does.

    Yields:
        (inputs, outputs) float32.

    Raises:
        ImportError: Dask is not installed.
        ValueError, TypeError: an input that the model does not take.
        RunError: no scheduler at the address, no worker, workers without stepfold, or inputs that end them.
    """
    if dask is None:
        yield from map(model.outputs, blocks)
        return
    source = iter(blocks)
    with scheduler(dask) as client:
        wait_for_worker(client, dask)
        shared = client.scatter([model], hash=False, broadcast=True)[0]
        running: deque[Any] = deque()
        while True:
            room = _AHEAD * sum(client.nthreads().values()) - len(running)
            for block in itertools.islice(source, max(room, 0 if running else 1)):
                running.append(client.submit(_outputs, shared, block, pure=False))
            if not running:
                return
            future = running.popleft()
            error = future.exception()
            if isinstance(error, (ValueError, TypeError, RunError)):
                raise error
            if error is not None:
                raise failed(error, f"a worker of {dask}")
            yield future.result()


def _outputs(model: Model, block: Block) -> np.ndarray:
    return model.outputs(block)
