"""Several processes that run one command together, started here or by a launcher."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from .._processors import processors
from ..estimators import RunError

_PARENT = "STEPFOLD_PARENT_PROCESS"
_ONE = "127.0.0.1"
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NPROC", "PJRT_NPROC")
_SLURM = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")
_LAST_WORDS = 5.0
"""Seconds in which the first process may say what went wrong after another one failed."""
_STEP = 60.0
"""Seconds in which the first process may end the training step that it is in."""
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
    for prefix, address in (
        ("KERAS_DISTRIBUTION_", "KERAS_DISTRIBUTION_JOB_ADDRESSES"),
        ("JAX_", "JAX_COORDINATOR_ADDRESS"),
        ("", "COORDINATOR_ADDRESS"),
    ):
        if not environment.get(address):
            continue
        first = environment[address].split(",")[0].strip()
        if not prefix and "COORDINATOR_PORT" in environment:
            first = f"{first}:{environment['COORDINATOR_PORT']}"
        if not first.rpartition(":")[2].isdecimal():
            raise RunError(f"{address} is {environment[address]!r}; give the first process's HOST:PORT")
        return _several(environment, first, f"{prefix}NUM_PROCESSES", f"{prefix}PROCESS_ID")
    if all(environment.get(name) for name in _SLURM):
        return _several(environment, "", "SLURM_NTASKS", "SLURM_PROCID")
    return None


def _several(environment: Mapping[str, str], address: str, count: str, number: str) -> Launched | None:
    for name in (count, number):
        if not environment.get(name, "").isdecimal():
            found = environment.get(name)
            raise RunError(
                f"{name} is {'not set' if found is None else repr(found)}; give an integer: how many "
                f"processes there are in {count}, and this one's number from 0 in {number}"
            )
    processes, process = int(environment[count]), int(environment[number])
    if process >= processes:
        raise RunError(f"{number} is {process}, but {count} is {processes}; processes are counted from 0")
    return Launched(address, processes, process, count) if processes > 1 else None


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
            traceback.print_exc()
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
    """Whether `start` has started this process."""
    return _PARENT in os.environ


def start(count: int, command: Sequence[str]) -> int:
    """Run a command in several processes of this machine, which share its processors; returns its status.

    The first process prints and writes. If one fails, the others are ended, and what it said is printed.
    """
    with socket.socket() as free:
        free.bind((_ONE, 0))
        address = f"{_ONE}:{free.getsockname()[1]}"
    source = str(Path(__file__).parents[2])
    threads = str(max(1, processors() // count))
    shared = {
        **dict.fromkeys(_THREADS, threads),
        **os.environ,
        "PYTHONPATH": os.pathsep.join([source, *filter(None, [os.environ.get("PYTHONPATH")])]),
        "KERAS_BACKEND": "jax",
        "KERAS_DISTRIBUTION_JOB_ADDRESSES": address,
        "KERAS_DISTRIBUTION_NUM_PROCESSES": str(count),
        "JAX_COORDINATOR_BIND_ADDRESS": address,
        _PARENT: str(os.getpid()),
    }
    with contextlib.ExitStack() as stack:
        said = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(1, count)]
        processes: list[subprocess.Popen[bytes]] = []
        try:
            for number in range(count):
                process = subprocess.Popen(
                    list(command),
                    env={**shared, "KERAS_DISTRIBUTION_PROCESS_ID": str(number)},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL if number else None,
                    stderr=said[number - 1] if number else None,
                    start_new_session=True,  # Ctrl-C reaches this process, which tells the first one
                )
                processes.append(process)
            return _wait(processes, said)
        except KeyboardInterrupt:
            return _interrupt(processes)
        finally:
            for process in processes:
                process.kill()
            for process in processes:
                process.wait()


def _wait(processes: Sequence[subprocess.Popen[bytes]], said: Sequence[IO[bytes]]) -> int:
    """Wait until all processes have ended, or one has failed; returns the status."""
    while any(process.poll() is None for process in processes):
        time.sleep(0.05)
        if any(process.poll() for process in processes):
            break
    failed = [number for number, process in enumerate(processes) if process.poll()]
    if not failed:
        return 0
    if not processes[0].poll():
        with contextlib.suppress(subprocess.TimeoutExpired):
            processes[0].wait(_LAST_WORDS)
    status = processes[0].poll()
    number = failed[0]
    if number and (not status or processes[number].returncode < 0):
        said[number - 1].seek(0)
        print(said[number - 1].read().decode(errors="replace")[-4000:].rstrip(), file=sys.stderr)
        print(
            f"stepfold: process {number}, counted from 0, of {len(processes)} ended with status "
            f"{processes[number].returncode}; continue with --resume what was saved",
            file=sys.stderr,
        )
    return 1 if not status else status if status > 0 else 128 - status


def _interrupt(processes: list[subprocess.Popen[bytes]]) -> int:
    """Let the first process end its training step and say what is saved; returns the status."""
    first = processes[0]
    try:
        first.send_signal(signal.SIGINT)
        first.wait(_STEP)
    except (KeyboardInterrupt, subprocess.TimeoutExpired):
        print("stepfold: interrupted", file=sys.stderr)
    return 130


def _watch_parent() -> None:
    """End this process when the one that started it ends, whatever ended that."""
    parent = os.environ.get(_PARENT)
    if parent is None:
        return

    def watch() -> None:
        while str(os.getppid()) == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="stepfold parent").start()
