"""Several processes that run one command together: which of them this one is, and how it joins and leaves."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Mapping
from typing import NamedTuple

from ..estimators import RunError
from ..estimators._parent import has_parent

PARENT = "STEPFOLD_PARENT_PROCESS"
"""The variable in which a process that starts others tells them its number."""
_JOB = ("COORDINATOR_ADDRESS", "COORDINATOR_PORT", "NUM_PROCESSES", "PROCESS_ID")
_SLURM = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")
_joined = False


class Launched(NamedTuple):
    """What a launcher says: the address of the first process ("" where JAX finds it), how many processes
    there are, and the number of this one; `by` is the variable that says so."""

    address: str
    processes: int
    process: int
    by: str


def launched(environment: Mapping[str, str]) -> Launched | None:
    """Return what the environment says of several processes, None if it says nothing, or of one.

    In this order: Keras's KERAS_DISTRIBUTION_JOB_ADDRESSES, _NUM_PROCESSES and _PROCESS_ID; JAX's
    JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID; those of Kubernetes' JAXJob,
    COORDINATOR_ADDRESS, COORDINATOR_PORT, NUM_PROCESSES and PROCESS_ID; a step of SLURM.

    Raises:
        RunError: variables that are missing or no numbers.
    """
    for prefix, address in (("KERAS_DISTRIBUTION_", "JOB_ADDRESSES"), ("JAX_", "COORDINATOR_ADDRESS")):
        names = [f"{prefix}{name}" for name in (address, "NUM_PROCESSES", "PROCESS_ID")]
        if any(environment.get(name) for name in names):
            return _several(environment, environment.get(names[0], "").split(",")[0], *names)
    if all(environment.get(name) for name in _JOB):  # names that others may use, too
        name, port, count, number = _JOB
        return _several(environment, f"{environment[name]}:{environment[port]}", name, count, number)
    if all(environment.get(name) for name in _SLURM):
        return _several(environment, "", "", "SLURM_NTASKS", "SLURM_PROCID")
    return None


def _several(
    environment: Mapping[str, str], address: str, name: str, count: str, number: str
) -> Launched | None:
    """Return what these variables say; `name` is that of the address, "" if there is none."""
    if name and not address.strip().rpartition(":")[2].isdecimal():
        found = environment.get(name)
        raise RunError(
            f"{name} is {'not set' if found is None else repr(found)}; give the first process's HOST:PORT"
        )
    for each in (count, number):
        if not environment.get(each, "").isdecimal():
            found = environment.get(each)
            raise RunError(
                f"{each} is {'not set' if found is None else repr(found)}; give an integer: how many "
                f"processes there are in {count}, and this one's number from 0 in {number}"
            )
    processes, process = int(environment[count]), int(environment[number])
    if process >= processes:
        raise RunError(f"{number} is {process}, but {count} is {processes}; processes are counted from 0")
    return Launched(address.strip(), processes, process, count) if processes > 1 else None


def join() -> Launched | None:
    """Join this process to the others that a launcher has started; returns which one it is, or None.

    Raises:
        RunError: Keras runs on another backend than JAX, or the others cannot be reached.
    """
    global _joined
    found = launched(os.environ)
    if found is None:
        return None
    import jax
    import keras

    if keras.backend.backend() != "jax":
        raise RunError(_NEEDS_JAX.format(keras.backend.backend()))
    _watch_parent()
    try:
        if found.address:
            jax.distributed.initialize(found.address, found.processes, found.process)
        else:
            jax.distributed.initialize()
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise RunError(
            f"process {found.process} of {found.processes} cannot reach the others ({found.by}): {reason}"
        ) from None
    _joined = True
    # What native code says of its connections is no result.
    sys.stdout = os.fdopen(os.dup(1), "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors)
    os.dup2(2, 1)
    return found


_NEEDS_JAX = "training in several processes needs Keras on JAX, not on {}; set KERAS_BACKEND=jax"


def leave(status: int) -> None:
    """End this process at once if it failed while others wait for it, which would keep it waiting too."""
    if _joined and status:
        if sys.exc_info()[0] is not None:
            sys.excepthook(*sys.exc_info())
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def check_start() -> None:
    """Refuse to start processes where a launcher has, or where they could not train together.

    Raises:
        RunError: either of these.
    """
    found = launched(os.environ)
    if found is not None:
        raise RunError(
            f"--processes starts processes on this machine, but {found.by}={found.processes} says that a "
            "launcher has started this one; leave one of them out"
        )
    backend = os.environ.get("KERAS_BACKEND", "jax")
    if backend != "jax":
        raise RunError(_NEEDS_JAX.format(backend))


def started() -> bool:
    """Whether this command has started this process (`_start`)."""
    return PARENT in os.environ


def _watch_parent() -> None:
    """End this process when the one that started it ends, whatever ended that."""
    parent = os.environ.get(PARENT)
    if parent is None:
        return

    def watch() -> None:
        while has_parent(int(parent)):
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="stepfold parent").start()
