"""Programs: launches of kernels recorded once, and run with other addresses each time.

Everything that depends on a batch's values is found by kernels, so that what is recorded depends on
shapes alone. `_llvm/_program.py` tells how a program is run."""

from __future__ import annotations

import ctypes
import os
import struct
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .._llvm import (
    ARGUMENT,
    CALL,
    ERRORS,
    MOST_ARGUMENTS,
    POOL,
    PROGRAM,
    STATUS,
    STATUS_WORDS,
)
from .._locks import ForkSafeLock
from ._buffers import ALIGN, Array, address
from ._executor import Executor
from ._kernels import CompiledKernel, support

WORKSPACES = 46 << 20
"""How many bytes of workspaces are kept for later calls, over all programs."""
_RESERVED = 3  # slots: zero, the workspace, the slots themselves
_NAMES = {code: name for name, code in ERRORS.items()}
_FIRST_STATUS, _FIRST_SLOT = len(CALL), len(CALL) + STATUS_WORDS


@dataclass(frozen=True)
class Argument:
    """What an argument will be: slots[slot] + offset + group · per_group + task · per_task, or (`load`) the
    word there, + `add`."""

    slot: int = 0
    offset: int = 0
    per_group: int = 0
    per_task: int = 0
    load: bool = False
    add: int = 0

    def __add__(self, distance: int) -> Argument:
        if self.load:
            return replace(self, add=self.add + distance)
        return replace(self, offset=self.offset + distance)

    def fields(self) -> tuple[int, ...]:
        """The fields of `ARGUMENT`."""
        return self.slot, self.offset, self.per_group, self.per_task, int(self.load), self.add

    def field(self, number: int) -> Argument:
        """The word that stands so many words behind the address that this is."""
        return replace(self + 8 * number, load=True)


assert len(Argument().fields()) == len(ARGUMENT)

WORKSPACE = Argument(1)
SLOTS = Argument(2)
Given = int | Argument | Array


class Launches:
    """Launches that follow each other on one thread."""

    def __init__(self) -> None:
        self.count = 0
        self.words: list[int] = []
        self.held: list[object] = []

    def launch(self, kernel: CompiledKernel, **arguments: Given) -> None:
        """Add a kernel; arrays are held, and stand for their addresses."""
        names = kernel.kernel.arguments
        if len(names) > MOST_ARGUMENTS:
            raise ValueError(f"{kernel.kernel.name} has {len(names)} arguments, at most {MOST_ARGUMENTS}")
        self.words += kernel.address, len(names)
        self.held.append(kernel)
        for name in names:
            value = arguments[name]
            if isinstance(value, np.ndarray):
                self.held.append(value)
                value = address(value)
            self.words += (value if isinstance(value, Argument) else Argument(offset=int(value))).fields()
        self.count += 1

    def finished(self) -> Array:
        """The list as it lies in memory."""
        return np.array([self.count, *self.words], np.int64)


class Phase:
    """Tasks that may run side by side: `once[t]` are task t's own launches, `each` those for each of its
    groups; a cooperative phase runs `each` on all its threads at once."""

    def __init__(self, tasks: int, cooperative: bool) -> None:
        self.once = [Launches() for _ in range(tasks)]
        self.each = Launches()
        self.cooperative = cooperative


@dataclass(frozen=True)
class Status:
    """What a program found wrong: `error` is one of `ERRORS`, or "memory"; the rest is what it saw."""

    error: str
    row: int = 0
    step: int = 0
    value: int = 0
    limit: int = 0


