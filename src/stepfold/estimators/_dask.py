"""A Dask cluster: the way to its scheduler, and what to say where it does not serve."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ._run import RunError

_CONNECT, _WORKERS = 10, 30.0
"""Seconds to wait for the scheduler, and for a first worker."""


@contextmanager
def scheduler(address: str) -> Iterator[Any]:
    """Give a client of the Dask scheduler at an address.

    Raises:
        ImportError: Dask is not installed.
        RunError: no scheduler at the address.
    """
    try:
        from distributed import Client
    except ImportError:
        raise ImportError('a cluster (--dask) needs Dask: pip install "stepfold[dask]"') from None
    try:
        client = Client(address, timeout=_CONNECT, set_as_default=False)
    except (OSError, ValueError) as error:
        raise RunError(
            f"there is no Dask scheduler at {address} ({error}); begin one: dask scheduler"
        ) from None
    with client:
        yield client


def wait_for_worker(client: Any, address: str) -> None:
    """Return when a cluster has a worker.

    Raises:
        RunError: it has none for half a minute.
    """
    end = time.monotonic() + _WORKERS
    while not client.nthreads():
        if time.monotonic() > end:
            raise RunError(
                f"the Dask scheduler at {address} has no workers; begin one: dask worker {address}"
            )
        time.sleep(0.1)


def failed(error: BaseException, who: str) -> RunError:
    """Return what to say when a worker failed with an error that is not the user's."""
    if isinstance(error, ModuleNotFoundError):
        return RunError(
            f"{who} has no module {error.name}; install stepfold[app] there, in the version of this machine"
        )
    return RunError(f"{who} failed: {error}")
