"""Starts the processes that run one command together on this machine, and waits for them."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from .._processors import processors
from ._processes import PARENT

_ONE = "127.0.0.1"
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NPROC", "PJRT_NPROC")
_LAST_WORDS = 5.0
"""Seconds in which the first process may say what went wrong after another one failed."""
_STEP = 60.0
"""Seconds in which the first process may end the training step that it is in."""


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
        PARENT: str(os.getpid()),
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
