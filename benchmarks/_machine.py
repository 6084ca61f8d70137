"""The machine: its description, the limit on its threads, its peak of arithmetic, its other processes."""

from __future__ import annotations

import ctypes
import functools
import importlib.metadata
import os
import platform
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import stepfold
from stepfold._llvm import Library, target
from stepfold._llvm._compile import compile_text
from stepfold._llvm._text import Function, Module, Value

PACKAGES = "numpy llvmlite torch keras jax jaxlib onnxruntime openvino tensorflow"
_ACCUMULATORS = {16: 12, 32: 24}  # independent sums, by the number of vector registers
_ITERATIONS = 500_000
_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


def limit_threads(threads: int) -> None:
    """Give this process, and every library in it, `threads` processors; call it before importing frameworks.

    RuntimeError if this process may use fewer.
    """
    if hasattr(os, "sched_setaffinity"):
        allowed = sorted(os.sched_getaffinity(0))
        if len(allowed) < threads:
            raise RuntimeError(
                f"{threads} threads need as many processors, this process may use {len(allowed)}; "
                "give a smaller --threads"
            )
        os.sched_setaffinity(0, allowed[:threads])
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)


def describe(threads: int) -> dict[str, str]:
    """Return the processor, the system, the threads and the versions of the packages that benchmarks use."""
    facts = {
        "processor": _processor(),
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
        "threads": str(threads),
        "load before": ", ".join(f"{load:.2f}" for load in os.getloadavg()),
        "python": platform.python_version(),
        "stepfold": stepfold.__version__,
    }
    for name in PACKAGES.split():
        try:
            facts[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            facts[name] = "not installed"
    return facts


class OtherProcesses:
    """The load of all other processes on the processors; known on Linux only."""

    def __init__(self) -> None:
        self._before = _seconds()

    def share(self, children: Sequence[int] = ()) -> float | None:
        """Return the share of all processors that others used since the last call, None where it is unknown.

        `children` are the ids of our processes that began since then and still run; ended ones are counted.
        """
        before, now = self._before, _seconds()
        self._before = now
        if before is None or now is None or now[0] <= before[0]:
            return None
        total, busy, ours = (after - earlier for after, earlier in zip(now, before, strict=True))
        ours += sum(map(_seconds_of, children))
        return max(0.0, busy - ours) / total


def _seconds() -> tuple[float, float, float] | None:
    """Seconds since the start: of all processors, the busy ones of them, and those of this process."""
    if not Path("/proc/stat").exists():
        return None
    fields = [int(n) / _TICKS for n in Path("/proc/stat").read_text().partition("\n")[0].split()[1:9]]
    return sum(fields), sum(fields) - fields[3] - fields[4], sum(os.times()[:4])


def _seconds_of(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = (line.partition(":") for line in info.read_text().splitlines())
        fields = {key.strip(): value.strip() for key, _, value in lines}
        names = ("model name", "cpu family", "model")
        return ", ".join(f"{name} {fields[name]}" for name in names if name in fields)
    return platform.processor() or "unknown"


def peak(threads: int, repeats: int = 40) -> float:
    """Measure float32 multiply-and-adds in registers on `threads` threads; returns operations per second.

    A multiply-and-add counts as two. The best of many tries counts, each some milliseconds long.
    """
    library, elements = _fma_kernel()
    kernel = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(library.addresses["fma"])
    sinks = [np.empty(elements, np.float32) for _ in range(threads)]
    work = threads * _ITERATIONS * elements * 2
    tries = []
    for _ in range(repeats):
        workers = [threading.Thread(target=kernel, args=(sink.ctypes.data, _ITERATIONS)) for sink in sinks]
        start = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        tries.append(work / (time.perf_counter() - start))
    if not all(np.all(np.isfinite(sink)) for sink in sinks):
        raise RuntimeError("the loop that measures the peak overflowed, so that its speed means nothing")
    return max(tries)


@functools.cache
def _fma_kernel() -> tuple[Library, int]:
    """Build `fma(sink, iterations)`: values in registers, each replaced by x · 0.5 + 0.25 in every iteration.

    Returns the code and the number of values.
    """
    host = target("host")
    lanes = host.lanes(32)
    vector = f"<{lanes} x float>"
    accumulators = _ACCUMULATORS[host.registers]
    module = Module()
    f = Function(module, "fma", [("sink", "ptr"), ("iterations", "i64")])
    sink, iterations = f.arguments

    def all_lanes(value: str) -> Value:
        return Value("<" + ", ".join([f"float {value}"] * lanes) + ">", vector)

    with f.loop(0, iterations, 1, [all_lanes("1.0")] * accumulators) as loop:
        name = f"llvm.fma.v{lanes}f32"
        half, quarter = all_lanes("0.5"), all_lanes("0.25")
        loop.next([f.call(name, vector, [x, half, quarter]) for x in loop.carried])
    for index, total in enumerate(loop.results):
        f.store(total, f.offset(sink, index * lanes, "float"), 4)
    module.add(f)
    library = Library(compile_text(module.text(), host), ["fma"])
    return library, accumulators * lanes