class Recorder:
    """A program being recorded."""

    def __init__(self) -> None:
        self._slots = _RESERVED
        self._size = STATUS_WORDS * 8
        self._phases: list[Phase] = []
        self.status = WORKSPACE

    def operand(self) -> Argument:
        """The address of the next operand, in the order in which `Program.run` is given them."""
        self._slots += 1
        return Argument(self._slots - 1)

    def workspace(self, size: int, *, tasks: int = 0) -> Argument:
        """So many bytes of the workspace, on a cache line; with `tasks` so many for each of them."""
        stride = -(-max(size, 1) // ALIGN) * ALIGN
        begin, self._size = self._size, self._size + stride * max(1, tasks)
        return Argument(WORKSPACE.slot, begin, per_task=stride if tasks else 0)

    def phase(self, tasks: int = 1, *, cooperative: bool = False) -> Phase:
        """Begin the next phase."""
        self._phases.append(Phase(tasks, cooperative))
        return self._phases[-1]

    def finish(self) -> Program:
        """The finished program."""
        return Program(self._phases, self._slots, self._size)


class Program:
    """A recorded program, read-only: calls from several threads may run at once."""

    def __init__(self, phases: Sequence[Phase], slots: int, workspace: int) -> None:
        self.operands, self.tasks = slots - _RESERVED, max((len(p.once) for p in phases), default=1)
        self.workspace = workspace
        self._held: list[object] = []
        table = [workspace, 0, len(phases)]
        for phase in phases:
            once = np.array([self._list(launches) for launches in phase.once], np.int64)
            each = self._list(phase.each) if phase.each.count else 0
            self._held.append(once)
            table += len(phase.once), address(once), each, int(phase.cooperative)
        assert len(table) == len(PROGRAM) + 4 * len(phases)
        self._table = np.array(table, np.int64)
        self.address = address(self._table)
        self._memory = ctypes.c_int64 * (_FIRST_SLOT + slots)
        self._write = struct.Struct(f"{_FIRST_SLOT + slots}q").pack_into
        self._run = _runner()

    @property
    def runs(self) -> int:
        """How many times the program was run, by whomever."""
        return int(self._table[PROGRAM.index("runs")])

    @property
    def nbytes(self) -> int:
        """How many bytes the recording takes."""
        return sum(held.nbytes for held in self._held if isinstance(held, np.ndarray)) + self._table.nbytes

    def _list(self, launches: Launches) -> int:
        memory = launches.finished()
        self._held += [memory, *launches.held]
        return address(memory)

    def run(self, operands: Sequence[int], executor: Executor, threads: int) -> Status | None:
        """Run with these operands, mostly addresses, on at most so many threads; returns what was wrong.

        The caller holds the memory until then; nothing goes on working there afterwards.
        """
        if len(operands) != self.operands:
            raise ValueError(f"the program takes {self.operands} operands, not {len(operands)}")
        threads = min(threads, self.tasks)
        if threads > 1 and executor.parallel:
            executor.prepare(threads)
        call = self._memory()
        first = ctypes.addressof(call)
        slots, status = first + 8 * _FIRST_SLOT, first + 8 * _FIRST_STATUS
        head = self.address, slots, executor.parallel, executor.host, threads, status, 0
        self._write(call, 0, *head, *_NO_STATUS, *operands)
        self._run(first)
        _last.executor = executor.name if call[6] else "calling thread"
        code = call[_FIRST_STATUS]
        if not code:
            return None
        seen = dict(zip(STATUS, call[_FIRST_STATUS:_FIRST_SLOT], strict=False))
        return status_of(seen)


def status_of(seen: Mapping[str, int]) -> Status:
    """The status that a program's words tell."""
    fields = {field: seen[field] for field in ("row", "step", "value", "limit")}
    return Status(_NAMES.get(seen["code"], "memory"), **fields)


_NO_STATUS = (0,) * (STATUS_WORDS + _RESERVED)


class _Last(threading.local):
    executor = "none"


_last = _Last()


def last_executor() -> str:
    """Return where this thread's last program ran: "own threads", "OpenMP" or "calling thread"."""
    return _last.executor


_ready: list[object] = []
_lock = ForkSafeLock()


def _runner() -> ctypes._CFuncPtr:  # type: ignore[name-defined]
    with _lock.lock:
        if not _ready:
            code = support("program")
            pool = (ctypes.c_int64 * len(POOL)).from_address(code.addresses["stepfold_pool"])
            pool[POOL.index("bound")] = WORKSPACES
            if hasattr(os, "register_at_fork"):  # another thread of the parent may have held its lock
                os.register_at_fork(after_in_child=lambda: pool.__setitem__(POOL.index("lock"), 0))
            _ready.append(ctypes.CFUNCTYPE(None, ctypes.c_void_p)(code.address))
        return _ready[0]
