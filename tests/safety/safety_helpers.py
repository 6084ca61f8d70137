"""Runs functions of the tests in processes of their own, so that a crash or a hang is a failed test."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

import stepfold

HERE = Path(__file__).parent
PACKAGE = Path(stepfold.__file__).parents[1]
LIBC = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
"""With these glibc gives freed arrays back to the system at once: a late write into one crashes, and the
resident memory is what the program holds."""
EXPECTED = (ValueError, TypeError, IndexError, RuntimeError)
"""What a call that does not fit may raise."""


def alone(
    body: Callable[..., None],
    *arguments: object,
    timeout: float = 60,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run a function of a test module in a process of its own and return what it printed.

    `arguments` are literals. The test fails, with what the process said, if it crashes, raises, or hangs.
    """
    code = (
        f"import faulthandler; faulthandler.dump_traceback_later({timeout}, exit=True)\n"
        f"from {body.__module__} import {body.__name__} as body\n"
        f"body(*{arguments!r})\n"
    )
    path = os.pathsep.join([str(PACKAGE), str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    full = {**os.environ, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "2", **(environment or {})}
    process = subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=full,
        cwd=HERE,
        start_new_session=True,
    )
    try:
        out, error = process.communicate(timeout=timeout + 15)
    except subprocess.TimeoutExpired:
        process.kill()
        out, error = process.communicate()
    if process.returncode:
        pytest.fail(f"{body.__name__}: {_ending(process.returncode)}\n{out[-2000:]}\n{error[-4000:]}", False)
    return out


def _ending(status: int) -> str:
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"


def in_forks(cases: Mapping[str, Callable[[], object]], seconds: float = 30) -> dict[str, str]:
    """Run each case in a forked child and say how it ended.

    "returned", "refused: " and the error if it raised one of `EXPECTED`, or else what went wrong: another
    error, a signal, a hang. The caller must not have started a thread.
    """
    return {name: _in_fork(case, seconds) for name, case in cases.items()}


def _in_fork(case: Callable[[], object], seconds: float) -> str:
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receive)
        try:
            case()
            said = "returned"
        except EXPECTED as error:
            said = f"refused: {type(error).__name__}: {error}"
        except BaseException:
            said = f"wrong: {traceback.format_exc()}"
        os.write(send, said.encode()[-4000:])
        os._exit(0)
    os.close(send)
    if not select.select([receive], [], [], seconds)[0]:
        os.kill(child, signal.SIGKILL)
    said = os.read(receive, 4096).decode()
    os.close(receive)
    _, status = os.waitpid(child, 0)
    hung = " (it hung)" if status == signal.SIGKILL else ""
    return said or f"wrong: {_ending(os.waitstatus_to_exitcode(status))}{hung}"


def thread_count() -> int:
    """How many threads this process has, those of native libraries included."""
    return len(os.listdir("/proc/self/task"))


def resident_bytes() -> int:
    """How much memory of this process lies in the machine's memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


needs_proc = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="there is no /proc here")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
